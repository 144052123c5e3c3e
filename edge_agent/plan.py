"""The plan: everything the daemon runs, as plain frozen records.

A site file, device profiles and rule packs are compiled into one plan (``compile.py``); the
daemon reads only this.  Positions are numbers: a point's number is its place in
``Plan.points``, a block's number its place in ``Plan.row_blocks``, and both are the same in the
catalogue, so a batch can be explained without the plan.

On disk::

    magic   SHA-256 of the rest   msgpack [format, version, inputs, content]

Equal block reads and equal sets of rules are written once and shared.  The content's own
SHA-256 names the plan; the inputs (path and SHA-256 of every file it was made from) do not
belong to the content, so that an edited comment leaves the plan what it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from sys import intern
from typing import TYPE_CHECKING, Any

import msgpack

from contracts.errors import ContractError
from contracts.fields import U32, Fields, pack
from drivers.dial_in import KINDS, Packet
from drivers.errors import DriverError
from drivers.plan import BlockRead, IdentityRead
from drivers.rs485 import Rs485Settings
from edge_agent.errors import PlanError
from edge_agent.link_plan import USUAL_LINK, LinkPlan
from edge_agent.plan_own import OWN, OwnPlan
from edge_agent.plan_upkeep import NO_UPKEEP, UpkeepPlan
from edge_agent.vibration.records import BurstPlan, FeatureBlock
from rules.errors import RulesError
from rules.point_state import PointRules

if TYPE_CHECKING:
    from edge_agent.plan_annunciator import AnnunciatorPlan

_library: Any = msgpack  # ships no types for packb and unpackb

#: changes with the meaning of any field below; a plan of another format is compiled anew
FORMAT = 5
MAGIC = b"qianshao-plan\n"
#: no plan is larger (bytes)
MAX_PLAN = 64 * 1024 * 1024
_DIGEST = 32
_KINDS = frozenset({"tcp", "rtu-tcp", "dtu", "serial"})
_PACKETS = frozenset(KINDS)
_PARITIES = frozenset({"", "N", "E", "O"})
_PROOFS = frozenset({"nothing", "frames", "unit"})
_CONFIDENCES = frozenset({"", "S1", "S2", "S3", "M"})
_VALUE_KINDS = frozenset({"int", "f32", "f64"})


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """One request of one device, and when it is due."""

    #: index into ``Plan.devices``
    device: int
    read: BlockRead
    #: point numbers in the order of ``read.points``
    points: tuple[int, ...]
    interval_ms: int
    #: due when monotonic milliseconds leave this when divided by ``interval_ms``
    phase_ms: int
    #: whether a limit stands on any of its points
    is_alarm: bool
    #: longest from the change of a register to its judgement, where ``is_alarm``; 0: the budget's own
    deadline_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PointPlan:
    """One point: a place and a quantity."""

    #: ``device/quantity[/n]``
    key: str
    quantity: str
    #: UCUM
    unit: str
    #: ``int``: counts of ``resolution``; ``f32``/``f64``: the number itself
    kind: str
    #: 1 for floats
    resolution: Fraction
    #: what the instrument can show, in ``unit``; None where not stated
    low: float | None
    high: float | None
    longest_silence_ms: int
    #: index into ``Plan.devices``
    device: int
    en: str
    zh: str
    #: limits in ``unit``
    rules: PointRules


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkPlan:
    """Where sealed batches go."""

    #: of the broker; empty where none is configured, then everything stays in the spool
    host: str
    port: int
    #: path of the certificates that the broker is checked against; empty without TLS
    tls_ca: str
    username: str
    #: path of a file that holds the password; empty without one
    password_file: str
    seal_interval_s: float
    metered: bool
    #: key lines whose receipts are believed; empty until a collector approved this gateway
    collector_keys: tuple[str, ...]
    #: of the link that backlog may take, above 0 and at most 1
    backlog_share: float
    link: LinkPlan = USUAL_LINK

    def to_wire(self) -> list[Any]:
        place = [self.host, self.port, self.tls_ca, self.username, self.password_file]
        use = [self.seal_interval_s, self.metered, list(self.collector_keys), self.backlog_share]
        return [*place, *use, self.link.to_wire()]

    @classmethod
    def from_wire(cls, value: Any) -> UplinkPlan:
        f = Fields("uplink", value, 10)
        return cls(
            host=f.text("host"),
            port=f.integer("port", 0, 65535),
            tls_ca=f.text("tls_ca", 4096),
            username=f.text("username"),
            password_file=f.text("password_file", 4096),
            seal_interval_s=f.number("seal_interval_s"),
            metered=f.boolean("metered"),
            collector_keys=tuple(_texts(f.items("collector_keys", 16), "uplink.collector_keys")),
            backlog_share=f.number("backlog_share"),
            link=LinkPlan.from_wire(f.raw()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolPlan:
    """How much the spool may keep."""

    quota_bytes: int
    #: part of the quota that only alarms and what surrounds them may use
    reserve_bytes: int
    #: days that delivered batches are kept
    retention_days: int

    def to_wire(self) -> list[Any]:
        return [self.quota_bytes, self.reserve_bytes, self.retention_days]

    @classmethod
    def from_wire(cls, value: Any) -> SpoolPlan:
        f = Fields("spool", value, 3)
        return cls(
            quota_bytes=f.integer("quota_bytes", 1),
            reserve_bytes=f.integer("reserve_bytes"),
            retention_days=f.integer("retention_days", 0, 36_500),
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything the daemon runs."""

    #: names of the gateway
    en: str
    zh: str
    ports: tuple[PortPlan, ...]
    devices: tuple[DevicePlan, ...]
    blocks: tuple[BlockPlan, ...]
    points: tuple[PointPlan, ...]
    uplink: UplinkPlan
    spool: SpoolPlan
    #: (path, SHA-256) of every file or listing it was made from
    inputs: tuple[tuple[str, bytes], ...]
    #: of the program that compiled it
    version: str
    #: fast reads of some devices, and what is computed of them
    bursts: tuple[BurstPlan, ...] = ()
    #: about the agent itself
    own: OwnPlan = OWN
    #: what is to be tested or calibrated how often, and where it hangs
    upkeep: UpkeepPlan = NO_UPKEEP
    #: outputs that show alarms in the room; None: none does
    annunciator: AnnunciatorPlan | None = None

    @cached_property
    def row_blocks(self) -> tuple[BlockPlan | FeatureBlock, ...]:
        """Every block that gives rows, by number: those that are read, then those that are computed."""
        return (*self.blocks, *(burst.block for burst in self.bursts))

    @cached_property
    def content(self) -> bytes:
        """The plan's bytes without inputs and version; the same content gives the same bytes."""
        reads = _Shared()
        rules = _Shared()
        points = [_point_to_wire(point, rules) for point in self.points]
        blocks = [_block_to_wire(block, reads) for block in self.blocks]
        bursts = [burst.to_wire(reads.place(burst.read)) for burst in self.bursts]
        return pack(
            [
                self.en,
                self.zh,
                [port.to_wire() for port in self.ports],
                [device.to_wire() for device in self.devices],
                rules.items,
                points,
                reads.items,
                blocks,
                self.uplink.to_wire(),
                self.spool.to_wire(),
                bursts,
                self.own.to_wire(),
                self.upkeep.to_wire(),
                None if self.annunciator is None else self.annunciator.to_wire(),
            ]
        )

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).digest()

    def to_bytes(self) -> bytes:
        """Returns the file's bytes."""
        rest = pack([FORMAT, self.version, [list(item) for item in self.inputs], self.content])
        return MAGIC + hashlib.sha256(rest).digest() + rest

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """Reads what ``to_bytes`` wrote.

        Raises:
            PlanError: no plan, damaged, or of another format.
        """
        version, inputs, content = _unwrap(data)
        try:
            return _read_content(content, version, inputs)
        except (ContractError, DriverError, RulesError) as error:
            raise PlanError(f"the plan does not hold what its format promises: {error}") from error


