"""The test alarm: a pair in one batch, seen when a receipt covers it, and no real alarm notices."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from contracts.batch import AlarmEvent, Head, Lane
from edge_agent.commissioning import TEST, commissioning, pair_of
from edge_agent.errors import ControlError
from edge_agent.keeper import StoreState
from tests.edge_agent.small_plans import device, point

GATEWAY, BOOT = "g-abcdefghijkl", b"b" * 16
KEY = "d1/pressure"


class Chain:
    def __init__(self) -> None:
        self.seq = 0

    def head(self, lane: Lane) -> Head:
        assert lane is Lane.ALARM
        return Head(seq=self.seq, digest=bytes(32))


class Keeper:
    """Seals into a list."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.epoch_no = 3
        self.state = StoreState.NORMAL
        self.sealed: list[list[AlarmEvent]] = []
        self.fails = False

    def seal_alarms(self, events: Sequence[AlarmEvent]) -> None:
        if not self.fails:
            self.chain.seq += 1
            self.sealed.append(list(events))


class Delivery:
    def __init__(self) -> None:
        self.delivered: set[tuple[int, Lane, int]] = set()
        self.refused: list[tuple[int, Lane, int, str]] = []

    def is_delivered(self, key: tuple[int, Lane, int]) -> bool:
        return key in self.delivered


class Link:
    def __init__(self, *, is_up: bool, down_us: int | None) -> None:
        self.is_up, self.down_us = is_up, down_us


class Agent:
    """What a test alarm touches; there is no judge to be touched."""

    gateway = GATEWAY

    def __init__(self) -> None:
        self.now_us = 10_000_000
        points = [point(KEY), *(point(f"d1/level/{n}") for n in range(120))]
        self.plan = type("P", (), {"points": points, "devices": [device()]})()
        self.boot = type("B", (), {"boot_id": BOOT})()
        self.sealer = self
        self.upkeep = self
        self.keeper: Keeper | None = Keeper()
        self.delivery = Delivery()
        self.uplink: Link | None = Link(is_up=True, down_us=None)
        self.order: list[str] = []
        self.done: list[str] = []
        self.notes: list[str] = []

    def clock(self) -> int:
        return self.now_us

    def seal_alarms(self) -> None:
        self.order.append("what waited")

    def commissioned(self, keys: Sequence[str]) -> None:
        self.done.extend(keys)

    def describe(self) -> dict[str, Any]:
        return {"points": []}

    def note(self, kind: str, text: str) -> None:
        self.notes.append(f"{kind}: {text}")


async def _ask(agent: Agent, **request: Any) -> Any:
    handler = commissioning(agent, agent.clock)["test-alarm"]  # type: ignore[arg-type]
    return await handler({"points": [KEY], "by": "Li Wei", "wait_s": 5, **request})


def test_the_pair_says_itself_that_it_is_a_test_and_ends_itself() -> None:
    active, cleared = pair_of(point(KEY), gateway=GATEWAY, boot_id=BOOT, by="Li Wei", now_us=7)
    assert [event.state for event in (active, cleared)] == ["active", "cleared"]
    for event in (active, cleared):
        assert AlarmEvent.from_wire(event.to_wire()) == event
        assert (event.rule_id, event.cause, event.severity) == (TEST, TEST, "info")
        assert event.marks == ("test", "by=Li Wei")
        assert event.raised_by == active.id
        assert event.value is None
    assert active.id != cleared.id


async def test_it_is_seen_when_a_receipt_covers_its_batch() -> None:
    agent = Agent()
    assert agent.keeper is not None

    async def receipt() -> None:
        await asyncio.sleep(0)
        agent.now_us += 800_000
        agent.delivery.delivered.add((3, Lane.ALARM, 1))

    answer, _ = await asyncio.gather(_ask(agent), receipt())
    assert answer["results"] == [{"point": KEY, "seen_s": 0.8, "refused": "", "serial": ""}]
    assert [[event.state for event in batch] for batch in agent.keeper.sealed] == [["active", "cleared"]]
    assert agent.order == ["what waited"], "real alarms go first"
    assert agent.done == [KEY]
    assert agent.notes == ["test-alarm: by Li Wei: 1 of 1 seen at the centre: d1/pressure"]


async def test_without_a_receipt_it_says_how_the_link_is() -> None:
    agent = Agent()
    agent.uplink = Link(is_up=False, down_us=4_000_000)
    answer = await _ask(agent, wait_s=0)
    assert answer["results"][0]["seen_s"] is None
    assert (answer["link"], answer["link_down_s"], answer["is_kept"]) == ("down", 6.0, True)
    assert agent.done == []
    agent.uplink = None
    assert (await _ask(agent, wait_s=0))["link"] == "none"


async def test_a_refused_batch_was_not_seen() -> None:
    agent = Agent()
    agent.delivery.delivered.add((3, Lane.ALARM, 1))
    agent.delivery.refused.append((3, Lane.ALARM, 1, "payload"))
    assert (await _ask(agent))["results"] == [{"point": KEY, "seen_s": None, "refused": "payload", "serial": ""}]


async def test_what_cannot_be_sealed_is_said() -> None:
    agent = Agent()
    assert agent.keeper is not None
    agent.keeper.fails = True
    assert (await _ask(agent))["results"] == [{"point": KEY, "seen_s": None, "refused": "not sealed", "serial": ""}]


async def test_many_points_share_batches_and_no_pair_is_parted() -> None:
    agent = Agent()
    assert agent.keeper is not None
    keys = [item.key for item in agent.plan.points]
    agent.delivery.delivered = {(3, Lane.ALARM, seq) for seq in range(1, 9)}
    answer = await _ask(agent, points=[*keys, KEY])
    assert [item["point"] for item in answer["results"]] == keys
    for batch in agent.keeper.sealed:
        assert [event.point for event in batch[::2]] == [event.point for event in batch[1::2]]
        assert len(batch) <= 100


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"points": []}, "'points' is needed"),
        ({"points": KEY}, "'points' is needed"),
        ({"points": ["no/where"]}, "there is no point 'no/where'"),
        ({"points": [7]}, "there is no point 7"),
        ({"by": ""}, "'by' is needed"),
        ({"by": "A" * 101}, "'by' is needed"),
        ({"wait_s": -1}, "wait_s"),
        ({"wait_s": "1"}, "wait_s"),
        ({"wait_s": float("nan")}, "wait_s"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_nothing_is_sealed(request_: dict[str, Any], sentence: str) -> None:
    agent = Agent()
    assert agent.keeper is not None
    with pytest.raises(ControlError, match=sentence):
        await _ask(agent, **request_)
    assert agent.keeper.sealed == []


async def test_an_agent_that_still_asks_its_store_says_so() -> None:
    agent = Agent()
    agent.keeper = None
    with pytest.raises(ControlError, match="asking its store"):
        await _ask(agent)
