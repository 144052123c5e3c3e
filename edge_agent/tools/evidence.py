"""What a doctor measured on a line: plain records, no opinion.  ``diagnose`` has the opinions.

Everything is what was seen, with counts; a thing that could not be measured is ``None`` and never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.tools.heard import Answer, Idle, Outcome
from edge_agent.tools.scan_plan import Settings

#: bytes per second on an idle line that is held at the wrong level, or driven all the time
FLOOD_PER_S = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTally:
    """The same question to one unit, many times."""

    asked: int
    good: int = 0
    damaged: int = 0
    doubled: int = 0
    #: answers whose first bytes were missing
    cut_head: int = 0
    #: only bytes 00 and FF came
    noise: int = 0
    foreign: int = 0
    silent: int = 0
    #: the line was never silent, so it was not asked
    not_asked: int = 0
    #: answers with bytes 00 or FF in front
    noise_before: int = 0
    #: exception code -> how often
    exceptions: Mapping[int, int] = field(default_factory=dict)
    #: seconds to the first byte of an answer: shortest, middle, longest; empty where none came
    delays_s: tuple[float, ...] = ()

    @property
    def answered(self) -> int:
        """Answers that were understood."""
        return self.good + sum(self.exceptions.values())

    @property
    def broken(self) -> int:
        """Answers that were not understood."""
        return self.damaged + self.cut_head

    @property
    def is_there(self) -> bool:
        """Whether anything but noise came from this address."""
        return bool(self.answered or self.doubled or self.broken)


def tally(answers: Sequence[Answer]) -> UnitTally:
    """Returns the tally of equal questions to one unit."""
    outcomes = Counter(answer.outcome for answer in answers)
    delays = sorted(a.delay_s for a in answers if a.is_answered and a.delay_s is not None)
    return UnitTally(
        asked=len(answers),
        good=outcomes[Outcome.GOOD],
        damaged=outcomes[Outcome.DAMAGED],
        doubled=outcomes[Outcome.DOUBLED],
        cut_head=outcomes[Outcome.CUT_HEAD],
        noise=outcomes[Outcome.NOISE],
        foreign=outcomes[Outcome.FOREIGN],
        silent=outcomes[Outcome.SILENT],
        not_asked=outcomes[Outcome.NOT_ASKED],
        noise_before=sum(a.is_answered and a.noise_before > 0 for a in answers),
        exceptions=dict(Counter(a.exception for a in answers if a.outcome is Outcome.EXCEPTION)),
        delays_s=(delays[0], delays[len(delays) // 2], delays[-1]) if delays else (),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LineErrors:
    """What the receiver of the port counted while it was examined (TIOCGICOUNT)."""

    frame: int
    parity: int
    breaks: int
    overrun: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that was seen on one line."""

    settings: Settings
    idle: Idle
    #: unit that was asked for; None: nobody in particular
    sought: int | None = None
    #: how many addresses were asked at all
    searched: int = 0
    #: unit id -> what the same question gave, for everybody who said anything, and for ``sought``
    units: Mapping[int, UnitTally] = field(default_factory=dict)
    #: units whose reply came only while another was asked, or after the patient wait, and after how long at most
    late: Mapping[int, float] = field(default_factory=dict)
    #: unit id -> table -> what one register of it gave, where tables were compared
    tables: Mapping[int, Mapping[str, Outcome]] = field(default_factory=dict)
    #: whether our own questions came back
    is_echoed: bool = False
    #: settings that were tried beside our own, and who answered with which
    swept: tuple[Settings, ...] = ()
    elsewhere: tuple[tuple[Settings, int], ...] = ()
    #: damaged bytes in answer to questions at addresses of which nothing else is known
    garbled: int = 0
    errors: LineErrors | None = None
    #: errors counted while nothing was sent
    idle_errors: LineErrors | None = None
    #: milliseconds that the adapter may hold received bytes back
    latency_ms: int | None = None
    #: whether the line is the running agent's, so that its settings could not be changed
    is_borrowed: bool = False
