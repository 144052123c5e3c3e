"""SIGKILL, anywhere, again and again: what was promised is at the collector, once, as it was sealed.

Agents, collector and broker are the real commands.  The agents also note what they seal, store and believe
(``watched_agent.py``), and every answer of the devices is another number, so that a number at the collector that no
device gave, or one that is not there although it was given in time to be sealed, is found too.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import pytest

from tests.reliability.checker import Verdict
from tests.reliability.oracle import Kind
from tests.reliability.scale import seed, times
from tests.reliability.stand import SEAL_S, Gateway, Stand
from tests.system.rig import until

#: a number that was given longer than this before a kill must have been sealed: an interval, and a slow machine
_GRACE_S = SEAL_S + 1.0
_FIRST_POLL_S = 3.0


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    # A disk that is slow for a moment is no fault that these tests are about; what is in memory alone dies with a kill.
    made = Stand(tmp_path, commit_limit_s=60.0)
    try:
        made.broker.start()
        made.collector.start()
        yield made
    finally:
        made.close()


def _side_by_side(works: list[Callable[[], None]]) -> None:
    """Runs works in a thread each; fails with the first failure."""
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _kill_agents(stand: Stand, gateways: int, kills: int, dice: random.Random) -> list[float]:
    """Kills each of some agents so often; returns how long each start took to its first poll, seconds."""
    firsts: list[float] = []

    def cycles(gateway: Gateway, dice: random.Random) -> None:
        for _ in range(kills):
            gateway.start()
            if dice.random() < 0.2:
                # Some die while they start: their spool is open, or the first batch is on its way.
                time.sleep(dice.uniform(0.05, 1.0))
            else:
                firsts.append(gateway.polls())
                time.sleep(dice.uniform(0.0, 1.0))
            gateway.kill()

    made = [stand.add(f"gateway-{n}") for n in range(gateways)]
    for gateway in made:
        # The plan is compiled once.
        gateway.start()
        gateway.polls(60.0)
        gateway.kill()
    _side_by_side([partial(cycles, gateway, random.Random(dice.random())) for gateway in made])
    for gateway in made:
        gateway.start()
        gateway.polls()
    return firsts


def _no_traceback(stand: Stand) -> None:
    for gateway in stand.gateways:
        assert "Traceback" not in gateway.agent.log, gateway.agent.log[-4000:]
    assert stand.quarantined() == []


@pytest.mark.slow
def test_an_agent_that_is_killed_loses_nothing(stand: Stand) -> None:
    _kill_agents(stand, 1, 2, random.Random(1))
    stand.wait_until_clean(grace_s=_GRACE_S)
    _no_traceback(stand)


@pytest.mark.ci
def test_agents_that_are_killed_again_and_again_lose_nothing(stand: Stand) -> None:
    chosen = seed()
    print(f"seed {chosen}")
    firsts = _kill_agents(stand, 3, times(34, 334), random.Random(chosen))
    verdict = stand.wait_until_clean(grace_s=_GRACE_S)
    print(f"{verdict.read} things read; first poll after {median(firsts):.2f} s, at most {max(firsts):.2f} s")
    # Of twenty starts one may meet a machine that is busy with something else; no start may take for ever.
    assert sorted(firsts)[len(firsts) * 19 // 20] <= _FIRST_POLL_S
    assert max(firsts) <= 5 * _FIRST_POLL_S
    _no_traceback(stand)


def _kill_collector(stand: Stand, kills: int, dice: random.Random) -> Verdict:
    """Kills it so often while it takes batches; returns the first bad verdict on its receipts, or the last one."""
    gateways = [stand.add(f"gateway-{n}") for n in range(3)]
    for gateway in gateways:
        gateway.start()
    for gateway in gateways:
        gateway.polls(60.0)
    verdict = Verdict()
    for _ in range(kills):
        before = _acked(gateways)
        until(lambda before=before: _acked(gateways) > before, "receipts of this start", 60.0)  # type: ignore[misc]
        time.sleep(dice.uniform(0.0, 0.3))
        stand.collector.kill()
        # Whatever was signed for is there at this moment already.
        verdict = stand.judge(has_spools=True)
        if verdict.lost:
            return verdict
        stand.collector.start()
    return verdict


@pytest.mark.ci
def test_a_collector_that_is_killed_while_it_takes_batches_signs_for_nothing_that_it_lacks(stand: Stand) -> None:
    chosen = seed()
    print(f"seed {chosen}")
    verdict = _kill_collector(stand, times(10, 300), random.Random(chosen))
    assert verdict.lost == (), str(verdict)
    stand.wait_until_clean(grace_s=_GRACE_S)
    _no_traceback(stand)


@pytest.mark.ci
def test_a_collector_that_signs_before_it_commits_is_caught(tmp_path: Path) -> None:
    stand = Stand(tmp_path, "tests.reliability.hasty_collector", commit_limit_s=60.0)
    try:
        stand.broker.start()
        stand.collector.start()
        assert _kill_collector(stand, 20, random.Random(1)).lost
    finally:
        stand.close()


def _acked(gateways: list[Gateway]) -> int:
    return sum(fact.kind is Kind.ACKED for gateway in gateways for fact in gateway.facts())


@pytest.mark.ci
def test_a_broker_that_is_killed_is_made_good_end_to_end(stand: Stand) -> None:
    chosen = seed()
    print(f"seed {chosen}")
    dice = random.Random(chosen)
    gateways = [stand.add(f"gateway-{n}") for n in range(2)]
    for gateway in gateways:
        gateway.start()
    for gateway in gateways:
        gateway.polls(60.0)
    for _ in range(times(8, 100)):
        before = _acked(gateways)
        until(lambda before=before: _acked(gateways) > before, "receipts through this broker", 60.0)  # type: ignore[misc]
        time.sleep(dice.uniform(0.0, 0.3))
        stand.broker.kill()
        time.sleep(dice.uniform(0.0, 0.5))
        stand.broker.start()
    stand.wait_until_clean(grace_s=_GRACE_S)
    _no_traceback(stand)


@pytest.mark.ci
def test_agents_broker_and_collector_killed_at_random_lose_nothing(stand: Stand) -> None:
    chosen = seed()
    print(f"seed {chosen}")
    dice = random.Random(chosen)
    gateways = [stand.add(f"gateway-{n}") for n in range(2)]
    for gateway in gateways:
        gateway.start()
    for gateway in gateways:
        gateway.polls(60.0)
    end = time.monotonic() + times(15, 1800)
    kills = 0
    while time.monotonic() < end:
        time.sleep(dice.uniform(0.0, 0.8))
        victims = dice.sample(["broker", "collector", *gateways], dice.choice([1, 1, 1, 2, 4]))
        for victim in victims:
            kills += 1
            if isinstance(victim, Gateway):
                victim.kill()
            else:
                (stand.broker if victim == "broker" else stand.collector).kill()
        time.sleep(dice.uniform(0.0, 0.5))
        for victim in dice.sample(victims, len(victims)):
            if isinstance(victim, Gateway):
                victim.start()
            else:
                (stand.broker if victim == "broker" else stand.collector).start()
    verdict = stand.wait_until_clean(grace_s=_GRACE_S)
    print(f"{kills} kills, {verdict.read} things read")
    _no_traceback(stand)
