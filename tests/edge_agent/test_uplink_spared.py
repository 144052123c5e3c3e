"""The uplink on a link that costs: a cap in bytes, data held until thinned, catalogues, commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.batch import Lane
from contracts.envelope import Type, seal
from contracts.messages import WATCH, Command
from contracts.topics import Channel, topic
from edge_agent.pacing import OVERHEAD_BYTES, ByteBudget
from tests.edge_agent.chains import BOOT
from tests.edge_agent.test_uplink import COLLECTOR, GATEWAY, STRANGER, Bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    await bench.open()
    yield bench
    await bench.uplink.stop()
    await bench.spool.close()


def capped(bench: Bench, *, connect: bool = True) -> int:
    """Lets one message a second through; returns what an envelope costs."""
    cost = 400 + OVERHEAD_BYTES
    if connect:
        bench.link.up()
    bench.uplink._budget = ByteBudget(cost)
    return cost


def use_up(bench: Bench, seconds: float) -> None:
    budget = bench.uplink._budget
    budget.spend(int(budget._rate * (seconds + 2)), bench.clock())


async def pass_s(bench: Bench, seconds: float) -> None:
    bench.clock.pass_s(seconds)
    bench.uplink.wake()
    await bench.settle()


def sent(bench: Bench) -> list[tuple[Lane, int]]:
    """Returns what went out, each batch once: what waits long for its receipt is sent again."""
    return list(dict.fromkeys(bench.batches()))


async def test_a_cap_holds_data_up_and_never_an_alarm(bench: Bench) -> None:
    capped(bench)
    await bench.settle()
    use_up(bench, 60)
    await bench.seal()
    await bench.seal(Lane.ALARM)
    assert sent(bench) == [(Lane.ALARM, 1)]
    await pass_s(bench, 70)
    assert sent(bench) == [(Lane.ALARM, 1), (Lane.DATA, 1)]


async def test_when_something_may_go_again_the_newest_goes_before_history(bench: Bench) -> None:
    capped(bench)
    await bench.seal()
    await bench.settle()
    use_up(bench, 60)
    for _ in range(3):
        await bench.seal()
    await bench.settle()
    assert sent(bench) == [(Lane.DATA, 1)]
    await pass_s(bench, 60)
    assert sent(bench)[:2] == [(Lane.DATA, 1), (Lane.DATA, 4)]
    for _ in range(12):
        await pass_s(bench, 2)
    assert sent(bench) == [(Lane.DATA, 1), (Lane.DATA, 4), (Lane.DATA, 2), (Lane.DATA, 3)]


async def test_the_task_itself_waits_for_the_cap_and_goes_on(bench: Bench) -> None:
    capped(bench)
    await bench.settle()
    use_up(bench, 0.02)
    assert bench.uplink._budget.wait_s(bench.clock()) > 0
    await bench.seal()  # two virtual seconds pass with it, and the cap has been made up for
    await bench.settle()
    assert bench.batches() == [(Lane.DATA, 1)]
    wait = bench.uplink._budget.wait_s(bench.clock())
    sleep = bench.uplink._sleep_s()
    assert sleep is not None
    assert wait == 0 or sleep <= wait + 0.01


async def test_after_an_outage_the_order_under_a_cap_is_alarms_now_history(bench: Bench) -> None:
    for _ in range(3):
        await bench.seal()
    await bench.seal(Lane.ALARM)
    await bench.seal()
    capped(bench)
    for _ in range(20):
        await pass_s(bench, 2)
    assert bench.batches() == [(Lane.ALARM, 1), (Lane.DATA, 4), (Lane.DATA, 1), (Lane.DATA, 2), (Lane.DATA, 3)]


async def test_what_is_held_waits_until_it_is_let_go_and_alarms_do_not(bench: Bench) -> None:
    bench.link.up()
    await bench.seal()
    await bench.settle()
    bench.uplink.held.hold()
    for _ in range(3):
        await bench.seal()
    await bench.seal(Lane.ALARM)
    await bench.settle()
    assert bench.batches() == [(Lane.DATA, 1), (Lane.ALARM, 1)]
    bench.uplink.held.let_go([(1, [(1, 3)])])
    await pass_s(bench, 0)
    assert bench.batches()[2:] == [(Lane.DATA, 2), (Lane.DATA, 3)]
    bench.uplink.held.open()
    await pass_s(bench, 0)
    assert bench.batches()[4:] == [(Lane.DATA, 4)]


async def test_the_newest_of_a_connection_goes_although_data_are_held(bench: Bench) -> None:
    bench.uplink.held.hold()
    for _ in range(3):
        await bench.seal()
    bench.link.up()
    await bench.settle()
    assert bench.batches() == [(Lane.DATA, 3)]


async def test_on_a_metered_link_a_catalogue_goes_again_only_to_a_collector_that_lacks_it(bench: Bench) -> None:
    def catalogues() -> int:
        return [channel for channel, _ in bench.link.sent].count(Channel.CATALOGUE)

    bench.uplink._is_metered = True
    bench.link.up()
    sealed = await bench.seal()
    assert catalogues() == 1
    bench.link.down()
    bench.link.up()
    assert catalogues() == 2, "no receipt has shown that it is there"
    await bench.hear(bench.receipt(sealed))
    bench.link.down()
    bench.link.up()
    assert catalogues() == 2
    await bench.hear(bench.receipt(sealed, serial=2, wanted=(b"\xca" * 32,)))
    assert catalogues() == 3
    bench.link.down()
    bench.link.up()
    assert catalogues() == 4


async def test_a_command_is_heard_when_its_signature_is_the_collectors(bench: Bench) -> None:
    heard: list[Command] = []
    bench.uplink.on_command = heard.append
    command = Command(gateway=GATEWAY, boot_id=BOOT.boot_id, serial=1, until_us=5, word=WATCH, by="")

    def say(type: Type, signer: Any) -> None:
        bench.link.on_message(topic(GATEWAY, Channel.COMMAND), seal(type, command.to_body(), signer)[0])

    bench.link.up()
    say(Type.COMMAND, STRANGER)
    say(Type.TIME, COLLECTOR)
    assert heard == []
    assert bench.uplink.counts["receipts_ignored"] == 2
    say(Type.COMMAND, COLLECTOR)
    assert heard == [command]


async def test_every_connect_is_told(bench: Bench) -> None:
    told = 0

    def connected() -> None:
        nonlocal told
        told += 1
        assert [channel for channel, _ in bench.link.sent][-3:] == [Channel.STATUS, Channel.ASK, Channel.CATALOGUE]

    bench.uplink.on_connected = connected
    for _ in range(2):
        bench.link.up()
        bench.link.down()
        await asyncio.sleep(0)
    assert told == 2
