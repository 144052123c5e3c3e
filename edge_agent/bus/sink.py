"""Where the rows of a bus go: one call for each tick of each block, taken or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Row = Sequence[int | float | None]
Codes = Sequence[int] | None


class Sink(Protocol):
    """Takes every row at once; what it raises is logged and does not stop the poller."""

    def __call__(self, block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int, /) -> None:
        """Takes one tick of one block.

        Args:
            block: number in the plan.
            sampled_us: monotonic us.
            row: counts or floats in the order of the block's points; None where there is no number.
            codes: one quality code per point; None when all are good.
            replied_us: when the row was known, monotonic us.
        """
