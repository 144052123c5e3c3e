"""Whether the limits of points are on trial, or who confirmed them in writing: section 11 of a batch.

A statement per point, not an event; one record names all points that one letter is about.  What it
means is in docs/wire-format.md (*Confirmed*).  The letter itself does not travel, its SHA-256 does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contracts.catalogue import is_point_key
from contracts.errors import PayloadError
from contracts.fields import Fields
from contracts.upkeep import is_date_or_empty

#: records in one batch, and points in one record
MAX_CONFIRMED, MAX_POINTS = 1000, 10_000
DIGEST_BYTES = 32
TRIAL, CONFIRMED, NONE = "trial", "confirmed", "none"
STATES = frozenset({TRIAL, CONFIRMED, NONE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """How the limits of some points stand."""

    #: ``trial``, ``confirmed``, or ``none``: these points have no limits
    state: str
    #: the person who confirmed them; empty unless confirmed, as the next three
    by: str = ""
    #: day of the letter, ``YYYY-MM-DD``
    at: str = ""
    #: name of its file at the gateway
    document: str = ""
    #: SHA-256 of that file
    digest: bytes = b""
    #: point keys, one at least
    points: tuple[str, ...]

    def to_wire(self) -> list[Any]:
        return [self.state, self.by, self.at, self.document, self.digest, list(self.points)]

    @classmethod
    def from_wire(cls, value: Any) -> Confirmed:
        """Returns the statement that ``to_wire`` wrote.

        Raises:
            PayloadError: names the field.
        """
        f = Fields("confirmed", value, 6)
        found = cls(
            state=f.choice("state", STATES),
            by=f.text("by"),
            at=f.text("at", 10, pattern=is_date_or_empty),
            document=f.text("document"),
            digest=f.binary("digest", 0, DIGEST_BYTES),
            points=tuple(_keys(f.items("points", MAX_POINTS))),
        )
        told = (found.by, found.at, found.document, found.digest)
        if found.state == CONFIRMED and (not all(told) or len(found.digest) != DIGEST_BYTES):
            raise PayloadError("confirmed: by, at, document and digest say who confirmed; one of them is empty or cut")
        if found.state != CONFIRMED and any(told):
            raise PayloadError(f"confirmed: nobody confirmed what is {found.state}; by, at, document, digest are empty")
        return found


def _keys(items: list[Any]) -> list[str]:
    if not items:
        raise PayloadError("confirmed.points: empty")
    for item in items:
        if type(item) is not str or not is_point_key(item):
            raise PayloadError(f"confirmed.points: expected point keys, got {item!r:.80}")
    return items
