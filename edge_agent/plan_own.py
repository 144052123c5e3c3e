"""What a plan says about the agent itself: how a reload is tried, and what is told to monitoring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contracts.fields import Fields

#: a device that answered before has this long to answer under a new configuration (seconds)
RELOAD_TRIAL_S = 60.0
#: what may be written to a memory card in its life, where the site does not say: 32e9 bytes times 3000 program/erase
#: cycles (an assumption of ours: ask the card's data sheet), a quarter of it, because a card
#: writes more than it is given.  An engineering default; the data sheet of the card that is there counts
CARD_ENDURANCE_BYTES = 24_000_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPlan:
    """What the agent does about itself."""

    #: seconds in which a device that answered before must answer again after a reload; 0: no reload is rolled back
    reload_trial_s: float = RELOAD_TRIAL_S
    #: numeric address that serves metrics; empty: none does
    metrics_host: str = ""
    metrics_port: int = 0
    #: bytes that may be written to the card in its life
    card_endurance_bytes: int = CARD_ENDURANCE_BYTES

    def to_wire(self) -> list[Any]:
        return [self.reload_trial_s, self.metrics_host, self.metrics_port, self.card_endurance_bytes]

    @classmethod
    def from_wire(cls, value: Any) -> OwnPlan:
        f = Fields("own", value, 4)
        return cls(
            reload_trial_s=f.number("reload_trial_s"),
            metrics_host=f.text("metrics_host", 64),
            metrics_port=f.integer("metrics_port", 0, 65535),
            card_endurance_bytes=f.integer("card_endurance_bytes", 1),
        )


#: where the site file says nothing
OWN = OwnPlan()
