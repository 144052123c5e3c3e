"""Who confirmed the limits of a point in writing; until somebody did, they are on trial.

Trial changes nothing of how the gateway judges: alarms are raised, sealed and sent all the same,
with the mark ``trial``.  What the mark holds back is decided at the centre.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.fields import Fields

#: mark of an event whose limits nobody confirmed
TRIAL = "trial"
_DIGEST = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """The letter of the asset's owner."""

    #: the person's name
    by: str
    #: ISO date
    at: str
    #: name of the file
    document: str
    #: SHA-256 of its bytes
    digest: bytes

    def to_wire(self) -> list[object]:
        """Returns the confirmation as a list of primitives."""
        return [self.by, self.at, self.document, self.digest]

    @classmethod
    def from_wire(cls, value: object) -> Confirmation:
        """Returns the confirmation that ``to_wire`` wrote.

        Raises:
            PayloadError: names the field.
        """
        f = Fields("confirmation", value, 4)
        return cls(
            by=f.text("by"),
            at=f.text("at", 10),
            document=f.text("document"),
            digest=f.binary("digest", _DIGEST, _DIGEST),
        )
