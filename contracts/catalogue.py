"""The catalogue: the signed document that explains the numbers in data batches.

It is content-addressed: a batch names the SHA-256 of the catalogue's body, which has one
form only (shortest msgpack, floats of 64 bits, fractions in lowest terms).  From it a
collector learns every point, unit, name, interval and limit that it shows; it needs no
device profile.  The grid of expected samples is in it too: a block is due whenever the
monotonic clock, in milliseconds, leaves ``phase_ms`` when divided by ``interval_ms``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from contracts.errors import PayloadError
from contracts.fields import MAX_CATALOGUE_BODY, U32, Fields, pack, unpack
from contracts.keys import GATEWAY_ID
from contracts.units import UNITS

FORMAT = 1
HASH_BYTES = 32
KINDS = frozenset({"int", "f32", "f64"})
_POINT_KEY = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+){1,2}")
#: form of a point's resolution, ``n/d``
RESOLUTION = re.compile(r"[1-9][0-9]{0,17}/[1-9][0-9]{0,17}")
SEVERITIES = frozenset({"red", "orange", "yellow", "blue", "info"})


def is_point_key(text: str) -> bool:
    """Returns whether ``text`` has the form ``device/quantity[/n]`` and at most 64 bytes."""
    return len(text) <= 64 and _POINT_KEY.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueLimit:
    """One limit of a point, as shown beside it."""

    rule_id: str
    rule_hash: bytes
    #: ``high`` or ``low``
    direction: str
    value: float
    severity: str
    scheme: str
    en: str
    zh: str

    def to_wire(self) -> list[Any]:
        return [
            self.rule_id,
            self.rule_hash,
            self.direction,
            float(self.value),
            self.severity,
            self.scheme,
            self.en,
            self.zh,
        ]

    @classmethod
    def from_wire(cls, value: Any) -> CatalogueLimit:
        f = Fields("limit", value, 8)
        return cls(
            rule_id=f.text("rule_id", 128),
            rule_hash=f.binary("rule_hash", 8, 32),
            direction=f.choice("direction", frozenset({"high", "low"})),
            value=f.number("value"),
            severity=f.choice("severity", SEVERITIES),
            scheme=f.text("scheme"),
            en=f.text("en"),
            zh=f.text("zh"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueDevice:
    """One device that was asked, and what it was taken for."""

    id: str
    en: str
    zh: str
    port: str
    unit_id: int
    profile: str
    profile_hash: bytes
    #: read from the device or declared; empty when neither
    serial: str = ""

    def to_wire(self) -> list[Any]:
        return [self.id, self.en, self.zh, self.port, self.unit_id, self.profile, self.profile_hash, self.serial]

    @classmethod
    def from_wire(cls, value: Any) -> CatalogueDevice:
        f = Fields("device", value, 8)
        return cls(
            id=f.text("id", 64),
            en=f.text("en"),
            zh=f.text("zh"),
            port=f.text("port", 64),
            unit_id=f.integer("unit_id", 0, 255),
            profile=f.text("profile", 64),
            profile_hash=f.binary("profile_hash", 8, 32),
            serial=f.text("serial", 64),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguePoint:
    """One point: a place and a quantity."""

    key: str
    quantity: str
    #: UCUM
    unit: str
    #: ``int``: counts of ``resolution``; ``f32``/``f64``: the number itself
    kind: str
    #: exact step of a count; 1 for floats
    resolution: Fraction
    #: what the instrument can show, in ``unit``; None where not stated
    low: float | None
    high: float | None
    longest_silence_ms: int
    #: index into the catalogue's devices
    device: int
    en: str
    zh: str
    limits: tuple[CatalogueLimit, ...] = ()

    def to_wire(self) -> list[Any]:
        step = f"{self.resolution.numerator}/{self.resolution.denominator}"
        return [
            self.key,
            self.quantity,
            self.unit,
            self.kind,
            step,
            None if self.low is None else float(self.low),
            None if self.high is None else float(self.high),
            self.longest_silence_ms,
            self.device,
            self.en,
            self.zh,
            [limit.to_wire() for limit in self.limits],
        ]

    @classmethod
    def from_wire(cls, value: Any, devices: int) -> CataloguePoint:
        f = Fields("point", value, 12)
        return cls(
            key=f.text("key", 64, pattern=is_point_key),
            quantity=f.text("quantity", 64),
            unit=f.choice("unit", frozenset(UNITS)),
            kind=f.choice("kind", KINDS),
            resolution=Fraction(f.text("resolution", 40, pattern=lambda t: RESOLUTION.fullmatch(t) is not None)),
            low=f.optional_number("low"),
            high=f.optional_number("high"),
            longest_silence_ms=f.integer("longest_silence_ms", 1, U32),
            device=f.integer("device", 0, devices - 1),
            en=f.text("en"),
            zh=f.text("zh"),
            limits=tuple(CatalogueLimit.from_wire(item) for item in f.items("limits", 32)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueBlock:
    """Points that one request reads together, and when it is due."""

    #: point numbers (positions in the catalogue), in the block's order
    points: tuple[int, ...]
    interval_ms: int
    phase_ms: int

    def to_wire(self) -> list[Any]:
        return [list(self.points), self.interval_ms, self.phase_ms]

    @classmethod
    def from_wire(cls, value: Any, points: int) -> CatalogueBlock:
        f = Fields("block", value, 3)
        numbers = f.items("points", 2000)
        for number in numbers:
            if type(number) is not int or not 0 <= number < points:
                raise f.refuse("points", f"numbers of points below {points}", number)
        if not numbers or len(set(numbers)) != len(numbers):
            raise PayloadError("block.points: empty, or a point twice")
        interval = f.integer("interval_ms", 1, U32)
        return cls(points=tuple(numbers), interval_ms=interval, phase_ms=f.integer("phase_ms", 0, interval - 1))


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Everything that explains the data batches of one plan."""

    gateway: str
    en: str
    zh: str
    devices: tuple[CatalogueDevice, ...]
    #: a point's number is its position here
    points: tuple[CataloguePoint, ...]
    #: a block's number is its position here
    blocks: tuple[CatalogueBlock, ...]
    format: int = field(default=FORMAT)

    @cached_property
    def body(self) -> bytes:
        """The document's bytes; the same content gives the same bytes."""
        return pack(
            {
                "format": self.format,
                "gateway": self.gateway,
                "en": self.en,
                "zh": self.zh,
                "devices": [item.to_wire() for item in self.devices],
                "points": [item.to_wire() for item in self.points],
                "blocks": [item.to_wire() for item in self.blocks],
            }
        )

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 of the body; data batches name it."""
        return hashlib.sha256(self.body).digest()

    @cached_property
    def kinds(self) -> tuple[tuple[str, ...], ...]:
        """For each block the kinds of its points, in order."""
        return tuple(tuple(self.points[number].kind for number in block.points) for block in self.blocks)

    @classmethod
    def from_body(cls, body: bytes) -> Catalogue:
        """Reads a verified catalogue.

        Raises:
            PayloadError, TooLargeError: names record and field.
        """
        value = unpack(body, limit=MAX_CATALOGUE_BODY)
        names = ["format", "gateway", "en", "zh", "devices", "points", "blocks"]
        if not isinstance(value, dict) or list(value) != names:
            raise PayloadError(f"catalogue: expected the fields {', '.join(names)}")
        f = Fields("catalogue", list(value.values()), len(names))
        format = f.integer("format", FORMAT, FORMAT)
        gateway = f.text("gateway", 16, pattern=lambda t: GATEWAY_ID.fullmatch(t) is not None)
        en, zh = f.text("en"), f.text("zh")
        devices = tuple(CatalogueDevice.from_wire(item) for item in f.items("devices", 4096))
        points = tuple(CataloguePoint.from_wire(item, len(devices)) for item in f.items("points", 65_536))
        blocks = tuple(CatalogueBlock.from_wire(item, len(points)) for item in f.items("blocks", 65_536))
        if len({point.key for point in points}) != len(points):
            raise PayloadError("catalogue.points: a key stands twice")
        used = [number for block in blocks for number in block.points]
        if len(set(used)) != len(used):
            raise PayloadError("catalogue.blocks: a point stands in two blocks")
        result = cls(gateway=gateway, en=en, zh=zh, devices=devices, points=points, blocks=blocks, format=format)
        if result.body != body:
            raise PayloadError("catalogue: not in the one form whose hash batches name")
        return result
