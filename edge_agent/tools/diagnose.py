"""From what was measured on a line to the likely faults, in words.  A table of rules, pure.

Each rule looks at the evidence alone and says nothing, or names one fault with its evidence and how likely it
is.  What software cannot see is not guessed: a missing common ground, stop bits, a cable that is
broken behind a device show in statistics over days, not in a minute.  Sources: Modbus over Serial
Line V1.02 sections 2.2 and 3; the troubleshooting chapters of minimalmodbus and wb-mqtt-serial; Linux
tty_ioctl(4) for the counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from edge_agent.tools.evidence import FLOOD_PER_S, Evidence, UnitTally
from edge_agent.tools.heard import Outcome
from edge_agent.tools.match import Repeats, shared_addresses
from edge_agent.tools.scan_plan import Settings

#: a unit whose answers begin later than this is slow for a poller that shares the line (seconds)
SLOW_S = 0.1
#: latency that costs more than it needs to (ms): FTDI's default is 16, 1 is possible
_LONG_LATENCY_MS = 2
#: share of broken answers that is no accident any more; a good line has fewer than one in a thousand
_BROKEN_SHARE = 0.05
#: bytes of noise per second on an idle line that are no accident
_IDLE_NOISE_PER_S = 1.0


class Likely(IntEnum):
    """How likely a fault is."""

    POSSIBLE = 1
    LIKELY = 2
    CERTAIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault, or one fact worth knowing."""

    #: stable word, see ``finding_words``
    code: str
    likely: Likely
    #: values for its sentences
    facts: Mapping[str, Any]


Rule = Callable[[Evidence], Iterable[Finding]]


def diagnose(evidence: Evidence) -> tuple[Finding, ...]:
    """Returns what is likely wrong, most likely first; ``healthy`` alone where nothing is."""
    found = [finding for rule in RULES for finding in rule(evidence)]
    codes = {finding.code for finding in found}
    found = [finding for finding in found if not _EXPLAINED_BY.get(finding.code, frozenset()) & codes]
    if not found:
        found = list(_healthy(evidence))
    return tuple(sorted(found, key=lambda finding: -finding.likely))


def _finding(code: str, likely: Likely, **facts: Any) -> Finding:
    return Finding(code=code, likely=likely, facts=facts)


# --- what is heard while nothing is sent --------------------------------------------------


def _other_client(evidence: Evidence) -> Iterable[Finding]:
    for talk in evidence.idle.conversations:
        yield _finding(
            "other-client",
            Likely.CERTAIN,
            unit=talk.unit_id,
            function=talk.function,
            address="-" if talk.address is None else talk.address,
            count="-" if talk.count is None else talk.count,
            every="-" if talk.every_s is None else f"{talk.every_s:.2g}",
            times=talk.times,
            answered=talk.answered,
        )


def _reporting(evidence: Evidence) -> Iterable[Finding]:
    if evidence.idle.reporting is not None:
        header, every_s = evidence.idle.reporting
        yield _finding("reports-by-itself", Likely.LIKELY, header=header.hex(" ").upper(), every=f"{every_s:.2g}")


def _swapped_at_gateway(evidence: Evidence) -> Iterable[Finding]:
    """A line that rests at the wrong level is one long break to the receiver."""
    idle = evidence.idle
    breaks = 0 if evidence.idle_errors is None else evidence.idle_errors.breaks + evidence.idle_errors.frame
    is_held = idle.noise >= FLOOD_PER_S * idle.seconds and idle.noise == idle.octets
    never = sum(one.not_asked for one in evidence.units.values())
    if _anybody(evidence) or idle.is_busy or idle.reporting is not None:
        return
    if is_held or breaks:
        yield _finding("swapped-at-gateway", Likely.LIKELY, octets=idle.octets, breaks=breaks, seconds=idle.seconds)
    elif never or idle.octets >= FLOOD_PER_S * idle.seconds:
        yield _finding("never-silent", Likely.LIKELY, octets=idle.octets, seconds=idle.seconds)


