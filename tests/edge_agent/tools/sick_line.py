"""A serial line in virtual time with everything that technicians find wrong with one.

It implements ``drivers.port.RawPort`` and stands for adapter, cable and devices.  Time moves only
while somebody sends or listens.  What a UART would do with a wrong baud rate or parity is reduced to
what it comes to: the devices do not understand the question.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from contracts import quality
from drivers.frames import FrameRequest, build_exception, build_reply, parse_request, with_crc
from drivers.port import RawRequest, RawResult, ReadRequest, ReadResult, WriteRequest, WriteResult
from edge_agent.tools.heard import find_frames
from edge_agent.tools.scan_plan import Settings

#: seconds from the end of the question to the first byte, and the bytes
Reply = tuple[float, bytes]
#: what the devices do with a question
Devices = Callable[[FrameRequest], Iterable[Reply]]


def words_of(request: FrameRequest) -> tuple[int, ...]:
    """Every register holds its own address."""
    return tuple(range(request.address, request.address + request.count))


def answer_of(request: FrameRequest) -> bytes:
    """What a device says that has every register."""
    return build_reply(request.unit_id, request.function, words_of(request))


def healthy(*units: int, delay_s: float = 0.002) -> Devices:
    """Devices that answer everything."""
    return lambda request: [(delay_s, answer_of(request))] if request.unit_id in units else []


def refusing(unit_id: int, exception: int, function: int | None = None) -> Devices:
    """A device that answers with an exception, always or to one function."""

    def answer(request: FrameRequest) -> Iterable[Reply]:
        if request.unit_id != unit_id:
            return []
        if function is None or request.function == function:
            return [(0.002, build_exception(unit_id, request.function, exception))]
        return [(0.002, answer_of(request))]

    return answer


def together(*devices: Devices) -> Devices:
    """All of these on one line."""
    return lambda request: [reply for one in devices for reply in one(request)]


def twins(unit_id: int, seed: int = 7) -> Devices:
    """Two devices with one address: one first, one later, or both at once and then damaged."""
    chance = random.Random(seed)

    def answer(request: FrameRequest) -> Iterable[Reply]:
        if request.unit_id != unit_id:
            return []
        frame, turn = answer_of(request), chance.random()
        if turn < 0.4:
            return [(0.002, bytes(byte & chance.randrange(256) for byte in frame))]
        if turn < 0.7:
            return [(0.002, frame), (0.002 + 2 * len(frame) * 0.0011, frame)]
        return [(0.002, frame)]

    return answer


def damaging(devices: Devices, share: float, seed: int = 3) -> Devices:
    """A line on which a share of all replies is damaged."""
    chance = random.Random(seed)

    def answer(request: FrameRequest) -> Iterable[Reply]:
        for delay_s, data in devices(request):
            if chance.random() < share:
                place = chance.randrange(2, len(data))
                data = data[:place] + bytes((data[place] ^ 0x24,)) + data[place + 1 :]
            yield delay_s, data

    return answer


def changed(devices: Devices, change: Callable[[bytes], bytes]) -> Devices:
    """Every reply altered on its way."""
    return lambda request: [(delay_s, change(data)) for delay_s, data in devices(request)]


@dataclass
class SickLine:
    """One bus; ``port(settings)`` opens it."""

    devices: Devices
    #: how the devices are set
    speaks: Settings = field(default_factory=Settings)
    echoes: bool = False
    #: (seconds, bytes): what others put on the line, first byte at that time
    background: list[tuple[float, bytes]] = field(default_factory=list)
    #: what a device set otherwise makes of our question
    misheard: Callable[[bytes], Iterable[Reply]] = lambda frame: []
    #: whether no question finds a silence to be sent in, as ``Exchange.raw`` then tells
    is_never_silent: bool = False
    now_us: float = 1_000_000.0
    sent: list[bytes] = field(default_factory=list)
    is_open: int = 0
    _moving: list[tuple[float, int]] = field(default_factory=list)

    def port(self, settings: Settings) -> SickPort:
        """Returns the line as a port with these settings."""
        return SickPort(self, settings)

    def put(self, data: bytes, at_us: float, char_s: float) -> None:
        """Puts bytes on the line, the first complete one character after ``at_us``."""
        self._moving += [(at_us + (place + 1) * char_s * 1e6, byte) for place, byte in enumerate(data)]
        self._moving.sort(key=lambda item: item[0])

    def come(self, until_us: float) -> list[tuple[float, int]]:
        """Takes the bytes that are there by a time."""
        here = [item for item in self._moving if item[0] <= until_us]
        del self._moving[: len(here)]
        return here


class SickPort:
    """The line as one port sees it."""

    def __init__(self, line: SickLine, settings: Settings) -> None:
        self._line = line
        self._settings = settings
        for at_s, data in line.background:
            line.put(data, line.now_us + at_s * 1e6, settings.char_s)
        line.background = []

    async def open(self) -> None:
        self._line.is_open += 1

    async def close(self) -> None:
        self._line.is_open -= 1

    async def read(self, request: ReadRequest) -> ReadResult:
        raise NotImplementedError

    async def write(self, request: WriteRequest) -> WriteResult:
        raise NotImplementedError

    async def raw(self, request: RawRequest) -> RawResult:
        line, char_us = self._line, self._settings.char_s * 1e6
        stray = line.come(line.now_us)
        line.now_us += self._settings.silence_s * 1e6
        begun = line.now_us
        if request.frame and line.is_never_silent:
            line.now_us += 1e6
            return RawResult(
                heard=((int(begun), b"\x5a"),),
                code=quality.NOT_ASKED,
                requested_us=int(begun),
                ended_us=int(line.now_us),
            )
        if request.frame:
            line.sent.append(request.frame)
            line.now_us += len(request.frame) * char_us
            if line.echoes:
                line.put(request.frame, begun, self._settings.char_s)
            self._ask(request.frame)
        ends = line.now_us + request.listen_s * 1e6
        heard = stray
        whole = 0
        while True:
            until = min(ends, line._moving[0][0]) if line._moving else ends
            new = line.come(until)
            heard = heard + new
            line.now_us = max(line.now_us, until)
            if new and request.until_frame:
                whole = len(find_frames(bytes(byte for _, byte in heard))[0])
                following = line._moving and line._moving[0][0] <= line.now_us + 1.5 * char_us
                if whole and not following:
                    break
            if line.now_us >= ends:
                break
        return RawResult(
            heard=tuple((int(at), bytes((byte,))) for at, byte in heard),
            code=quality.GOOD,
            requested_us=int(begun),
            ended_us=int(line.now_us),
        )

    def _ask(self, frame: bytes) -> None:
        line = self._line
        request = parse_request(frame)
        if not isinstance(request, FrameRequest):
            return
        if line.speaks != self._settings:
            replies: Iterable[Reply] = line.misheard(frame)
        else:
            replies = line.devices(request)
        for delay_s, data in replies:
            line.put(data, line.now_us + delay_s * 1e6, self._settings.char_s)


def conversation(unit_id: int, every_s: float, until_s: float, char_s: float = 10 / 9600) -> list[tuple[float, bytes]]:
    """What another client and its device put on the line."""
    request = with_crc(bytes((unit_id, 3, 0, 0, 0, 2)))
    reply = build_reply(unit_id, 3, (0x1234, 0x5678))
    found, at = [], 0.1
    while at < until_s:
        found += [(at, request), (at + len(request) * char_s + 0.01, reply)]
        at += every_s
    return found
