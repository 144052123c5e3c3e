"""The way of one row through the agent: marked, judged, kept, shown to whoever waits for it.

It runs in the step in which the row was read, and waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contracts.batch import AlarmEvent
from edge_agent.bus.poller import Codes, Row
from edge_agent.collect import Collector
from edge_agent.judge import Judge
from edge_agent.reload import Reloader
from edge_agent.sealer import Sealer
from edge_agent.upkeep import UpkeepBook
from edge_agent.visit_ops import VisitDesk


class RowPath:
    """Takes the rows of every port and every burst."""

    def __init__(
        self,
        *,
        judge: Judge,
        columns: Collector,
        sealer: Sealer,
        upkeep: UpkeepBook,
        visits: VisitDesk,
        reloads: Reloader,
        first: Callable[[], None],
    ) -> None:
        """Takes what it needs.

        Args:
            first: told, once, that the first row is there.
        """
        self._judge, self._columns, self._sealer = judge, columns, sealer
        self._upkeep, self._visits, self._reloads = upkeep, visits, reloads
        self._first = first
        self._is_first = True
        #: rows so far
        self.count = 0
        #: takes the events of a row when the sealer has them; None: nobody waits for them
        self.on_events: Callable[[Sequence[AlarmEvent]], None] | None = None
        #: called when a row has been judged; None: nobody waits for that
        self.on_judged: Callable[[], None] | None = None

    def take(self, block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> None:
        """Takes one row.

        Args:
            block: its number in the plan that runs.
            sampled_us: the time that its values carry (monotonic us).
            replied_us: when the reply was whole (monotonic us).
        """
        self.count += 1
        if self._upkeep.marks:
            codes = self._upkeep.marked(block, codes, len(row))
        try:
            events = self._judge.judge_row(block, sampled_us, row, codes, replied_us)
            if events:
                self._sealer.take_events(events)
                if self.on_events is not None:
                    self.on_events(events)
            if self.on_judged is not None:
                self.on_judged()
        finally:
            # Whatever becomes of the judgement, the reading is kept.
            self._columns.add(block, sampled_us, row, codes)
            self._visits.take_row(block, sampled_us, row, codes)
            if self._reloads.is_waiting:
                self._reloads.hear(block, codes)
        if self._is_first:
            self._is_first = False
            self._first()
