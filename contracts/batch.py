"""Batches: what a gateway seals, and the chain that ties them together.

A batch is a header and sections.  The header is self-explaining about place in the chain
and about time; sections carry columns of samples, alarm events, the statement of active
alarms, health, loss records, notes, waveforms, inhibits, visits, upkeep and confirmed limits.  A section whose
number is unknown is kept with the signed bytes and skipped, so that a newer gateway can talk to
an older collector.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from contracts.catalogue import HASH_BYTES, SEVERITIES, is_point_key
from contracts.confirmed import MAX_CONFIRMED, Confirmed
from contracts.envelope import Type
from contracts.errors import PayloadError
from contracts.fields import U32, U63, Fields, pack, unpack
from contracts.inhibit import MAX_INHIBITS, Inhibit
from contracts.keys import GATEWAY_ID
from contracts.quality import WITH_VALUE
from contracts.units import UNITS
from contracts.upkeep import MAX_UPKEEP, Upkeep
from contracts.visit import MAX_VISITS, Visit
from contracts.waveform import MAX_WAVEFORMS, Waveform, waveforms_from_wire

EPOCH_BYTES = 8
BOOT_ID_BYTES = 16
EVENT_ID_BYTES = 16


class Lane(IntEnum):
    """The two chains of an epoch."""

    ALARM = 0
    DATA = 1

    @property
    def type(self) -> Type:
        return Type.ALARM_BATCH if self is Lane.ALARM else Type.DATA_BATCH


class Origin(StrEnum):
    """Where the content of a batch comes from."""

    LIVE = "live"
    THINNED = "thinned"
    RECOVERED = "recovered"
    VOLATILE = "volatile"


class ClockState(StrEnum):
    """What the gateway knew of wall time."""

    UNSET = "unset"
    FREE_RUNNING = "free"
    SYNCHRONISED = "ntp"
    COLLECTOR = "collector"


class Section(IntEnum):
    """Numbers of the sections; never given a second meaning."""

    BLOCKS = 1
    EVENTS = 2
    STATEMENT = 3
    HEALTH = 4
    LOSSES = 5
    NOTES = 6
    WAVEFORMS = 7
    INHIBITS = 8
    VISITS = 9
    UPKEEP = 10
    CONFIRMED = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest batch of a lane: (seq, digest); seq 0 where there is none yet."""

    seq: int
    digest: bytes

    def to_wire(self) -> list[Any]:
        return [self.seq, self.digest]

    @classmethod
    def from_wire(cls, value: Any) -> Head:
        f = Fields("head", value, 2)
        seq = f.integer("seq", 0, U32)
        return cls(seq=seq, digest=f.binary("digest", HASH_BYTES if seq else 0))