def _missing_bias(evidence: Evidence) -> Iterable[Finding]:
    """A line that nobody drives and nothing pulls apart wanders: bytes out of nothing, mostly around frames."""
    idle = evidence.idle
    before = sum(one.noise_before for one in evidence.units.values())
    answered = sum(one.answered for one in evidence.units.values())
    rests = idle.noise + idle.strange
    is_restless = rests >= _IDLE_NOISE_PER_S * idle.seconds and not idle.is_busy and idle.reporting is None
    if before > answered * _BROKEN_SHARE or is_restless:
        likely = Likely.LIKELY if before > answered * _BROKEN_SHARE and before > 1 else Likely.POSSIBLE
        yield _finding("missing-bias", likely, before=before, answered=answered, octets=rests, seconds=idle.seconds)


# --- answers ------------------------------------------------------------------------------


def _echo(evidence: Evidence) -> Iterable[Finding]:
    if evidence.is_echoed:
        yield _finding("echo", Likely.CERTAIN)


def _shared(evidence: Evidence) -> Iterable[Finding]:
    tallies = {unit_id: _repeats(one) for unit_id, one in evidence.units.items() if one.is_there}
    for unit_id in shared_addresses(tallies):
        one = evidence.units[unit_id]
        certain = one.doubled > 0
        yield _finding(
            "shared-address",
            Likely.CERTAIN if certain else Likely.LIKELY,
            unit=unit_id,
            asked=one.asked,
            good=one.answered,
            damaged=one.broken,
            doubled=one.doubled,
        )


def _repeats(one: UnitTally) -> Repeats:
    return Repeats(
        asked=one.asked,
        good=one.answered,
        damaged=one.damaged,
        doubled=one.doubled,
        silent=one.silent + one.noise + one.foreign + one.not_asked,
    )


def _head_cut(evidence: Evidence) -> Iterable[Finding]:
    cut = {unit_id: one.cut_head for unit_id, one in evidence.units.items() if one.cut_head > 1}
    if cut:
        yield _finding("head-cut", Likely.LIKELY, units=_listed(cut), times=sum(cut.values()))


def _noisy(evidence: Evidence) -> Iterable[Finding]:
    """Damaged answers of one unit among good ones of all others are its own; of several they are the line's."""
    there = {unit_id: one for unit_id, one in evidence.units.items() if one.is_there}
    bad = [unit_id for unit_id, one in there.items() if one.damaged > _BROKEN_SHARE * one.asked]
    asked = sum(one.asked for one in there.values())
    damaged = sum(one.damaged for one in there.values())
    if len(bad) > 1:
        likely = Likely.LIKELY if len(bad) * 2 >= len(there) else Likely.POSSIBLE
        yield _finding("noise-on-line", likely, units=_listed(bad), damaged=damaged, asked=asked)
    elif len(bad) == 1 and _anybody_understood(evidence):
        one = there[bad[0]]
        yield _finding("one-unit-damaged", Likely.POSSIBLE, unit=bad[0], damaged=one.damaged, asked=one.asked)


def _slow(evidence: Evidence) -> Iterable[Finding]:
    for unit_id, patience_s in evidence.late.items():
        yield _finding("answers-slowly", Likely.CERTAIN, unit=unit_id, delay=f"> {patience_s * 1000:.0f}")
    for unit_id, one in evidence.units.items():
        if one.delays_s and one.delays_s[1] >= SLOW_S:
            yield _finding("answers-slowly", Likely.CERTAIN, unit=unit_id, delay=f"{one.delays_s[-1] * 1000:.0f}")


def _latency(evidence: Evidence) -> Iterable[Finding]:
    if evidence.latency_ms is not None and evidence.latency_ms > _LONG_LATENCY_MS:
        yield _finding("adapter-latency", Likely.CERTAIN, latency=evidence.latency_ms)


def _wrong_table(evidence: Evidence) -> Iterable[Finding]:
    for unit_id, tables in evidence.tables.items():
        refused = [table for table, outcome in tables.items() if outcome is Outcome.EXCEPTION]
        good = [table for table, outcome in tables.items() if outcome is Outcome.GOOD]
        if refused and good:
            yield _finding("wrong-table", Likely.LIKELY, unit=unit_id, refused=", ".join(refused), good=", ".join(good))


