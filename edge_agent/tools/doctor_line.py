"""The loop of a doctor: listen, ask the same thing often, try other settings; evidence out.

It sends reads of one register and nothing else, and nothing at all where another client talks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from edge_agent.errors import ToolError
from edge_agent.tools.asking import Asker
from edge_agent.tools.evidence import FLOOD_PER_S, Evidence, LineErrors, UnitTally, tally
from edge_agent.tools.heard import Answer, Outcome
from edge_agent.tools.match import REPEATS
from edge_agent.tools.scan_line import LISTEN_S, Line, Scan
from edge_agent.tools.scan_plan import FAST_S, SLOWEST_S, Kind, Pass, Question, Settings
from edge_agent.tools.scan_state import ScanState, Sighting

#: units that are asked often; more say nothing new about the line
_MOST_UNITS = 8
#: addresses that are tried with other settings: these, and those that devices are shipped with
_FIRST_UNITS = range(1, 11)
#: the address that is asked where none was named
_ANYBODY = 1
#: what a technician sees of the progress: a word, and seconds that are left of this step
Tell = Callable[[str, float], None]


class Electronics(Protocol):
    """What the receiver counts; None where the driver does not tell."""

    async def errors(self) -> LineErrors | None: ...

    async def latency_ms(self) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What is to be examined."""

    #: unit that should be there; None: whoever is
    sought: int | None
    #: addresses that devices are shipped with
    factory: Sequence[int]
    #: other settings to try where nobody answers, likeliest first
    others: Sequence[Settings]


async def examine(line: Line, electronics: Electronics, what: Examination, tell: Tell) -> Evidence:
    """Returns what was seen; raises ToolError where the port is not there."""
    settings = line.settings
    before = await electronics.errors()
    asker = await line.at(settings)
    tell("listening", LISTEN_S)
    idle = await asker.listen(LISTEN_S)
    after_idle = await electronics.errors()
    asker = await line.at(settings)
    evidence = Evidence(
        settings=settings,
        idle=idle,
        sought=what.sought,
        idle_errors=_between(before, after_idle),
        latency_ms=await electronics.latency_ms(),
        is_borrowed=line.is_borrowed,
    )
    if idle.is_busy or idle.reporting is not None or idle.octets >= FLOOD_PER_S * idle.seconds:
        # Questions would disturb the other client, or be lost among what is said all the time.
        return evidence
    evidence = await _probe(line, asker, what, evidence, tell)
    evidence = replace(evidence, errors=_between(before, await electronics.errors()))
    settled = any(_is_understood(one) or one.not_asked for one in evidence.units.values()) or evidence.late
    if line.is_borrowed or settled:
        return evidence
    return await _sweep(line, what, evidence, tell)


async def _probe(line: Line, asker: Asker, what: Examination, evidence: Evidence, tell: Tell) -> Evidence:
    units: dict[int, UnitTally] = {}
    answers: list[Answer] = []
    if what.sought is not None:
        tell("asking", REPEATS * SLOWEST_S)
        answers = await _often(asker, what.sought, SLOWEST_S)
        units[what.sought] = tally(answers)
    else:
        # One question shows whether the line is ever silent; what it gave counts for nothing else.
        answers = [await asker.ask(Question(unit_id=_ANYBODY).frame(), FAST_S)]
    searched, garbled = 0, 0
    found: tuple[Sighting, ...] = ()
    if all(answer.outcome is Outcome.NOT_ASKED for answer in answers):
        units[_ANYBODY if what.sought is None else what.sought] = tally(answers)
    elif what.sought is None or not units[what.sought].is_there:
        found, garbled, searched = await _search(line, evidence.settings, tell)
    late: dict[int, float] = {}
    for seen in found[:_MOST_UNITS]:
        if seen.unit_id in units and units[seen.unit_id].is_there:
            continue
        tell("asking", REPEATS * FAST_S)
        patience_s = SLOWEST_S if seen.is_late else max(2 * FAST_S, 3 * (seen.delay_s or 0.0))
        often = await _often(asker, seen.unit_id, patience_s)
        answers += often
        units[seen.unit_id] = tally(often)
        if seen.is_late and not units[seen.unit_id].is_there:
            late[seen.unit_id] = patience_s
    tables = {}
    for unit_id, one in units.items():
        # Exception 2 says that there is no register 0, which is no mistake; exception 1 refuses the whole table.
        if 1 in one.exceptions and not one.good:
            tables[unit_id] = await _tables(asker, unit_id)
    return replace(
        evidence,
        units=units,
        late=late,
        searched=searched + (what.sought is not None and not searched),
        tables=tables,
        is_echoed=any(answer.is_echoed for answer in answers),
        garbled=garbled,
    )


