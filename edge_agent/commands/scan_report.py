"""What a scan found, for a person and for a program."""

from __future__ import annotations

from typing import Any

from drivers.matching import Surely
from edge_agent.commands.output import table
from edge_agent.commands.tool_words import text
from edge_agent.commands.words import Words
from edge_agent.tools.heard import Outcome
from edge_agent.tools.identify import Identified
from edge_agent.tools.match import Fit, shared_addresses
from edge_agent.tools.scan_line import Scan
from edge_agent.tools.scan_plan import UNITS, Settings
from edge_agent.tools.scan_state import Sighting
from edge_agent.tools.stanza import FoundDevice, stanza
from edge_agent.tools.where import ToolLine

#: profiles that are shown for one unit
_MOST_FITS = 3
#: damaged answers among so many are worth a line
_DAMAGED_SHARE = 0.05


def print_report(scan: Scan, line: ToolLine, words: Words) -> None:
    """Prints units, clashes, silence and a stanza on stdout."""
    by_unit = {one.seen.unit_id: one for one in scan.identified}
    seen = sorted((*scan.state.found, *scan.state.only_damaged), key=lambda one: (str(one.settings), one.unit_id))
    if seen:
        heads = [
            text(words, f"head {name}") for name in ("unit", "settings", "answer", "delay", "profile", "surely", "why")
        ]
        rows = [row for one in seen for row in _rows(one, by_unit.get(one.unit_id), words)]
        for row in table(heads, rows, right=frozenset({0, 3})):
            print(row)
    else:
        print(text(words, "nobody", path=line.path))
    if line.polled:
        units = ", ".join(f"{unit_id} ({device})" for unit_id, device in sorted(line.polled.items()))
        print(text(words, "polled", units=units))
    for sentence in clashes(scan, words):
        print(sentence)
    for settings, wait_s in scan.state.waited.items():
        silent = silent_count(scan, settings, line)
        print(text(words, "silence", settings=settings, count=silent, wait=f"{wait_s * 1000:.0f}"))
    if scan.state.left_out:
        print(text(words, "left out", count=len(scan.state.left_out)))
    by_reason: dict[str, list[str]] = {}
    for settings, because in scan.state.refused:
        by_reason.setdefault(because, []).append(str(settings))
    for because, refused in by_reason.items():
        print(text(words, "refused settings", settings=", ".join(refused), because=because))
    if scan.state.found:
        print()
        print("# " + text(words, "stanza"))
        for settings in dict.fromkeys(one.settings for one in scan.state.found):
            print(stanza_of(scan, line, settings, words))


def silent_count(scan: Scan, settings: Settings, line: ToolLine) -> int:
    """Returns how many of the addresses 1 to 247 said nothing with these settings."""
    units = set(UNITS) - set(line.polled)
    return len(
        units - {one.unit_id for one in (*scan.state.found, *scan.state.only_damaged) if one.settings == settings}
    )


def clashes(scan: Scan, words: Words) -> list[str]:
    """Returns one sentence per address that two units seem to share, or that is heard badly."""
    tallies = {one.seen.unit_id: one.repeats for one in scan.identified}
    shared = shared_addresses(tallies)
    found = []
    for unit_id, tally in sorted(tallies.items()):
        facts = {"unit": unit_id, "asked": tally.asked, "good": tally.good, "damaged": tally.damaged}
        if unit_id in shared:
            found.append(text(words, "shared", **facts, doubled=tally.doubled))
        elif tally.damaged > _DAMAGED_SHARE * tally.asked:
            found.append(text(words, "maybe shared", **facts))
    return found


