"""Each mistake that software can see, made on a line in virtual time, and what the doctor says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from drivers.frames import FrameRequest
from edge_agent.tools.diagnose import RULES, Likely, diagnose
from edge_agent.tools.doctor_line import Examination, examine
from edge_agent.tools.evidence import Evidence, LineErrors
from edge_agent.tools.finding_words import codes, sentences
from edge_agent.tools.heard import Idle
from edge_agent.tools.scan_plan import Settings, other_settings
from tests.edge_agent.tools.lines import OwnSickLine
from tests.edge_agent.tools.sick_line import (
    Reply,
    SickLine,
    answer_of,
    changed,
    conversation,
    damaging,
    healthy,
    refusing,
    together,
    twins,
)

NINE6 = Settings()
FACTORY = (1, 126, 246)


@dataclass
class Counters:
    """What a UART would count, by the script of a test."""

    found: list[LineErrors] = field(default_factory=list)
    latency: int | None = None

    async def errors(self) -> LineErrors | None:
        return self.found.pop(0) if self.found else None

    async def latency_ms(self) -> int | None:
        return self.latency


def flood(seconds: float) -> list[tuple[float, bytes]]:
    """A line that rests at the wrong level: zeros without an end."""
    return [(place * 10 / 9600, b"\0") for place in range(int(seconds * 960))]


def babble(seconds: float) -> list[tuple[float, bytes]]:
    """Random bytes without an end."""
    return [(place * 10 / 9600, bytes((place * 37 % 251,))) for place in range(int(seconds * 960))]


def wander(seconds: float) -> list[tuple[float, bytes]]:
    """A line without bias: a byte out of nothing now and then."""
    return [(0.05 + place * 0.21, b"\xff" if place % 3 else b"\0") for place in range(int(seconds / 0.21))]


def reports(seconds: float) -> list[tuple[float, bytes]]:
    """A WIT-motion sensor in active upload: 55 51 ... ten times a second."""
    return [
        (0.03 + place * 0.1, bytes((0x55, 0x51, place % 256, 1, 2, 3, 4, 5, 6, 7, 8)))
        for place in range(int(seconds * 10))
    ]


def headless(request: FrameRequest) -> Iterable[Reply]:
    """The first two bytes of every reply of unit 1 lost."""
    return [(0.001, answer_of(request)[2:])] if request.unit_id == 1 else []


def only_inputs(request: FrameRequest) -> Iterable[Reply]:
    return refusing(1, 1, 3)(request) if request.function == 3 else healthy(1)(request)


def mumble(frame: bytes) -> Iterable[Reply]:
    """What a device makes of bytes that it cannot read, and we of what it says."""
    return [(0.004, b"\x80\xfe\x12\x9c\x40")] if frame[0] == 1 else []


@dataclass(frozen=True)
class Case:
    line: Callable[[], SickLine]
    expect: str
    likely: Likely = Likely.LIKELY
    unit: int | None = None
    #: other findings that may stand beside it
    beside: frozenset[str] = frozenset()
    counters: Callable[[], Counters] = Counters
    says: str = ""


CERTAIN, LIKELY, POSSIBLE = Likely.CERTAIN, Likely.LIKELY, Likely.POSSIBLE
CASES: dict[str, Case] = {
    "two units with one address": Case(
        lambda: SickLine(together(healthy(3, 9), twins(5))),
        "shared-address",
        CERTAIN,
        says="two units answer to address 5",
    ),
    "two units with one address, asked for": Case(lambda: SickLine(twins(5)), "shared-address", CERTAIN, unit=5),
    "wrong baud, silence": Case(
        lambda: SickLine(healthy(1), speaks=Settings(baud=4800)), "wrong-baud", CERTAIN, says="4800 8N1"
    ),
    "wrong baud, garbage": Case(
        lambda: SickLine(healthy(1), speaks=Settings(baud=19200), misheard=mumble), "wrong-baud", CERTAIN, unit=1
    ),
    "wrong baud that no sweep finds": Case(
        lambda: SickLine(healthy(1), speaks=Settings(baud=31250), misheard=mumble), "garbled", LIKELY, unit=1
    ),
    "wrong parity": Case(
        lambda: SickLine(healthy(1), speaks=Settings(parity="E")), "wrong-parity", CERTAIN, says="9600 8E1"
    ),
    "wrong parity, as the receiver counts it": Case(
        lambda: SickLine(healthy(1), speaks=Settings(parity="E", baud=31250), misheard=mumble),
        "parity-errors",
        LIKELY,
        unit=1,
        beside=frozenset({"garbled"}),
        counters=lambda: Counters([LineErrors(frame=0, parity=p, breaks=0, overrun=0) for p in (0, 0, 9)]),
    ),
    "A and B swapped at the gateway": Case(
        lambda: SickLine(healthy(), background=flood(3.0)), "swapped-at-gateway", LIKELY, says="swapped at the gateway"
    ),
    "A and B swapped at the gateway, breaks counted": Case(
        lambda: SickLine(healthy()),
        "swapped-at-gateway",
        LIKELY,
        counters=lambda: Counters([LineErrors(frame=0, parity=0, breaks=b, overrun=0) for b in (0, 4, 4)]),
    ),
    "A and B swapped at one device, or its supply is off": Case(
        lambda: SickLine(healthy(2, 3)), "silent-unit", LIKELY, unit=7, says="Swap A and B at this device"
    ),
    "wrong address": Case(lambda: SickLine(healthy(126)), "silent-unit", LIKELY, unit=1, says="126"),
    "another client": Case(
        lambda: SickLine(healthy(1), background=conversation(3, 0.5, 3.0)),
        "other-client",
        CERTAIN,
        says="unit 3 was asked",
    ),
    "a device in active upload": Case(
        lambda: SickLine(healthy(), background=reports(3.0)), "reports-by-itself", LIKELY, says="55 51"
    ),
    "wrong table": Case(lambda: SickLine(only_inputs), "wrong-table", LIKELY, unit=1, says="table = input"),
    "echo": Case(lambda: SickLine(healthy(1), echoes=True), "echo", CERTAIN),
    "direction switched too late": Case(lambda: SickLine(headless), "head-cut", LIKELY, unit=1),
    "missing bias, bytes before answers": Case(
        lambda: SickLine(changed(healthy(1, 2), lambda data: b"\0" + data)), "missing-bias", LIKELY
    ),
    "missing bias, an idle line that wanders": Case(
        lambda: SickLine(healthy(1), background=wander(3.0)), "missing-bias", POSSIBLE, unit=1
    ),
    "noise or termination: everybody is damaged": Case(
        lambda: SickLine(damaging(healthy(1, 2, 3, 4), 0.3)), "noise-on-line", LIKELY, says="termination"
    ),
    "one unit is damaged": Case(
        lambda: SickLine(together(healthy(1, 2), damaging(healthy(3), 0.1))), "one-unit-damaged", POSSIBLE
    ),
    "a slow device": Case(lambda: SickLine(healthy(1, delay_s=0.35)), "answers-slowly", CERTAIN, unit=1, says="350 ms"),
    "a slow device that nobody named": Case(
        lambda: SickLine(healthy(40, delay_s=0.15)), "answers-slowly", CERTAIN, says="unit 40"
    ),
    "the adapter's latency": Case(
        lambda: SickLine(healthy(1)),
        "adapter-latency",
        CERTAIN,
        unit=1,
        counters=lambda: Counters(latency=16),
        says="16 ms",
    ),
    "a driver that never lets go": Case(
        lambda: SickLine(healthy(), background=babble(3.0)), "never-silent", LIKELY, says="take devices off one by one"
    ),
    "a driver that lets go for moments only": Case(lambda: SickLine(healthy(1), is_never_silent=True), "never-silent"),
    "a driver that lets go for moments only, asked for": Case(
        lambda: SickLine(healthy(1), is_never_silent=True), "never-silent", unit=1
    ),
    "cable cut, or no supply at all": Case(lambda: SickLine(healthy()), "silent-bus", LIKELY, says="supply"),
    "nothing wrong": Case(lambda: SickLine(healthy(1, 2)), "healthy", LIKELY),
    "nothing wrong with the unit": Case(lambda: SickLine(healthy(1)), "healthy", LIKELY, unit=1),
}


@pytest.mark.parametrize("name", CASES)
async def test_the_doctor_names_the_mistake(name: str) -> None:
    case = CASES[name]
    sick = case.line()
    others = other_settings((), NINE6)
    what = Examination(sought=case.unit, factory=FACTORY, others=others)
    evidence = await examine(OwnSickLine(sick), case.counters(), what, lambda step, seconds: None)
    findings = diagnose(evidence)
    assert {one.code for one in findings} - case.beside == {case.expect}, findings
    finding = next(one for one in findings if one.code == case.expect)
    assert finding.likely is case.likely
    english, chinese = " ".join(sentences(finding, "en")), " ".join(sentences(finding, "zh"))
    assert case.says in english
    assert any("\u4e00" <= char <= "\u9fff" for char in chinese)
    assert "{" not in english + chinese
    assert {frame[1] for frame in sick.sent} <= {1, 2, 3, 4}


def test_every_finding_has_words_and_a_case() -> None:
    assert {case.expect for case in CASES.values()} | {"nothing-known"} == set(codes())
    assert len(RULES) == 14


async def test_nothing_is_sent_where_another_client_talks() -> None:
    sick = SickLine(healthy(1), background=conversation(3, 0.5, 3.0))
    what = Examination(sought=1, factory=FACTORY, others=(Settings(baud=4800),))
    await examine(OwnSickLine(sick), Counters(), what, lambda step, seconds: None)
    assert sick.sent == []


async def test_the_settings_of_a_borrowed_line_are_never_changed() -> None:
    sick = SickLine(healthy(1), speaks=Settings(baud=4800))
    line = OwnSickLine(sick, is_borrowed=True)
    what = Examination(sought=1, factory=FACTORY, others=(Settings(baud=4800),))
    evidence = await examine(line, Counters(), what, lambda step, seconds: None)
    assert line.asked_settings == [NINE6]
    assert evidence.swept == ()
    assert [one.code for one in diagnose(evidence)] == ["silent-bus"]


def test_nothing_is_said_where_nothing_was_seen() -> None:
    (finding,) = diagnose(Evidence(settings=NINE6, idle=Idle(seconds=3.0)))
    assert finding.code == "nothing-known"
    assert sentences(finding, "zh")[0] == "无法判断"
