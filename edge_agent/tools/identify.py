"""Asking the units that a scan found: the same thing often, and what tells one device from another.

A thin loop; what the answers mean is ``match``.  It reads only, and each register of all profiles
once per unit, however many profiles name it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.errors import DecodeError
from drivers.plan import read_identity
from edge_agent.tools.asking import Asker
from edge_agent.tools.heard import Answer, Outcome
from edge_agent.tools.match import (
    REPEATS,
    Candidate,
    Fit,
    Repeats,
    Span,
    count_repeats,
    fits,
    spans_to_read,
)
from edge_agent.tools.scan_plan import FAST_S, Question
from edge_agent.tools.scan_state import Sighting

#: an answer is awaited so many times the delay that was seen; the slowest of twenty is seldom beyond
_PATIENCE = 3.0
#: a unit that gave no answer to so many different reads in a row is not asked for the rest
_MOST_SILENT = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """What is known of one unit that answers."""

    seen: Sighting
    repeats: Repeats
    #: surest first
    fits: tuple[Fit, ...]
    #: longest delay to the first byte of an answer that was seen; None where every one came late
    slowest_s: float | None


async def identify(asker: Asker, seen: Sighting, candidates: Sequence[Candidate], slow_s: float) -> Identified:
    """Asks one unit; raises ToolError where the port goes away.

    Args:
        asker: the line, set as the unit is.
        seen: the unit.
        candidates: profiles that it may be.
        slow_s: how long a unit may think whose delay is not known.
    """
    patience_s = 2 * FAST_S if seen.outcome is Outcome.DAMAGED else _patience(seen.delay_s, slow_s)
    # A slow unit is asked less often: twenty patient questions would hold the line for long.
    often = REPEATS if patience_s < 0.2 else REPEATS // 4
    question = Question(unit_id=seen.unit_id).frame()
    answers = [await asker.ask(question, patience_s, linger_s=FAST_S) for _ in range(often)]
    readings = await _read_all(asker, seen.unit_id, spans_to_read(candidates, seen.unit_id, seen.settings), patience_s)
    found = fits(candidates, readings, seen.unit_id, seen.settings)
    identities = await _identities(asker, seen.unit_id, candidates, found, readings, patience_s)
    delays = [answer.delay_s for answer in (*answers, *readings.values()) if answer.is_answered and answer.delay_s]
    return Identified(
        seen=seen,
        repeats=count_repeats(answers, identities),
        fits=found,
        slowest_s=max([*delays, seen.delay_s or 0.0]) if delays or seen.delay_s else None,
    )


def _patience(delay_s: float | None, slow_s: float) -> float:
    return slow_s if delay_s is None else max(FAST_S, min(_PATIENCE * delay_s, slow_s))


async def _read_all(asker: Asker, unit_id: int, spans: Sequence[Span], wait_s: float) -> dict[Span, Answer]:
    found: dict[Span, Answer] = {}
    silent = 0
    for span in spans:
        table, address, count = span
        answer = await asker.read(unit_id, table, address, count, wait_s)
        if answer.outcome is Outcome.DAMAGED:
            answer = await asker.read(unit_id, table, address, count, wait_s)
        found[span] = answer
        silent = silent + 1 if answer.outcome is Outcome.SILENT else 0
        if silent >= _MOST_SILENT and not any(one.words is not None for one in found.values()):
            break
    return found


async def _identities(
    asker: Asker,
    unit_id: int,
    candidates: Sequence[Candidate],
    found: Sequence[Fit],
    readings: dict[Span, Answer],
    wait_s: float,
) -> list[str]:
    """Returns what the serial number of the likeliest profile was, time after time; empty where it has none."""
    if not found:
        return []
    from drivers.build import serial_read

    profile = next(one.profile for one in candidates if one.profile.id == found[0].profile)
    read = serial_read(profile)
    if read is None:
        return []
    said: list[str] = []
    for _ in range(REPEATS // 4):
        answer = await asker.read(unit_id, read.table, read.address, read.count, wait_s)
        if answer.words is not None:
            try:
                said.append(read_identity(read, answer.words))
            except DecodeError:
                pass  # a register that holds no serial number says nothing about how many units there are
    return said
