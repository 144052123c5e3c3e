"""A statement that a person works on a point: section 8 of a batch.

Samples keep value and quality; a reader lays the statement over them.  What it means is in
docs/wire-format.md (*Inhibit*); ``spans`` is that rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from contracts.errors import PayloadError
from contracts.fields import Fields

#: in one batch
MAX_INHIBITS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Inhibit:
    """A point is, or was, inhibited from ``since_us`` to before ``until_us``, of the header's boot."""

    #: point key
    point: str
    #: monotonic
    since_us: int
    #: monotonic; not before ``since_us``; the same: it never was
    until_us: int
    #: calibration, bump test, maintenance ...
    reason: str
    #: the person's name
    by: str

    def to_wire(self) -> list[Any]:
        return [self.point, self.since_us, self.until_us, self.reason, self.by]

    @classmethod
    def from_wire(cls, value: Any) -> Inhibit:
        """Returns the statement that ``to_wire`` wrote.

        Raises:
            PayloadError: names the field.
        """
        f = Fields("inhibit", value, 5)
        point, since_us, until_us = f.text("point", 64), f.integer("since_us"), f.integer("until_us")
        if until_us < since_us:
            raise PayloadError(f"inhibit.until_us: {until_us} is before since_us {since_us}")
        return cls(
            point=point, since_us=since_us, until_us=until_us, reason=f.text("reason", 256), by=f.text("by", 256)
        )


def spans(stated: Iterable[tuple[int, Inhibit]]) -> dict[str, list[tuple[int, int]]]:
    """Returns per point when it was inhibited, as stretches ``(since, until)`` that do not overlap, in order.

    A later statement about a point replaces all that earlier ones say from its ``since_us`` on.

    Args:
        stated: each with the monotonic us at which its batch was sealed; of one boot, in any order, any number
            of times.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for _, item in sorted(stated, key=lambda pair: (pair[0], pair[1].point, pair[1].since_us, pair[1].until_us)):
        earlier = [(since, min(until, item.since_us)) for since, until in found.get(item.point, [])]
        kept = [(since, until) for since, until in earlier if since < until]
        found[item.point] = [*kept, (item.since_us, item.until_us)] if item.since_us < item.until_us else kept
    return {point: stretches for point, stretches in found.items() if stretches}