def inputs_of(data: bytes) -> tuple[str, tuple[tuple[str, bytes], ...]]:
    """Returns version and inputs of a stored plan without reading its content.

    Raises:
        PlanError: no plan, damaged, or of another format.
    """
    version, inputs, _ = _unwrap(data)
    return version, inputs


class _Shared:
    """Wire forms that are written once and referred to by their place."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._places: dict[bytes, int] = {}
        self._known: dict[int, int] = {}
        self._kept: list[Any] = []

    def place(self, record: Any) -> int:
        """Returns the place of ``record``'s wire form, adding it where it is new."""
        known = self._known.get(id(record))
        if known is not None:
            return known
        wire = record.to_wire()
        place = self._places.setdefault(pack(wire), len(self.items))
        if place == len(self.items):
            self.items.append(wire)
        self._known[id(record)] = place
        # Keeps the object alive, so that its id is not given to another one meanwhile.
        self._kept.append(record)
        return place


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


def _point_to_wire(point: PointPlan, rules: _Shared) -> list[Any]:
    step = f"{point.resolution.numerator}/{point.resolution.denominator}"
    what = [point.key, point.quantity, point.unit, point.kind, step, point.low, point.high]
    return [*what, point.longest_silence_ms, point.device, point.en, point.zh, rules.place(point.rules)]


def _identity(value: Any) -> IdentityRead | None:
    return None if value is None else IdentityRead.from_wire(value)


def _annunciator(value: Any, devices: int) -> AnnunciatorPlan | None:
    if value is None:
        return None
    # Imported late: most gateways have none.
    from edge_agent.plan_annunciator import AnnunciatorPlan

    return AnnunciatorPlan.from_wire(value, devices)


