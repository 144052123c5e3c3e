"""Between two seals: the rows of every block, kept as they came, until they become columns.

It judges nothing and stores nothing.  ``add`` runs for every reply and does one append;
packing is done once for each seal.  If sealing stalls the oldest rows of a block go, counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from contracts.columns import encode_block
from edge_agent.plan import BlockPlan, PointPlan
from edge_agent.vibration.records import FeatureBlock

Row = Sequence[int | float | None]
Codes = Sequence[int] | None
#: monotonic us, values, quality codes (None: all good)
Tick = tuple[int, Row, Codes]

#: rows that one block may hold: over a minute at ten rows a second
CAP = 1024
#: readings that one batch takes at most; even nine bytes each stay below a batch's limit
LIMIT = 60_000


class Taken(NamedTuple):
    """What one batch carries."""

    #: for ``contracts.batch.Batch.blocks``; their times are relative to the header's ``sealed_us``
    blocks: list[Any]
    #: samples in them, whatever their quality
    readings: int
    #: monotonic us of the oldest and newest sample; None without any
    first_us: int | None
    last_us: int | None


class Collector:
    """The rows since the last seal, by block number of the plan that runs."""

    def __init__(
        self, blocks: Sequence[BlockPlan | FeatureBlock], points: Sequence[PointPlan], *, cap: int = CAP
    ) -> None:
        """Takes no rows yet; ``cap`` is how many one block may hold, 1 or more."""
        self._cap = cap
        #: rows and readings that had to go since the start because no seal took them
        self.lost_rows = 0
        self.lost_readings = 0
        self._kinds: list[tuple[str, ...]] = []
        self._rows: list[list[Tick]] = []
        self._latest: list[Tick | None] = []
        self.replace_plan(blocks, points)

    def replace_plan(
        self,
        blocks: Sequence[BlockPlan | FeatureBlock],
        points: Sequence[PointPlan],
        same: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        """Begins anew for another plan; rows that no seal took before are lost, and counted.

        Args:
            same: old block number -> new one, where rows mean the same; the newest row of those is still known.
        """
        known = {same[number]: self.latest(number) for number in range(len(self._rows)) if number in same}
        self.lost_rows += sum(map(len, self._rows))
        self.lost_readings += self.readings
        self._kinds = [tuple(points[number].kind for number in block.points) for block in blocks]
        self._rows = [[] for _ in blocks]
        self._latest = [known.get(number) for number in range(len(self._kinds))]

    def add(self, block: int, sampled_us: int, row: Row, codes: Codes) -> None:
        """Keeps one row; ``row`` and ``codes`` are not to be changed afterwards."""
        rows = self._rows[block]
        rows.append((sampled_us, row, codes))
        if len(rows) > self._cap:
            del rows[0]
            self.lost_rows += 1
            self.lost_readings += len(row)

    @property
    def readings(self) -> int:
        """Samples that wait for a seal."""
        return sum(len(rows) * len(kinds) for rows, kinds in zip(self._rows, self._kinds, strict=True))

    def latest(self, block: int) -> Tick | None:
        """Returns the newest row of a block, sealed or not; None when there was none yet."""
        rows = self._rows[block]
        return rows[-1] if rows else self._latest[block]

    def take(self, sealed_us: int, *, limit: int = LIMIT) -> Taken:
        """Packs what waits and keeps it no longer.

        What is beyond ``limit`` readings stays for the next call, the newest of every block;
        each block with rows gives one at least.

        Args:
            sealed_us: of the header that the batch will have, monotonic.
        """
        waiting = self.readings
        raw: list[Any] = []
        readings = 0
        first: int | None = None
        last: int | None = None
        for number, rows in enumerate(self._rows):
            if not rows:
                continue
            count = len(rows) if waiting <= limit else max(1, len(rows) * limit // waiting)
            self._latest[number] = rows[-1]
            self._rows[number] = rows[count:]
            times, values, codes = zip(*rows[:count], strict=True)
            kinds = self._kinds[number]
            raw.append(encode_block(number, kinds, sealed_us, times, values, codes))
            readings += count * len(kinds)
            oldest, newest = min(times), max(times)
            first = oldest if first is None or oldest < first else first
            last = newest if last is None or newest > last else last
        return Taken(raw, readings, first, last)