def _is_understood(one: UnitTally) -> bool:
    """Whether the settings are right: damaged bytes alone prove nothing."""
    return bool(one.answered or one.doubled or one.cut_head)


async def _often(asker: Asker, unit_id: int, wait_s: float) -> list[Answer]:
    """Asks until the mixture shows; a unit that says nothing at all is not asked twenty times."""
    question = Question(unit_id=unit_id).frame()
    answers: list[Answer] = []
    for turn in range(REPEATS):
        answers.append(await asker.ask(question, wait_s, linger_s=FAST_S))
        if turn >= 2 and all(one.outcome in (Outcome.SILENT, Outcome.NOT_ASKED) for one in answers):
            break
    return answers


async def _search(line: Line, settings: Settings, tell: Tell) -> tuple[tuple[Sighting, ...], int, int]:
    """Returns who answers to a fast pass, answers that were no frames, and how many addresses were asked."""
    questions = tuple(Question(unit_id=unit_id) for unit_id in range(1, 248))
    one = Pass(kind=Kind.FAST, settings=settings, questions=questions, wait_s=FAST_S)
    scan = Scan(line, ScanState(passes=(one,)))
    await scan.search(lambda state: tell("searching", state.seconds_left()))
    state = scan.state
    seen = (*state.found, *state.only_damaged)
    return tuple(sorted(seen, key=lambda item: item.unit_id)), len(state.damaged), len(questions)


async def _tables(asker: Asker, unit_id: int) -> dict[str, Outcome]:
    return {
        table: (await asker.read(unit_id, table, 0, 1, 4 * FAST_S)).outcome
        for table in ("holding", "input", "discrete", "coil")
    }


async def _sweep(line: Line, what: Examination, evidence: Evidence, tell: Tell) -> Evidence:
    units = [what.sought] if what.sought is not None else []
    units += [unit_id for unit_id in (*what.factory, *_FIRST_UNITS) if unit_id not in units]
    elsewhere: list[tuple[Settings, int]] = []
    swept: list[Settings] = []
    for number, settings in enumerate(what.others):
        tell("sweeping", (len(what.others) - number) * len(units) * (FAST_S + 16 * settings.char_s))
        try:
            elsewhere += await _who(await line.at(settings), settings, units)
        except ToolError:
            # Not every driver takes every baud rate and parity; that the port itself is gone shows next.
            await (await line.at(line.settings)).overhear(FAST_S)
            continue
        swept.append(settings)
        if elsewhere:
            break
    await line.at(line.settings)
    return replace(evidence, swept=tuple(swept), elsewhere=tuple(elsewhere))


async def _who(asker: Asker, settings: Settings, units: Sequence[int]) -> list[tuple[Settings, int]]:
    """Returns the units that answer with these settings."""
    return [
        (settings, unit_id)
        for unit_id in units
        if (await asker.ask(Question(unit_id=unit_id).frame(), 2 * FAST_S)).is_answered
    ]


def _between(first: LineErrors | None, last: LineErrors | None) -> LineErrors | None:
    if first is None or last is None:
        return None
    return LineErrors(
        frame=last.frame - first.frame,
        parity=last.parity - first.parity,
        breaks=last.breaks - first.breaks,
        overrun=last.overrun - first.overrun,
    )
