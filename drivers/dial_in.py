"""What a dial-in DTU says before and between its Modbus bytes: registration and heartbeats; pure.

A DTU (a cellular unit with a serial line) connects to us.  Its first packet, the *registration*,
says which one it is; after that it passes RTU frames in both directions, and now and then sends
a *heartbeat* of its own, which is no reply to anything.  Both are set by whoever configures the
DTU, as text, as hex, or with a part that changes (a signal strength), so as a pattern.

TCP keeps no packets: a registration can come in pieces, and a heartbeat glued to it or to a
reply.  So a registration is judged when the line is quiet, and heartbeats (and registrations, which
some repeat) are taken away only in front of a reply; behind one they are stray bytes, which the
exchange drops.  A packet proves nothing: who knows it passes for that DTU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from drivers.errors import PlanError

#: bytes of a registration or heartbeat that can be declared
MOST_DECLARED = 128
#: bytes that a DTU may send before it is known
MOST_UNKNOWN = 256
KINDS = ("text", "hex", "pattern")
#: what senders add to a packet without being asked
_LINE_ENDS = b"\r\n\0 "


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A declared packet."""

    #: ``text`` (sent as UTF-8), ``hex``, or ``pattern`` (a regular expression over the bytes)
    kind: str
    value: str


class PacketForm:
    """A packet, ready to be looked for."""

    __slots__ = ("exact", "pattern")

    def __init__(self, packet: Packet) -> None:
        """Prepares a packet.

        Raises:
            PlanError: unknown kind, no hex, no regular expression, empty, or too long; says what would be right.
        """
        self.exact = b""
        self.pattern: re.Pattern[bytes] | None = None
        value = packet.value
        if packet.kind == "pattern":
            try:
                self.pattern = re.compile(value.encode())
            except re.error as error:
                raise PlanError(f"{value!r} is no regular expression: {error}") from error
            if not value or self.pattern.match(b""):
                raise PlanError(f"{value!r} also matches nothing at all; a pattern that needs a byte would be right")
            size = len(value)
        elif packet.kind == "hex":
            try:
                self.exact = bytes.fromhex(value)
            except ValueError as error:
                raise PlanError(f"{value!r} is no hex; pairs of digits, such as 'FE 01', would be right") from error
            size = len(self.exact)
        elif packet.kind == "text":
            self.exact = value.encode()
            size = len(self.exact)
        else:
            raise PlanError(f"kind {packet.kind!r} is not known; {', '.join(KINDS)} are")
        if not 1 <= size <= MOST_DECLARED:
            raise PlanError(f"{size} bytes; 1 to {MOST_DECLARED} would be right")

    def length_at_start(self, data: bytes) -> int:
        """Returns how many bytes at the start are this packet; 0 where it does not begin there."""
        if self.pattern is not None:
            found = self.pattern.match(data)
            return found.end() if found is not None else 0
        return len(self.exact) if data.startswith(self.exact) else 0

    def can_begin(self, data: bytes) -> bool:
        """Returns whether these bytes can be the beginning of the packet; always, for a pattern."""
        return self.pattern is not None or (len(data) < len(self.exact) and self.exact.startswith(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class DtuForm:
    """How one DTU speaks."""

    registration: PacketForm
    heartbeat: PacketForm | None = None


class Answer(Enum):
    """What the first bytes of a connection are."""

    KNOWN = "known"
    #: more bytes can make them a registration
    WAIT = "wait"
    UNKNOWN = "unknown"
    #: the registration of more than one
    AMBIGUOUS = "ambiguous"


def recognize(dtus: Mapping[str, DtuForm], data: bytes) -> tuple[Answer, tuple[str, ...]]:
    """Says whose registration these bytes are; to be asked when the line is quiet.

    Line ends and heartbeats behind the registration are let pass, anything else is not: the
    registration of ``DTU1`` is not that of ``DTU12``.

    Returns:
        The answer, and the names it speaks of.
    """
    names = tuple(name for name, dtu in dtus.items() if _is_registration(dtu, data))
    if len(names) == 1:
        return Answer.KNOWN, names
    if names:
        return Answer.AMBIGUOUS, names
    if len(data) < MOST_UNKNOWN and any(dtu.registration.can_begin(data) for dtu in dtus.values()):
        return Answer.WAIT, ()
    return Answer.UNKNOWN, ()


def _is_registration(dtu: DtuForm, data: bytes) -> bool:
    length = dtu.registration.length_at_start(data)
    if not length:
        return False
    rest = data[length:].lstrip(_LINE_ENDS)
    while rest and dtu.heartbeat is not None and (length := dtu.heartbeat.length_at_start(rest)):
        rest = rest[length:].lstrip(_LINE_ENDS)
    return not rest


class HeartbeatFilter:
    """Takes packets of the DTU's own out of what it sends, where they stand in front of a reply."""

    def __init__(self, *packets: PacketForm | None) -> None:
        """Takes what is no reply; ``None`` is none."""
        self._packets = tuple(packet for packet in packets if packet is not None)
        self._exact = tuple(packet for packet in self._packets if packet.pattern is None)
        self._held = b""
        self._is_inside = False
        #: packets taken out
        self.swallowed = 0

    def restart(self) -> None:
        """Says that what comes next does not continue a reply: a request was sent, or nothing came for long."""
        self._is_inside = False

    def reset(self) -> None:
        """Forgets what came so far: another connection begins."""
        self._held = b""
        self._is_inside = False

    def feed(self, data: bytes) -> bytes:
        """Returns what is left; the beginning of what may be such a packet is kept until more comes."""
        if not self._packets or self._is_inside:
            return data
        data, self._held = self._held + data, b""
        while data and (length := max(packet.length_at_start(data) for packet in self._packets)):
            self.swallowed += 1
            data = data[length:].removeprefix(b"\r\n")
        if data and any(packet.can_begin(data) for packet in self._exact):
            self._held = data
            return b""
        self._is_inside = bool(data)
        return data
