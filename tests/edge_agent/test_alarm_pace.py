"""How soon alarm events are sealed: at once, unless there are very many."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from contracts.batch import AlarmEvent
from edge_agent.collect import Collector
from edge_agent.judge import Judge
from edge_agent.sealer import _ALARM_SEAL_BURST, Sealer
from tests.edge_agent.chains import alarm_event


class Keeper:
    """Counts the events of each seal."""

    def __init__(self) -> None:
        self.seals: list[int] = []

    def seal_alarms(self, events: Sequence[AlarmEvent]) -> None:
        self.seals.append(len(events))


def _sealer(keeper: Keeper) -> Sealer:
    sealer = Sealer(
        judge=Judge("g-abcdefghijkl", bytes(16), (), (), lambda: 0),
        columns=Collector((), ()),
        plan=lambda: None,  # type: ignore[arg-type, return-value]
        catalogue=lambda: (b"", b""),
        health=tuple,
    )
    sealer.keeper = keeper  # type: ignore[assignment]
    return sealer


async def test_events_of_one_turn_of_the_loop_share_a_seal() -> None:
    keeper = Keeper()
    sealer = _sealer(keeper)
    sealer.take_events([alarm_event(1)])
    sealer.take_events([alarm_event(2), alarm_event(3)])
    await asyncio.sleep(0)
    assert keeper.seals == [3]


async def test_a_few_seals_follow_each_other_at_once_and_many_do_not() -> None:
    keeper = Keeper()
    sealer = _sealer(keeper)
    for number in range(_ALARM_SEAL_BURST + 3):
        sealer.take_events([alarm_event(number)])
        await asyncio.sleep(0)
    # The one beyond the burst waits for the pace, and those after it wait with it.
    assert len(keeper.seals) in (_ALARM_SEAL_BURST, _ALARM_SEAL_BURST + 1)
    assert set(keeper.seals) == {1}
    sealer.seal_alarms()
    assert sum(keeper.seals) == _ALARM_SEAL_BURST + 3