def _block_to_wire(block: BlockPlan, reads: _Shared) -> list[Any]:
    when = [block.interval_ms, block.phase_ms, block.is_alarm, block.deadline_ms]
    return [block.device, reads.place(block.read), list(block.points), *when]


def _unwrap(data: bytes) -> tuple[str, tuple[tuple[str, bytes], ...], bytes]:
    start = len(MAGIC) + _DIGEST
    if len(data) > MAX_PLAN or not data.startswith(MAGIC):
        raise PlanError("this file is no plan")
    rest = data[start:]
    if hashlib.sha256(rest).digest() != data[len(MAGIC) : start]:
        raise PlanError("the plan is damaged: its bytes do not have the sum they were written with")
    value = _unpack(rest)
    if not isinstance(value, list) or not value or value[0] != FORMAT:
        raise PlanError("the plan is of another format")
    try:
        f = Fields("plan", value, 4)
        f.integer("format", FORMAT, FORMAT)
        version = f.text("version", 64)
        inputs = []
        for item in f.items("inputs", 65_536):
            g = Fields("input", item, 2)
            inputs.append((g.text("path", 4096), g.binary("sum", 0, _DIGEST)))
        return version, tuple(inputs), f.binary("content", 1, MAX_PLAN)
    except ContractError as error:
        raise PlanError(f"the plan does not hold what its format promises: {error}") from error


def _read_content(content: bytes, version: str, inputs: tuple[tuple[str, bytes], ...]) -> Plan:
    f = Fields("plan", _unpack(content), 14)
    en, zh = f.text("en"), f.text("zh")
    ports = tuple(PortPlan.from_wire(item) for item in f.items("ports", 4096))
    devices = tuple(DevicePlan.from_wire(item, len(ports)) for item in f.items("devices", 4096))
    rules = tuple(PointRules.from_wire(item) for item in f.items("rules", 65_536))
    points = tuple(_point_from_wire(item, rules, len(devices)) for item in f.items("points", 65_536))
    reads = tuple(BlockRead.from_wire(item) for item in f.items("reads", 65_536))
    blocks = tuple(_block_from_wire(item, reads, len(devices), len(points)) for item in f.items("blocks", 65_536))
    return Plan(
        en=en,
        zh=zh,
        ports=ports,
        devices=devices,
        blocks=blocks,
        points=points,
        uplink=UplinkPlan.from_wire(f.raw()),
        spool=SpoolPlan.from_wire(f.raw()),
        bursts=tuple(BurstPlan.from_wire(item, reads, len(devices), len(points)) for item in f.items("bursts", 4096)),
        own=OwnPlan.from_wire(f.raw()),
        upkeep=UpkeepPlan.from_wire(f.raw(), len(devices)),
        annunciator=_annunciator(f.raw(), len(devices)),
        inputs=inputs,
        version=version,
    )


def _point_from_wire(value: Any, rules: Sequence[PointRules], devices: int) -> PointPlan:
    f = Fields("point", value, 12)
    return PointPlan(
        key=f.text("key", 64),
        # Thousands of points have the same few words.
        quantity=intern(f.text("quantity", 64)),
        unit=intern(f.text("unit", 32)),
        kind=f.choice("kind", _VALUE_KINDS),
        resolution=_fraction(f.text("resolution", 40)),
        low=f.optional_number("low"),
        high=f.optional_number("high"),
        longest_silence_ms=f.integer("longest_silence_ms", 1, U32),
        device=f.integer("device", 0, devices - 1),
        en=f.text("en"),
        zh=f.text("zh"),
        rules=rules[f.integer("rules", 0, len(rules) - 1)],
    )


def _block_from_wire(value: Any, reads: Sequence[BlockRead], devices: int, points: int) -> BlockPlan:
    f = Fields("block", value, 7)
    device = f.integer("device", 0, devices - 1)
    read = reads[f.integer("read", 0, len(reads) - 1)]
    numbers = f.items("points", 2000)
    if any(type(number) is not int or not 0 <= number < points for number in numbers):
        raise PlanError("block.points: one is no number of a point")
    if len(numbers) != len(read.points):
        raise PlanError(f"block.points: {len(numbers)} numbers for a read of {len(read.points)} points")
    interval = f.integer("interval_ms", 1, U32)
    return BlockPlan(
        device=device,
        read=read,
        points=tuple(numbers),
        interval_ms=interval,
        phase_ms=f.integer("phase_ms", 0, interval - 1),
        is_alarm=f.boolean("is_alarm"),
        deadline_ms=f.integer("deadline_ms", 0, U32),
    )


def _unpack(data: bytes) -> Any:
    try:
        return _library.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise PlanError(f"the plan is not msgpack: {error or type(error).__name__}") from error


@lru_cache(maxsize=64)
def _fraction(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise PlanError(f"point.resolution: {text!r} is no fraction") from error


def _texts(items: list[Any], what: str) -> list[str]:
    for item in items:
        if type(item) is not str or len(item) > 4096:
            raise PlanError(f"{what}: expected lines of text")
    return items