# --- nobody answers -----------------------------------------------------------------------


def _wrong_settings(evidence: Evidence) -> Iterable[Finding]:
    by_settings: dict[Settings, list[int]] = {}
    for settings, unit_id in evidence.elsewhere:
        by_settings.setdefault(settings, []).append(unit_id)
    for settings, units in by_settings.items():
        code = "wrong-parity" if settings.baud == evidence.settings.baud else "wrong-baud"
        yield _finding(
            code, Likely.CERTAIN, theirs=str(settings), ours=str(evidence.settings), units=_listed(sorted(units))
        )
    if by_settings or _anybody_understood(evidence):
        return
    errors = evidence.errors
    if errors is not None and errors.parity:
        yield _finding("parity-errors", Likely.LIKELY, parity=errors.parity, ours=str(evidence.settings))
    garbled = evidence.garbled + sum(one.broken for one in evidence.units.values())
    if garbled and not any(one.doubled or one.cut_head for one in evidence.units.values()):
        frame = None if errors is None else errors.frame
        yield _finding("garbled", Likely.LIKELY, garbled=garbled, ours=str(evidence.settings), frame=frame or 0)


def _wrong_address(evidence: Evidence) -> Iterable[Finding]:
    sought = evidence.sought
    if sought is None or _is_there(evidence, sought):
        return
    others = sorted(unit_id for unit_id in _there(evidence) if unit_id != sought)
    if others:
        yield _finding("silent-unit", Likely.LIKELY, unit=sought, others=_listed(others))


def _silent_bus(evidence: Evidence) -> Iterable[Finding]:
    if evidence.searched and not _anybody(evidence) and not evidence.elsewhere and not evidence.idle.octets:
        yield _finding(
            "silent-bus",
            Likely.LIKELY,
            searched=evidence.searched,
            swept=len(evidence.swept),
            ours=str(evidence.settings),
        )


def _healthy(evidence: Evidence) -> Iterable[Finding]:
    there = _there(evidence)
    if there:
        asked = sum(one.asked for one in evidence.units.values())
        yield _finding("healthy", Likely.LIKELY, units=_listed(sorted(there)), asked=asked)
    else:
        yield _finding("nothing-known", Likely.POSSIBLE, octets=evidence.idle.octets, seconds=evidence.idle.seconds)


def _there(evidence: Evidence) -> set[int]:
    return {unit_id for unit_id, one in evidence.units.items() if one.is_there} | set(evidence.late)


def _is_there(evidence: Evidence, unit_id: int) -> bool:
    return unit_id in _there(evidence) or any(unit == unit_id for _, unit in evidence.elsewhere)


def _anybody(evidence: Evidence) -> bool:
    return bool(_there(evidence))


def _anybody_understood(evidence: Evidence) -> bool:
    return any(one.answered for one in evidence.units.values()) or bool(evidence.late)


def _listed(units: Iterable[int]) -> str:
    return ", ".join(map(str, units))


RULES: tuple[Rule, ...] = (
    _other_client,
    _reporting,
    _swapped_at_gateway,
    _echo,
    _shared,
    _wrong_settings,
    _head_cut,
    _noisy,
    _missing_bias,
    _slow,
    _latency,
    _wrong_table,
    _wrong_address,
    _silent_bus,
)

#: a finding is left out where one of these says the same better
_EXPLAINED_BY: dict[str, frozenset[str]] = {
    "missing-bias": frozenset({"swapped-at-gateway", "never-silent", "wrong-baud", "garbled"}),
    "noise-on-line": frozenset({"wrong-baud", "wrong-parity"}),
    "one-unit-damaged": frozenset({"shared-address", "wrong-baud", "wrong-parity"}),
    "garbled": frozenset({"shared-address", "noise-on-line", "other-client", "reports-by-itself"}),
    "silent-bus": frozenset({"swapped-at-gateway", "never-silent", "other-client", "reports-by-itself"}),
    "never-silent": frozenset({"other-client", "reports-by-itself"}),
}