NO_HEAD = Head(seq=0, digest=b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """One tie between the monotonic and the wall clock of a boot."""

    mono_us: int
    #: UTC
    wall_us: int
    state: ClockState
    #: half-width in milliseconds; None when nothing is known
    uncertainty_ms: int | None

    def to_wire(self) -> list[Any]:
        return [self.mono_us, self.wall_us, self.state.value, self.uncertainty_ms]

    @classmethod
    def from_wire(cls, value: Any) -> Anchor:
        f = Fields("anchor", value, 4)
        return cls(
            mono_us=f.integer("mono_us"),
            wall_us=f.integer("wall_us"),
            state=ClockState(f.choice("state", frozenset(ClockState))),
            uncertainty_ms=f.optional_integer("uncertainty_ms", 0, U32),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The epoch that this one follows, as the gateway's spool held it."""

    epoch: bytes
    alarm: Head
    data: Head

    def to_wire(self) -> list[Any]:
        return [self.epoch, self.alarm.to_wire(), self.data.to_wire()]

    @classmethod
    def from_wire(cls, value: Any) -> Parent:
        f = Fields("parent", value, 3)
        return cls(epoch=f.binary("epoch", EPOCH_BYTES), alarm=Head.from_wire(f.raw()), data=Head.from_wire(f.raw()))


#: why an epoch names no parent, or why it began beside one
REASONS = frozenset({"restart", "first", "spool_lost", "spool_damaged", "store_unusable", "salvage"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """Carried by batch 1 of both lanes of an epoch."""

    version: str
    reason: str
    parent: Parent | None

    def to_wire(self) -> list[Any]:
        return [self.version, self.reason, None if self.parent is None else self.parent.to_wire()]

    @classmethod
    def from_wire(cls, value: Any) -> Genesis:
        f = Fields("genesis", value, 3)
        version = f.text("version", 64)
        reason = f.choice("reason", REASONS)
        parent = f.raw()
        return cls(version=version, reason=reason, parent=None if parent is None else Parent.from_wire(parent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Place in the chain, and time."""

    gateway: str
    epoch: bytes
    lane: Lane
    seq: int
    #: digest of batch ``seq - 1`` of this lane; empty for batch 1
    previous: bytes
    #: head of the other lane of this epoch when this batch was sealed
    other: Head
    boot_id: bytes
    boot_counter: int
    sealed_us: int
    anchors: tuple[Anchor, ...]
    #: of the catalogue that explains the blocks; empty when there are none
    catalogue: bytes
    origin: Origin
    #: samples in the blocks, whatever their quality
    readings: int
    genesis: Genesis | None

    def to_wire(self) -> list[Any]:
        return [
            self.gateway,
            self.epoch,
            int(self.lane),
            self.seq,
            self.previous,
            self.other.to_wire(),
            self.boot_id,
            self.boot_counter,
            self.sealed_us,
            [anchor.to_wire() for anchor in self.anchors],
            self.catalogue,
            self.origin.value,
            self.readings,
            None if self.genesis is None else self.genesis.to_wire(),
        ]

    @classmethod
    def from_wire(cls, value: Any) -> Header:
        f = Fields("header", value, 14)
        gateway = f.text("gateway", 16, pattern=lambda t: GATEWAY_ID.fullmatch(t) is not None)
        epoch = f.binary("epoch", EPOCH_BYTES)
        lane = Lane(f.integer("lane", 0, 1))
        seq = f.integer("seq", 1, U32)
        previous = f.binary("previous", 0 if seq == 1 else HASH_BYTES)
        other = Head.from_wire(f.raw())
        boot_id = f.binary("boot_id", BOOT_ID_BYTES)
        boot_counter = f.integer("boot_counter", 0, U32)
        sealed_us = f.integer("sealed_us")
        anchors = tuple(Anchor.from_wire(item) for item in f.items("anchors", 16))
        catalogue = f.binary("catalogue", 0, HASH_BYTES)
        origin = Origin(f.choice("origin", frozenset(Origin)))
        readings = f.integer("readings", 0, 1_000_000)
        genesis = f.raw()
        if (genesis is None) != (seq != 1):
            raise PayloadError("header.genesis: carried by batch 1 and by no other")
        if len(catalogue) not in (0, HASH_BYTES):
            raise PayloadError(f"header.catalogue: expected 0 or {HASH_BYTES} bytes, got {len(catalogue)}")
        return cls(
            gateway=gateway,
            epoch=epoch,
            lane=lane,
            seq=seq,
            previous=previous,
            other=other,
            boot_id=boot_id,
            boot_counter=boot_counter,
            sealed_us=sealed_us,
            anchors=anchors,
            catalogue=catalogue,
            origin=origin,
            readings=readings,
            genesis=None if genesis is None else Genesis.from_wire(genesis),
        )


#: absolute states an event can state
EVENT_STATES = frozenset({"active", "latched", "cleared"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmEvent:
    """One change of one alarm, stated absolutely so that any order and any repeat is harmless.

    It explains itself: point, quantity, unit and names are in it, because an alarm is shown
    whether or not the catalogue has arrived.
    """

    #: of this event
    id: bytes
    #: of the event that raised this occurrence; equal to ``id`` when it is that event
    raised_by: bytes
    #: the boot whose monotonic clock the times below belong to
    boot_id: bytes
    point: str
    quantity: str
    #: UCUM
    unit: str
    #: the point's names
    en: str
    zh: str
    rule_id: str
    rule_hash: bytes
    rule_en: str
    rule_zh: str
    severity: str
    scheme: str
    #: ``active``, ``latched`` (condition over, waits for reset) or ``cleared``
    state: str
    #: ``limit``, ``over_range``, ``under_range``, ``lost_while_rising``, ``silence``, ``reset`` ...
    cause: str
    limit: float | None
    #: the sample that triggered it; None where it had no number
    value: float | None
    code: int
    sampled_us: int
    judged_us: int
    #: short words, e.g. ``uncalibrated``; ``by=NAME`` for a reset
    marks: tuple[str, ...] = ()

    def to_wire(self) -> list[Any]:
        return [
            self.id,
            self.raised_by,
            self.boot_id,
            self.point,
            self.quantity,
            self.unit,
            self.en,
            self.zh,
            self.rule_id,
            self.rule_hash,
            self.rule_en,
            self.rule_zh,
            self.severity,
            self.scheme,
            self.state,
            self.cause,
            self.limit,
            self.value,
            self.code,
            self.sampled_us,
            self.judged_us,
            list(self.marks),
        ]

    @classmethod
    def from_wire(cls, value: Any) -> AlarmEvent:
        f = Fields("event", value, 22)
        event = cls(
            id=f.binary("id", EVENT_ID_BYTES),
            raised_by=f.binary("raised_by", EVENT_ID_BYTES),
            boot_id=f.binary("boot_id", BOOT_ID_BYTES),
            point=f.text("point", 64, pattern=is_point_key),
            quantity=f.text("quantity", 64),
            unit=f.choice("unit", frozenset(UNITS)),
            en=f.text("en"),
            zh=f.text("zh"),
            rule_id=f.text("rule_id", 128),
            rule_hash=f.binary("rule_hash", 8, 32),
            rule_en=f.text("rule_en"),
            rule_zh=f.text("rule_zh"),
            severity=f.choice("severity", SEVERITIES),
            scheme=f.text("scheme"),
            state=f.choice("state", EVENT_STATES),
            cause=f.text("cause", 64),
            limit=f.optional_number("limit"),
            value=f.optional_number("value"),
            code=f.integer("code", 0, 255),
            sampled_us=f.integer("sampled_us"),
            judged_us=f.integer("judged_us"),
            marks=tuple(_words(f.items("marks", 16), "event.marks")),
        )
        if event.value is not None and event.code not in WITH_VALUE:
            raise PayloadError(f"event.value: quality code {event.code} carries no number")
        return event


def event_id(gateway: str, boot_id: bytes, point: str, rule_hash: bytes, state: str, at_us: int) -> bytes:
    """Returns the id of an event; the same event sealed again has the same id."""
    text = f"{gateway}\0{point}\0{state}\0{at_us}\0".encode()
    return hashlib.sha256(text + boot_id + rule_hash).digest()[:EVENT_ID_BYTES]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """All alarms that are not cleared, in full: signed state, not an event; only the newest counts."""

    mono_us: int
    #: the newest event of each alarm that is active or latched
    events: tuple[AlarmEvent, ...]

    def to_wire(self) -> list[Any]:
        return [self.mono_us, [event.to_wire() for event in self.events]]

    @classmethod
    def from_wire(cls, value: Any) -> Statement:
        f = Fields("statement", value, 2)
        mono_us = f.integer("mono_us")
        return cls(mono_us=mono_us, events=tuple(AlarmEvent.from_wire(e) for e in f.items("events", 10_000)))


#: causes of a loss that a gateway can sign for
LOSS_CAUSES = frozenset({"quota", "disk_full", "store_unusable", "damaged", "thinned", "power"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRecord:
    """Sealed batches that the gateway no longer has, and why."""

    epoch: bytes
    lane: Lane
    first: int
    last: int
    #: digest of batch ``last``, so that the chain goes on behind the hole
    digest: bytes
    readings: int
    cause: str
    #: the batch that keeps a thinned form of it: (epoch, seq) in the data lane
    thinned_into: tuple[bytes, int] | None = None

    def to_wire(self) -> list[Any]:
        into = None if self.thinned_into is None else list(self.thinned_into)
        return [self.epoch, int(self.lane), self.first, self.last, self.digest, self.readings, self.cause, into]

    @classmethod
    def from_wire(cls, value: Any) -> LossRecord:
        f = Fields("loss", value, 8)
        epoch = f.binary("epoch", EPOCH_BYTES)
        lane = Lane(f.integer("lane", 0, 1))
        first = f.integer("first", 1, U32)
        last = f.integer("last", first, U32)
        digest = f.binary("digest", HASH_BYTES)
        readings = f.integer("readings")
        cause = f.choice("cause", LOSS_CAUSES)
        raw = f.raw()
        into: tuple[bytes, int] | None = None
        if raw is not None:
            g = Fields("loss.thinned_into", raw, 2)
            into = (g.binary("epoch", EPOCH_BYTES), g.integer("seq", 1, U32))
        return cls(
            epoch=epoch,
            lane=lane,
            first=first,
            last=last,
            digest=digest,
            readings=readings,
            cause=cause,
            thinned_into=into,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRecord:
    """Named numbers about one subject at one time (``device/well-1``, ``port/bus-1``, ``agent``)."""

    subject: str
    mono_us: int
    #: flat: name, number or short text, ...
    facts: tuple[tuple[str, float | int | str | None], ...]

    def to_wire(self) -> list[Any]:
        return [self.subject, self.mono_us, [item for pair in self.facts for item in pair]]

    @classmethod
    def from_wire(cls, value: Any) -> HealthRecord:
        f = Fields("health", value, 3)
        subject = f.text("subject", 128)
        mono_us = f.integer("mono_us")
        flat = f.items("facts", 256)
        if len(flat) % 2:
            raise PayloadError("health.facts: expected pairs of name and value")
        facts = []
        for name, fact in zip(flat[::2], flat[1::2], strict=True):
            if type(name) is not str or len(name) > 64:
                raise PayloadError("health.facts: a name is text of at most 64 characters")
            if isinstance(fact, str) and len(fact) > 256:
                raise PayloadError(f"health.facts.{name}: text of at most 256 characters")
            if fact is not None and type(fact) not in (int, float, str):
                raise PayloadError(f"health.facts.{name}: expected a number, short text or nothing")
            if type(fact) is float and not math.isfinite(fact):
                raise PayloadError(f"health.facts.{name}: expected a finite number, got {fact!r}")
            if type(fact) is int and not -U63 <= fact <= U63:
                raise PayloadError(f"health.facts.{name}: an integer beyond 63 bits")
            facts.append((name, fact))
        return cls(subject=subject, mono_us=mono_us, facts=tuple(facts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One line of the gateway's journal: what somebody or the agent itself did."""

    mono_us: int
    kind: str
    text: str

    def to_wire(self) -> list[Any]:
        return [self.mono_us, self.kind, self.text]

    @classmethod
    def from_wire(cls, value: Any) -> Note:
        f = Fields("note", value, 3)
        return cls(mono_us=f.integer("mono_us"), kind=f.text("kind", 64), text=f.text("text", 1024))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A decoded batch; its blocks stay raw until the catalogue is at hand."""

    header: Header
    #: for :func:`contracts.columns.decode_block`
    blocks: tuple[Any, ...] = ()
    events: tuple[AlarmEvent, ...] = ()
    statement: Statement | None = None
    health: tuple[HealthRecord, ...] = ()
    losses: tuple[LossRecord, ...] = ()
    notes: tuple[Note, ...] = ()
    waveforms: tuple[Waveform, ...] = ()
    inhibits: tuple[Inhibit, ...] = ()
    visits: tuple[Visit, ...] = ()
    upkeep: tuple[Upkeep, ...] = ()
    confirmed: tuple[Confirmed, ...] = ()
    #: numbers of sections that this version does not know
    unknown: tuple[int, ...] = field(default=())


def encode_batch(batch: Batch) -> bytes:
    """Returns the body to be sealed as ``batch.header.lane.type``.

    Raises:
        PayloadError: more visits, upkeep or confirmed limits than a reader takes; smaller batches would be right.
    """
    sections: list[list[Any]] = []
    for name, items, most in (
        ("visits", batch.visits, MAX_VISITS),
        ("upkeep", batch.upkeep, MAX_UPKEEP),
        ("confirmed", batch.confirmed, MAX_CONFIRMED),
    ):
        if len(items) > most:
            raise PayloadError(f"{name}: {len(items)} in one batch, at most {most}")
    if batch.blocks:
        sections.append([int(Section.BLOCKS), list(batch.blocks)])
    if batch.events:
        sections.append([int(Section.EVENTS), [item.to_wire() for item in batch.events]])
    if batch.statement is not None:
        sections.append([int(Section.STATEMENT), batch.statement.to_wire()])
    if batch.health:
        sections.append([int(Section.HEALTH), [item.to_wire() for item in batch.health]])
    if batch.losses:
        sections.append([int(Section.LOSSES), [item.to_wire() for item in batch.losses]])
    if batch.notes:
        sections.append([int(Section.NOTES), [item.to_wire() for item in batch.notes]])
    if batch.waveforms:
        sections.append([int(Section.WAVEFORMS), [item.to_wire() for item in batch.waveforms]])
    if batch.inhibits:
        sections.append([int(Section.INHIBITS), [item.to_wire() for item in batch.inhibits]])
    if batch.visits:
        sections.append([int(Section.VISITS), [item.to_wire() for item in batch.visits]])
    if batch.upkeep:
        sections.append([int(Section.UPKEEP), [item.to_wire() for item in batch.upkeep]])
    if batch.confirmed:
        sections.append([int(Section.CONFIRMED), [item.to_wire() for item in batch.confirmed]])
    return pack([batch.header.to_wire(), sections])


def decode_batch(body: bytes, type: Type) -> Batch:
    """Reads a verified body.

    Args:
        body: inflated.
        type: what it was verified as; the header's lane must agree.

    Raises:
        PayloadError, TooLargeError: names record and field.
    """
    f = Fields("batch", unpack(body), 2)
    header = Header.from_wire(f.raw())
    if header.lane.type is not type:
        raise PayloadError(f"header.lane: {header.lane.name} inside a {type.value}")
    found: dict[int, Any] = {}
    for item in f.items("sections", 64):
        g = Fields("section", item, 2)
        number = g.integer("number", 0, 255)
        if number in found:
            raise PayloadError(f"section {number} stands twice")
        found[number] = g.raw()

    def listed(section: Section, limit: int) -> list[Any]:
        value = found.pop(section, [])
        if not isinstance(value, list) or len(value) > limit:
            raise PayloadError(f"section {section.name.lower()}: expected a list of at most {limit}")
        return value

    blocks = tuple(listed(Section.BLOCKS, 65_536))
    if blocks and not header.catalogue:
        raise PayloadError("header.catalogue: a batch with blocks names the catalogue that explains them")
    events = tuple(AlarmEvent.from_wire(item) for item in listed(Section.EVENTS, 10_000))
    statement = found.pop(Section.STATEMENT, None)
    health = tuple(HealthRecord.from_wire(item) for item in listed(Section.HEALTH, 10_000))
    losses = tuple(LossRecord.from_wire(item) for item in listed(Section.LOSSES, 10_000))
    notes = tuple(Note.from_wire(item) for item in listed(Section.NOTES, 10_000))
    waveforms = waveforms_from_wire(listed(Section.WAVEFORMS, MAX_WAVEFORMS))
    inhibits = tuple(Inhibit.from_wire(item) for item in listed(Section.INHIBITS, MAX_INHIBITS))
    visits = tuple(Visit.from_wire(item) for item in listed(Section.VISITS, MAX_VISITS))
    upkeep = tuple(Upkeep.from_wire(item) for item in listed(Section.UPKEEP, MAX_UPKEEP))
    confirmed = tuple(Confirmed.from_wire(item) for item in listed(Section.CONFIRMED, MAX_CONFIRMED))
    return Batch(
        header=header,
        blocks=blocks,
        events=events,
        statement=None if statement is None else Statement.from_wire(statement),
        health=health,
        losses=losses,
        notes=notes,
        waveforms=waveforms,
        inhibits=inhibits,
        visits=visits,
        upkeep=upkeep,
        confirmed=confirmed,
        unknown=tuple(sorted(found)),
    )


def _words(items: list[Any], what: str) -> list[str]:
    for item in items:
        if type(item) is not str or len(item) > 128:
            raise PayloadError(f"{what}: expected short words")
    return items
