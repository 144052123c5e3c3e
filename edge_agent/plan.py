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
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from sys import intern
from typing import TYPE_CHECKING, Any

import msgpack

from contracts.errors import ContractError
from contracts.fields import U32, Fields, pack
from drivers.errors import DriverError
from drivers.plan import BlockRead
from edge_agent.errors import PlanError
from edge_agent.link_plan import USUAL_LINK, LinkPlan
from edge_agent.plan_own import OWN, OwnPlan
from edge_agent.plan_ports import DevicePlan, PortPlan
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
_VALUE_KINDS = frozenset({"int", "f32", "f64"})


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


def _point_to_wire(point: PointPlan, rules: _Shared) -> list[Any]:
    step = f"{point.resolution.numerator}/{point.resolution.denominator}"
    what = [point.key, point.quantity, point.unit, point.kind, step, point.low, point.high]
    return [*what, point.longest_silence_ms, point.device, point.en, point.zh, rules.place(point.rules)]


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
