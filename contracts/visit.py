"""What a person proved at a point, bump test or calibration, under his name: section 9 of a batch.

One record per visit, sealed when it has ended, however it ended.  What its fields mean is in
docs/wire-format.md (*Visit*).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from contracts.errors import PayloadError
from contracts.fields import Fields
from contracts.units import UNITS

#: in one batch
MAX_VISITS = 1000
JOBS = frozenset({"bump", "calibration"})
#: how a visit ended: the person left; the agent or the gateway ended first
RESULTS = frozenset({"passed", "failed", "abandoned", "interrupted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One visit to one point; numbers are in ``unit`` and None where nothing good was read."""

    #: the same visit sealed again has the same id; see :func:`visit_id`
    id: bytes
    #: whose monotonic clock ``began_us`` and ``ended_us`` are of; it may be an earlier boot than the header's
    boot_id: bytes
    #: point key
    point: str
    #: one of JOBS
    job: str
    #: monotonic
    began_us: int
    #: monotonic, not before ``began_us``; where the agent ended first, the last moment that was kept
    ended_us: int
    #: the person's name
    by: str
    #: one of RESULTS
    result: str
    #: why it did not pass, a word and what was seen; empty where it passed
    reason: str
    #: UCUM
    unit: str
    #: before the gas; of a calibration: before the work
    zero: float | None
    #: the value of the gas, as the person typed it
    applied: float | None
    #: the value farthest from ``zero`` while the gas was on; of a calibration: after the work
    peak: float | None
    #: how long after the gas came the point had 90 % of the way from ``zero`` to ``peak`` or ``applied``, whichever is
    #: nearer (us)
    t90_us: int | None
    #: how long after the gas went the point was back (us)
    return_us: int | None
    #: what ``t90_us`` may be at most
    t90_limit_us: int | None
    #: what ``return_us`` may be at most
    return_limit_us: int | None
    #: of the device, as the gateway knew it
    serial: str
    #: what the person wrote
    note: str

    def to_wire(self) -> list[Any]:
        return [
            self.id,
            self.boot_id,
            self.point,
            self.job,
            self.began_us,
            self.ended_us,
            self.by,
            self.result,
            self.reason,
            self.unit,
            self.zero,
            self.applied,
            self.peak,
            self.t90_us,
            self.return_us,
            self.t90_limit_us,
            self.return_limit_us,
            self.serial,
            self.note,
        ]

    @classmethod
    def from_wire(cls, value: Any) -> Visit:
        """Returns the record that ``to_wire`` wrote.

        Raises:
            PayloadError: names the field.
        """
        f = Fields("visit", value, 19)
        visit = cls(
            id=f.binary("id", 16),
            boot_id=f.binary("boot_id", 16),
            point=f.text("point", 64),
            job=f.choice("job", JOBS),
            began_us=f.integer("began_us"),
            ended_us=f.integer("ended_us"),
            by=f.text("by", 256),
            result=f.choice("result", RESULTS),
            reason=f.text("reason", 256),
            unit=f.choice("unit", frozenset(UNITS)),
            zero=f.optional_number("zero"),
            applied=f.optional_number("applied"),
            peak=f.optional_number("peak"),
            t90_us=f.optional_integer("t90_us"),
            return_us=f.optional_integer("return_us"),
            t90_limit_us=f.optional_integer("t90_limit_us"),
            return_limit_us=f.optional_integer("return_limit_us"),
            serial=f.text("serial", 64),
            note=f.text("note", 1024),
        )
        if visit.ended_us < visit.began_us:
            raise PayloadError(f"visit.ended_us: {visit.ended_us} is before began_us {visit.began_us}")
        return visit


def visit_id(gateway: str, boot_id: bytes, point: str, began_us: int) -> bytes:
    """Returns the id of a visit: the first 16 bytes of SHA-256 over gateway, point, begin and boot."""
    return hashlib.sha256(f"{gateway}\0{point}\0visit\0{began_us}\0".encode() + boot_id).digest()[:16]
