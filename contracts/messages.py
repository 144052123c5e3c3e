"""Signed things that are not batches: the gateway's ask and status, the collector's time and commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contracts.batch import BOOT_ID_BYTES, EPOCH_BYTES, Anchor, Head, Statement
from contracts.fields import U32, Fields, pack, unpack
from contracts.keys import GATEWAY_ID

NONCE_BYTES = 16


def _is_gateway_id(text: str) -> bool:
    return GATEWAY_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """First thing on every connect, never spooled: "this is where I stand, tell me where you do".

    The collector answers with receipts for both lanes of every epoch it holds of this
    gateway that is not complete, with the time against the nonce, and takes the statement
    of active alarms as the newest.
    """

    gateway: str
    epoch: bytes
    boot_id: bytes
    boot_counter: int
    nonce: bytes
    anchor: Anchor
    alarm: Head
    data: Head
    #: epochs with batches that the gateway has no receipt for, oldest first (at most 64)
    unreceipted: tuple[bytes, ...]
    statement: Statement
    version: str

    def to_body(self) -> bytes:
        return pack(
            [
                self.gateway,
                self.epoch,
                self.boot_id,
                self.boot_counter,
                self.nonce,
                self.anchor.to_wire(),
                self.alarm.to_wire(),
                self.data.to_wire(),
                list(self.unreceipted),
                self.statement.to_wire(),
                self.version,
            ]
        )

    @classmethod
    def from_body(cls, body: bytes) -> Ask:
        """Reads a verified ask; raises PayloadError naming the field."""
        f = Fields("ask", unpack(body), 11)
        return cls(
            gateway=f.text("gateway", 16, pattern=_is_gateway_id),
            epoch=f.binary("epoch", EPOCH_BYTES),
            boot_id=f.binary("boot_id", BOOT_ID_BYTES),
            boot_counter=f.integer("boot_counter", 0, U32),
            nonce=f.binary("nonce", NONCE_BYTES),
            anchor=Anchor.from_wire(f.raw()),
            alarm=Head.from_wire(f.raw()),
            data=Head.from_wire(f.raw()),
            unreceipted=_epochs(f.items("unreceipted", 64)),
            statement=Statement.from_wire(f.raw()),
            version=f.text("version", 64),
        )


def _epochs(items: list[Any]) -> tuple[bytes, ...]:
    return tuple(Fields("ask.unreceipted", [item], 1).binary("epoch", EPOCH_BYTES) for item in items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """The collector's wall time, bound to the nonce of one ask."""

    gateway: str
    nonce: bytes
    #: UTC us
    wall_us: int

    def to_body(self) -> bytes:
        return pack([self.gateway, self.nonce, self.wall_us])

    @classmethod
    def from_body(cls, body: bytes) -> Time:
        """Reads a verified time; raises PayloadError naming the field."""
        f = Fields("time", unpack(body), 3)
        return cls(
            gateway=f.text("gateway", 16, pattern=_is_gateway_id),
            nonce=f.binary("nonce", NONCE_BYTES),
            wall_us=f.integer("wall_us"),
        )


#: the word of a command that asks for live data until ``until_us``
WATCH = "watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The collector asks a gateway for something, until a moment of the gateway's own monotonic clock.

    It states absolutely what is wanted and until when, so that a repetition changes nothing; bound to
    one boot, it is void in every other.  A gateway takes each serial once, and only greater ones than before.
    """

    gateway: str
    #: whose monotonic clock ``until_us`` belongs to
    boot_id: bytes
    #: greater with every command of a collector to this gateway
    serial: int
    #: monotonic us of the gateway; void from then on
    until_us: int
    #: what is wanted: :data:`WATCH`; a gateway lets pass a word that it does not know
    word: str
    #: who asked for it, and from where
    by: str

    def to_body(self) -> bytes:
        return pack([self.gateway, self.boot_id, self.serial, self.until_us, self.word, self.by])

    @classmethod
    def from_body(cls, body: bytes) -> Command:
        """Reads a verified command; raises PayloadError naming the field."""
        f = Fields("command", unpack(body), 6)
        return cls(
            gateway=f.text("gateway", 16, pattern=_is_gateway_id),
            boot_id=f.binary("boot_id", BOOT_ID_BYTES),
            serial=f.integer("serial"),
            until_us=f.integer("until_us"),
            word=f.text("word", 64),
            by=f.text("by", 128),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Retained birth and last will.  The will is signed before it is needed, so a broker can
    show it early; it is a hint for the page and never a fact about the sensors."""

    gateway: str
    epoch: bytes
    #: counts connects of this epoch
    session: int
    online: bool
    version: str

    def to_body(self) -> bytes:
        return pack([self.gateway, self.epoch, self.session, self.online, self.version])

    @classmethod
    def from_body(cls, body: bytes) -> Status:
        """Reads a verified status; raises PayloadError naming the field."""
        f = Fields("status", unpack(body), 5)
        return cls(
            gateway=f.text("gateway", 16, pattern=_is_gateway_id),
            epoch=f.binary("epoch", EPOCH_BYTES),
            session=f.integer("session", 0, U32),
            online=f.boolean("online"),
            version=f.text("version", 64),
        )
