"""How far a scan has come, whom it found, and what is asked next: a record and pure steps.

A scan can be stopped and go on later: the record is kept as JSON.  What was found is never taken
back; a silent address is "no answer within so many milliseconds" and never "absent".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edge_agent.tools.heard import Answer, Frame, Outcome
from edge_agent.tools.scan_plan import Kind, Pass, Question, Settings, seconds_of, slow_again

_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """How a unit was seen."""

    unit_id: int
    settings: Settings
    outcome: Outcome
    #: exception code, 0 without
    exception: int = 0
    #: seconds until its answer began; None for a reply that was credited late
    delay_s: float | None = None
    #: whether it was credited to a reply that came while another address was asked
    is_late: bool = False
    #: pass in which it was seen
    seen_in: Kind = Kind.FAST


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanState:
    """All that a scan knows."""

    passes: tuple[Pass, ...]
    #: pass that runs, and the next question of it
    pass_no: int = 0
    place: int = 0
    found: tuple[Sighting, ...] = ()
    #: unit ids where bytes came that are no frame, with the settings of the line
    damaged: tuple[tuple[Settings, int], ...] = ()
    #: seconds that unanswered units had at most, by settings
    waited: Mapping[Settings, float] = field(default_factory=dict)
    slow_s: float = 0.3
    #: settings that the port does not take, and why; not kept for later
    refused: tuple[tuple[Settings, str], ...] = ()
    #: whether further settings are tried although somebody answers with these
    all_settings: bool = False
    #: settings that were not tried because somebody answers with others
    left_out: tuple[Settings, ...] = ()

    @property
    def now(self) -> Pass | None:
        """The pass that runs; None when all is done."""
        return self.passes[self.pass_no] if self.pass_no < len(self.passes) else None

    def is_known(self, unit_id: int) -> bool:
        """Whether this unit was seen, with whatever settings."""
        return any(seen.unit_id == unit_id for seen in self.found)

    @property
    def only_damaged(self) -> tuple[Sighting, ...]:
        """The units of which nothing but damaged bytes was heard, each once."""
        units = {unit_id: settings for settings, unit_id in self.damaged if not self.is_known(unit_id)}
        return tuple(
            Sighting(unit_id=unit_id, settings=settings, outcome=Outcome.DAMAGED) for unit_id, settings in units.items()
        )

    def seconds_left(self) -> float:
        """Returns how long the rest takes if nobody else answers."""
        left = 0.0
        known = {seen.unit_id for seen in self.found}
        for number, one in enumerate(self.passes[self.pass_no :]):
            todo = one.questions[self.place :] if number == 0 else one.questions
            left += seconds_of(one.wait_s, one.settings, sum(q.unit_id not in known for q in todo))
        return left


def next_question(state: ScanState) -> tuple[ScanState, Question | None]:
    """Returns the state at the next question that is worth asking, and that question; None at the end."""
    while (one := state.now) is not None:
        for place in range(state.place, len(one.questions)):
            question = one.questions[place]
            if not state.is_known(question.unit_id):
                return replace(state, place=place), question
        state = _end_pass(state, one)
    return state, None


def take(state: ScanState, question: Question, answer: Answer) -> ScanState:
    """Returns the state after one question."""
    one = state.now
    assert one is not None
    found = list(state.found)
    if answer.is_answered:
        found.append(
            Sighting(
                unit_id=question.unit_id,
                settings=one.settings,
                outcome=answer.outcome,
                exception=answer.exception,
                delay_s=answer.delay_s,
                seen_in=one.kind,
            )
        )
    damaged = state.damaged
    if answer.outcome is Outcome.DAMAGED:
        damaged = (*damaged, (one.settings, question.unit_id))
    state = replace(state, place=state.place + 1, found=tuple(found), damaged=damaged)
    for frame in answer.others:
        state = credit(state, frame, one)
    return state


def credit(state: ScanState, frame: Frame, one: Pass) -> ScanState:
    """Returns the state after a whole reply that nobody waited for any more: it belongs to the unit it names.

    Args:
        state: before.
        frame: the reply.
        one: the pass in which it came.
    """
    if state.is_known(frame.unit_id) or not frame.unit_id:
        return state
    seen = Sighting(
        unit_id=frame.unit_id,
        settings=one.settings,
        outcome=Outcome.EXCEPTION if frame.data[1] & 0x80 else Outcome.GOOD,
        exception=frame.data[2] if frame.data[1] & 0x80 else 0,
        is_late=True,
        seen_in=one.kind,
    )
    return replace(state, found=(*state.found, seen))


def refuse(state: ScanState, one: Pass, because: str) -> ScanState:
    """Returns the state after the port did not take the settings of a pass: it is left out."""
    return replace(state, pass_no=state.pass_no + 1, place=0, refused=(*state.refused, (one.settings, because)))


def _end_pass(state: ScanState, one: Pass) -> ScanState:
    waited = dict(state.waited)
    waited[one.settings] = max(one.wait_s, waited.get(one.settings, 0.0))
    passes = state.passes
    if one.kind is Kind.OTHER and any(seen.settings == one.settings for seen in state.found):
        # Somebody speaks with these settings: then the slow ones among its neighbours are looked for as well.
        at = state.pass_no + 1
        passes = (*passes[:at], slow_again(one.settings, state.slow_s), *passes[at:])
    left_out = state.left_out
    if one.kind is Kind.SLOW and state.found and not state.all_settings:
        # One line has one setting: where somebody speaks, the others are not worth minutes unless asked for.
        passes, rest = passes[: state.pass_no + 1], passes[state.pass_no + 1 :]
        left_out = (*left_out, *dict.fromkeys(later.settings for later in rest))
    return replace(state, passes=passes, pass_no=state.pass_no + 1, place=0, waited=waited, left_out=left_out)


# --- kept for --resume --------------------------------------------------------------------


def to_json(state: ScanState, port: str) -> str:
    """Returns the state as text that ``from_json`` reads."""
    return json.dumps(
        {
            "version": _VERSION,
            "port": port,
            "pass_no": state.pass_no,
            "place": state.place,
            "slow_s": state.slow_s,
            "all_settings": state.all_settings,
            "passes": [
                [
                    p.kind,
                    _settings(p.settings),
                    p.wait_s,
                    [[q.unit_id, q.table, q.address, q.count] for q in p.questions],
                ]
                for p in state.passes
            ],
            "found": [
                [s.unit_id, _settings(s.settings), s.outcome, s.exception, s.delay_s, s.is_late, s.seen_in]
                for s in state.found
            ],
            "damaged": [[_settings(settings), unit_id] for settings, unit_id in state.damaged],
            "waited": [[_settings(settings), seconds] for settings, seconds in state.waited.items()],
        }
    )


def from_json(text: str, port: str) -> ScanState | None:
    """Returns a kept state; None where it is of another port or another version, or damaged."""
    try:
        data: dict[str, Any] = json.loads(text)
        if data["version"] != _VERSION or data["port"] != port:
            return None
        state = ScanState(
            passes=tuple(
                Pass(
                    kind=Kind(kind),
                    settings=_read_settings(settings),
                    wait_s=float(wait_s),
                    questions=tuple(Question(unit_id=u, table=t, address=a, count=c) for u, t, a, c in questions),
                )
                for kind, settings, wait_s, questions in data["passes"]
            ),
            pass_no=int(data["pass_no"]),
            place=int(data["place"]),
            found=tuple(
                Sighting(
                    unit_id=unit_id,
                    settings=_read_settings(settings),
                    outcome=Outcome(outcome),
                    exception=exception,
                    delay_s=delay_s,
                    is_late=is_late,
                    seen_in=Kind(seen_in),
                )
                for unit_id, settings, outcome, exception, delay_s, is_late, seen_in in data["found"]
            ),
            damaged=tuple((_read_settings(settings), unit_id) for settings, unit_id in data["damaged"]),
            waited={_read_settings(settings): seconds for settings, seconds in data["waited"]},
            slow_s=float(data["slow_s"]),
            all_settings=bool(data["all_settings"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
    return state


def _settings(settings: Settings) -> list[int | str]:
    return [settings.baud, settings.parity, settings.stop_bits]


def _read_settings(value: list[Any]) -> Settings:
    baud, parity, stop_bits = value
    return Settings(baud=int(baud), parity=str(parity), stop_bits=int(stop_bits))
