"""Part of the plan: lines, and the devices behind them.

Which values are read, and when, is no part of it (``plan.py``, blocks); how a line is opened is in ``ports.py``.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

from contracts.fields import U32, Fields
from drivers.dial_in import KINDS, Packet
from drivers.plan import IdentityRead
from drivers.rs485 import Rs485Settings

_KINDS = frozenset({"tcp", "rtu-tcp", "dtu", "serial"})
_PACKETS = frozenset(KINDS)
_PARITIES = frozenset({"", "N", "E", "O"})
_PROOFS = frozenset({"nothing", "frames", "unit"})
_CONFIDENCES = frozenset({"", "S1", "S2", "S3", "M"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPlan:
    """One line to devices; fields of other kinds are empty or 0."""

    id: str
    #: ``tcp``, ``rtu-tcp``, ``dtu`` or ``serial``
    kind: str
    #: to connect to; of ``dtu``: the address to listen on
    host: str = ""
    port: int = 0
    #: path of the serial device
    device: str = ""
    #: of the serial line, also of one behind a serial server or a DTU
    baud: int = 0
    #: ``N``, ``E`` or ``O``
    parity: str = ""
    stop_bits: int = 0
    #: ``tcp``: requests that may wait for their replies at once
    in_flight: int = 1
    #: ``tcp``: no request is given up earlier, whatever its own time-out says; 0: no such limit
    gateway_timeout_s: float = 0.0
    #: ``rtu-tcp``, ``dtu``: silence before each request
    gap_ms: int = 0
    #: ``rtu-tcp``, ``dtu``: added to a request's time-out and to its device's ``max_reply_s``
    network_delay_s: float = 0.0
    #: ``dtu``: its first packet
    registration: Packet | None = None
    #: ``dtu``: what it sends in between
    heartbeat: Packet | None = None
    #: ``dtu``: seconds that it may take to register
    registration_timeout_s: float = 0.0
    #: ``serial``: another controller owns the bus; nothing is ever sent
    listen_only: bool = False
    #: ``serial``: the kernel switches the direction; None: the adapter does by itself
    rs485: Rs485Settings | None = None

    @property
    def is_line(self) -> bool:
        """Whether RTU frames go one after the other over a line of ``baud``."""
        return self.kind != "tcp"

    @property
    def where(self) -> str:
        """The line's address, for people: a device file, or host and port."""
        return self.device or f"{self.host}:{self.port}"

    def to_wire(self) -> list[Any]:
        line = [self.id, self.kind, self.host, self.port, self.device, self.baud, self.parity, self.stop_bits]
        network = [self.in_flight, self.gateway_timeout_s, self.gap_ms, self.network_delay_s]
        packets = [_packet_to_wire(self.registration), _packet_to_wire(self.heartbeat)]
        return [
            *(*line, *network, *packets, self.registration_timeout_s, self.listen_only),
            None if self.rs485 is None else list(astuple(self.rs485)),
        ]

    @classmethod
    def from_wire(cls, value: Any) -> PortPlan:
        f = Fields("port", value, 17)
        return cls(
            id=f.text("id", 64),
            kind=f.choice("kind", _KINDS),
            host=f.text("host"),
            port=f.integer("port", 0, 65535),
            device=f.text("device", 4096),
            baud=f.integer("baud", 0, U32),
            parity=f.choice("parity", _PARITIES),
            stop_bits=f.integer("stop_bits", 0, 2),
            in_flight=f.integer("in_flight", 1, 64),
            gateway_timeout_s=f.number("gateway_timeout_s"),
            gap_ms=f.integer("gap_ms", 0, U32),
            network_delay_s=f.number("network_delay_s"),
            registration=_packet_from_wire(f.raw()),
            heartbeat=_packet_from_wire(f.raw()),
            registration_timeout_s=f.number("registration_timeout_s"),
            listen_only=f.boolean("listen_only"),
            rs485=_switching_from_wire(f.raw()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """One device behind a port."""

    id: str
    en: str
    zh: str
    #: index into ``Plan.ports``
    port: int
    #: 0..255; 1..247 by the standard
    unit_id: int
    profile: str
    profile_hash: bytes
    #: declared serial number; empty when none is
    serial: str
    #: seconds after which a reply of this device can no longer arrive
    max_reply_s: float
    #: least time between two requests to it
    min_request_gap_ms: int
    #: what the profile was compared with: ``nothing``, ``frames`` captured from a unit, or a ``unit``
    proved: str = "nothing"
    #: where the profile's registers are from: S1 maker, S2 extract, S3 community, M memory; empty: not stated
    confidence: str = ""
    #: time-out that the budget counts where others wait for the line; 0: the engine's own
    timeout_s: float = 0.0
    #: whether a person may write to it through this gateway
    allow_write: bool = False
    #: the field that tells its serial number; None where it has none, or none is declared
    serial_read: IdentityRead | None = None

    def to_wire(self) -> list[Any]:
        place = [self.id, self.en, self.zh, self.port, self.unit_id]
        timing = [self.max_reply_s, self.min_request_gap_ms]
        proof = [self.proved, self.confidence]
        identity = None if self.serial_read is None else self.serial_read.to_wire()
        return [
            *place,
            self.profile,
            self.profile_hash,
            self.serial,
            *timing,
            *proof,
            self.timeout_s,
            self.allow_write,
            identity,
        ]

    @classmethod
    def from_wire(cls, value: Any, ports: int) -> DevicePlan:
        f = Fields("device", value, 15)
        return cls(
            id=f.text("id", 64),
            en=f.text("en"),
            zh=f.text("zh"),
            port=f.integer("port", 0, ports - 1),
            unit_id=f.integer("unit_id", 0, 255),
            profile=f.text("profile", 64),
            profile_hash=f.binary("profile_hash", 8, 32),
            serial=f.text("serial", 64),
            max_reply_s=f.number("max_reply_s"),
            min_request_gap_ms=f.integer("min_request_gap_ms", 0, U32),
            proved=f.choice("proved", _PROOFS),
            confidence=f.choice("confidence", _CONFIDENCES),
            timeout_s=f.number("timeout_s"),
            allow_write=f.boolean("allow_write"),
            serial_read=_identity(f.raw()),
        )


def _packet_to_wire(packet: Packet | None) -> list[str] | None:
    return None if packet is None else [packet.kind, packet.value]


def _packet_from_wire(value: Any) -> Packet | None:
    if value is None:
        return None
    f = Fields("packet", value, 2)
    return Packet(kind=f.choice("kind", _PACKETS), value=f.text("value", 1024))


def _switching_from_wire(value: Any) -> Rs485Settings | None:
    if value is None:
        return None
    f = Fields("rs485", value, 6)
    return Rs485Settings(
        rts_on_send=f.boolean("rts_on_send"),
        rts_after_send=f.boolean("rts_after_send"),
        rx_during_tx=f.boolean("rx_during_tx"),
        terminate=f.boolean("terminate"),
        delay_before_ms=f.integer("delay_before_ms", 0, U32),
        delay_after_ms=f.integer("delay_after_ms", 0, U32),
    )


def _identity(value: Any) -> IdentityRead | None:
    return None if value is None else IdentityRead.from_wire(value)
