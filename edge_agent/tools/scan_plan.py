"""Whom a scan asks, with which settings, in which order, and how long that takes.  Pure.

::

    listen | factory addresses | 1..247, 31 ms each | the silent ones again, slowly | other settings ...

31 ms is what 247 addresses may take at 9600 8N1 if all of them are to be asked within 12 s:
8.3 ms for the question, 3.7 ms of silence, 31 ms to answer.  Most devices answer within 25 ms;
some think for 50 to 500 ms (VEGAPULS as shipped: 50).  A reply that comes while the next address is
asked is credited to the unit id it carries, and the slow pass asks once more, patiently.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from drivers.frames import REQUEST_LENGTH, FrameRequest, read_request
from drivers.serial_wire import LineSettings

#: addresses by the standard
UNITS = range(1, 248)
#: seconds to the first byte of an answer in the fast pass
FAST_S = 0.031
#: the same in the slow pass; a unit slower than that is credited when its reply comes late
SLOW_S = 0.3
#: the same with ``--slow``: the slowest sensor known here (SUTO) takes one second
SLOWEST_S = 1.1
#: bytes of the reply to the question that a scan asks: one register
REPLY_LENGTH = 7
#: seconds per question for threads and drivers
_OVERHEAD_S = 0.0005
#: questions in the pass over factory addresses
MOST_FACTORY = 48
#: questions to one factory address
MOST_PER_UNIT = 4

#: likeliest first; what profiles say is counted on top of it
BAUDS = (9600, 19200, 4800, 115200, 38400, 57600, 2400, 1200)
PARITIES = ("N", "E", "O")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a line is set."""

    baud: int = 9600
    #: ``N``, ``E`` or ``O``
    parity: str = "N"
    stop_bits: int = 1

    def __str__(self) -> str:
        return f"{self.baud} 8{self.parity}{self.stop_bits}"

    def line(self, path: str) -> LineSettings:
        """Returns the settings of one serial port."""
        return LineSettings(path=path, baud=self.baud, parity=self.parity, stop_bits=self.stop_bits)

    @property
    def char_s(self) -> float:
        """Seconds of one character."""
        return self.line("").char_s

    @property
    def silence_s(self) -> float:
        """Seconds of silence before a question, t3.5."""
        return self.line("").silence_s


class Kind(StrEnum):
    """The passes of a scan."""

    FACTORY = "factory"
    FAST = "fast"
    SLOW = "slow"
    #: fast, with other settings of the line
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One read that shows whether somebody is there; any answer will do, an exception as well."""

    unit_id: int
    table: str = "holding"
    address: int = 0
    count: int = 1

    def frame(self) -> FrameRequest:
        """Returns the bytes that ask it."""
        return read_request(unit_id=self.unit_id, table=self.table, address=self.address, count=self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One round over addresses."""

    kind: Kind
    settings: Settings
    questions: tuple[Question, ...]
    #: seconds that each may take to begin its answer
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDevice:
    """What a scan needs of a device profile."""

    profile: str
    #: address as shipped; None where no source states one
    unit_id: int | None
    settings: Settings
    #: the reads that its profile makes, the most telling first
    questions: tuple[tuple[str, int, int], ...]


def seconds_of(kind_wait_s: float, settings: Settings, questions: int) -> float:
    """Returns how long a pass over silent addresses takes."""
    each = REQUEST_LENGTH * settings.char_s + settings.silence_s + kind_wait_s + _OVERHEAD_S
    return questions * each


def factory_questions(known: Iterable[KnownDevice], skip: Collection[int] = ()) -> tuple[Question, ...]:
    """Returns what is asked at the addresses that devices are shipped with, addresses in rising order.

    Args:
        known: the profiles there are.
        skip: unit ids not to ask.
    """
    by_unit: dict[int, list[Question]] = {}
    for device in known:
        unit_id = device.unit_id
        if unit_id is None or unit_id in skip or not device.questions:
            continue
        table, address, count = device.questions[0]
        question = Question(unit_id=unit_id, table=table, address=address, count=count)
        asked = by_unit.setdefault(unit_id, [])
        if question not in asked and len(asked) < MOST_PER_UNIT:
            asked.append(question)
    # One question per address before any gets its second: whoever answers is not asked again.
    rounds = [asked[turn] for turn in range(MOST_PER_UNIT) for _, asked in sorted(by_unit.items()) if turn < len(asked)]
    return tuple(rounds[:MOST_FACTORY])


def other_settings(known: Iterable[KnownDevice], own: Settings, bauds: Sequence[int] = ()) -> tuple[Settings, ...]:
    """Returns the settings to try besides one's own, likeliest first.

    Args:
        known: the profiles there are: each votes for the settings its device is shipped with.
        own: tried already.
        bauds: only these, in this order; empty: all that are usual.
    """
    votes: dict[Settings, int] = {}
    for device in known:
        votes[device.settings] = votes.get(device.settings, 0) + 1

    def rank(settings: Settings) -> tuple[int, int, int]:
        # Without a vote plain 8N1 comes before even, even before odd; at equal parity the usual baud first.
        return (
            -votes.get(settings, 0),
            PARITIES.index(settings.parity),
            BAUDS.index(settings.baud) if settings.baud in BAUDS else len(BAUDS),
        )

    found = {Settings(baud=baud, parity=parity) for baud in (bauds or BAUDS) for parity in PARITIES}
    found |= {settings for settings in votes if not bauds or settings.baud in bauds}
    return tuple(sorted(found - {own}, key=lambda s: (bauds.index(s.baud) if bauds else 0, *rank(s))))


def first_passes(
    known: Sequence[KnownDevice], settings: Settings, *, skip: Collection[int] = (), slow_s: float = SLOW_S
) -> tuple[Pass, ...]:
    """Returns the passes with the settings that the line has.

    Args:
        known: the profiles there are.
        settings: of the line.
        skip: unit ids not to ask: the running agent polls them.
        slow_s: patience of the second pass.
    """
    everyone = tuple(Question(unit_id=unit_id) for unit_id in UNITS if unit_id not in skip)
    return (
        Pass(kind=Kind.FACTORY, settings=settings, questions=factory_questions(known, skip), wait_s=FAST_S),
        Pass(kind=Kind.FAST, settings=settings, questions=everyone, wait_s=FAST_S),
        Pass(kind=Kind.SLOW, settings=settings, questions=everyone, wait_s=slow_s),
    )


def further_passes(others: Iterable[Settings], known: Sequence[KnownDevice]) -> tuple[Pass, ...]:
    """Returns one fast pass per further setting: factory addresses first, then the others."""
    found = []
    for settings in others:
        first = factory_questions(device for device in known if device.settings == settings)
        asked = {question.unit_id for question in first}
        rest = tuple(Question(unit_id=unit_id) for unit_id in UNITS if unit_id not in asked)
        found.append(Pass(kind=Kind.OTHER, settings=settings, questions=(*first, *rest), wait_s=FAST_S))
    return tuple(found)


def slow_again(settings: Settings, slow_s: float = SLOW_S) -> Pass:
    """Returns the patient pass for settings with which somebody answered."""
    everyone = tuple(Question(unit_id=unit_id) for unit_id in UNITS)
    return Pass(kind=Kind.SLOW, settings=settings, questions=everyone, wait_s=slow_s)
