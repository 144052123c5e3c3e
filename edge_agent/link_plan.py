"""How the link is used: what it costs, what it may carry, how patient it is.  Part of the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contracts.errors import PayloadError
from contracts.fields import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPlan:
    """What is counted and spared on the way to the broker."""

    #: ordinary data while an alarm stands or somebody watches (s)
    live_interval_s: float = 2.0
    #: what the operator allows in a month, both ways (bytes); 0: nothing is stated
    allowance_bytes: int = 0
    #: the month of the bill begins on this day, 1 to 28
    billing_day: int = 1
    #: parts of the allowance at which it is told
    warn_at: tuple[float, ...] = (0.5, 0.8)
    #: from this part on ordinary data are thinned
    thin_from: float = 0.9
    #: payloads and their headers (bytes/s); 0: no cap
    max_bytes_per_s: int = 0
    #: whose counters count; empty: that of the route to the broker
    interface: str = ""
    #: the first try after a start comes anywhere within this (s)
    first_spread_s: float = 0.0
    #: no wait between two tries is bounded above this (s)
    reconnect_most_s: float = 60.0

    def to_wire(self) -> list[Any]:
        return [
            self.live_interval_s,
            self.allowance_bytes,
            self.billing_day,
            list(self.warn_at),
            self.thin_from,
            self.max_bytes_per_s,
            self.interface,
            self.first_spread_s,
            self.reconnect_most_s,
        ]

    @classmethod
    def from_wire(cls, value: Any) -> LinkPlan:
        """Reads what ``to_wire`` made; raises PayloadError naming the field."""
        f = Fields("uplink.link", value, 9)
        return cls(
            live_interval_s=f.number("live_interval_s"),
            allowance_bytes=f.integer("allowance_bytes"),
            billing_day=f.integer("billing_day", 1, 28),
            warn_at=tuple(_number(item) for item in f.items("warn_at", 8)),
            thin_from=f.number("thin_from"),
            max_bytes_per_s=f.integer("max_bytes_per_s"),
            interface=f.text("interface", 32),
            first_spread_s=f.number("first_spread_s"),
            reconnect_most_s=f.number("reconnect_most_s"),
        )


USUAL_LINK = LinkPlan()


def _number(value: Any) -> float:
    if not isinstance(value, float):
        raise PayloadError("uplink.link.warn_at: expected numbers")
    return value