def stanza_of(scan: Scan, line: ToolLine, settings: Settings, words: Words) -> str:
    """Returns the site file's lines for the units that answer with these settings."""
    by_unit = {one.seen.unit_id: one for one in scan.identified}
    devices = []
    for seen in sorted(scan.state.found, key=lambda one: one.unit_id):
        if seen.settings != settings:
            continue
        one = by_unit.get(seen.unit_id)
        best, equals = _best(one)
        if one is None:
            comment = text(words, "not asked")
        elif best is None:
            comment = text(words, "no profile")
        elif len(equals) > 1:
            comment = f"{text(words, f'surely {int(best.surely)}')}: {', '.join(equals[:_MOST_FITS])}"
        else:
            comment = f"{text(words, f'surely {int(best.surely)}')}: {best.profile}: {'; '.join(best.reasons)}"
        # A guess is configured for nobody: it would make readings.  Sisters that fit equally well differ in codes.
        is_sure = best is not None and best.surely >= Surely.LIKELY and len(equals) == 1
        profile = best.profile if best is not None and is_sure else ""
        devices.append(FoundDevice(unit_id=seen.unit_id, profile=profile, comment=comment))
    port = line.port_id if line.port_id and settings == line.settings else None
    return stanza(_stable_name(line.path), settings, devices, port=port)


def _best(one: Identified | None) -> tuple[Fit | None, list[str]]:
    """Returns the surest profile, and all that are as sure."""
    if one is None or not one.fits:
        return None, []
    best = one.fits[0]
    return best, [fit.profile for fit in one.fits if fit.surely == best.surely]


def as_plain(scan: Scan, line: ToolLine) -> dict[str, Any]:
    """Returns the same as plain JSON values."""
    words = Words("en")
    by_unit = {one.seen.unit_id: one for one in scan.identified}
    shared = shared_addresses({one.seen.unit_id: one.repeats for one in scan.identified})
    return {
        "port": line.path or line.port_id,
        "settings": str(line.settings),
        "borrowed": line.is_borrowed,
        "done": scan.state.now is None,
        "polled": sorted(line.polled),
        "units": [_plain(seen, by_unit.get(seen.unit_id), shared) for seen in scan.state.found],
        "damaged": [seen.unit_id for seen in scan.state.only_damaged],
        "left_out": [str(settings) for settings in scan.state.left_out],
        "waited_ms": {str(settings): round(wait_s * 1000) for settings, wait_s in scan.state.waited.items()},
        "stanza": "\n".join(
            stanza_of(scan, line, settings, words)
            for settings in dict.fromkeys(one.settings for one in scan.state.found)
        ),
    }


def _plain(seen: Sighting, one: Identified | None, shared: tuple[int, ...]) -> dict[str, Any]:
    slowest_s = seen.delay_s if one is None else one.slowest_s
    return {
        "unit": seen.unit_id,
        "settings": str(seen.settings),
        "outcome": seen.outcome.value,
        "exception": seen.exception or None,
        "late": seen.is_late,
        "seen_in": seen.seen_in.value,
        "slowest_ms": None if slowest_s is None else round(slowest_s * 1000, 1),
        "shared": seen.unit_id in shared,
        "fits": [
            {"profile": fit.profile, "surely": fit.surely.name.lower(), "because": list(fit.reasons)}
            for fit in (() if one is None else one.fits)
        ],
    }


def _rows(seen: Sighting, one: Identified | None, words: Words) -> list[list[str]]:
    slowest_s = seen.delay_s if one is None else one.slowest_s
    if slowest_s is not None:
        delay = f"{slowest_s * 1000:.0f} ms"
    else:
        delay = text(words, "late") if seen.is_late else "-"
    is_answer = seen.outcome in (Outcome.GOOD, Outcome.EXCEPTION, Outcome.DOUBLED, Outcome.CUT_HEAD, Outcome.DAMAGED)
    answer = text(words, f"answer {seen.outcome}", code=seen.exception) if is_answer else str(seen.outcome)
    head = [str(seen.unit_id), str(seen.settings), answer, delay]
    fits = () if one is None else one.fits[:_MOST_FITS]
    if not fits:
        return [[*head, "-", "-", text(words, "no profile") if one is not None else "-"]]
    rows = []
    for place, fit in enumerate(fits):
        lead = head if place == 0 else ["", "", "", ""]
        rows.append([*lead, fit.profile, text(words, f"surely {int(fit.surely)}"), "; ".join(fit.reasons)])
    return rows


def _stable_name(path: str) -> str:
    """Returns the name of a port that survives re-plugging, where there is one."""
    import os

    from drivers.serial_ports import list_ports

    real = os.path.realpath(path)
    return next((port.name for port in list_ports() if port.path == real), path)
