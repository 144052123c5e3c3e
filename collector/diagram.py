"""Draws the measurement states of an alarm from their tables, so that the document cannot drift from the code.

A tool for the developer: ``python -m collector.diagram`` writes ``docs/alarm-states.md``, ``--check``
fails when that file is behind the tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from collector.measurement import DECISIONS, LATE_US, TABLE, TEST, TRIAL, Decision, Measurement, Reason, Signal, decide

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "alarm-states.md"

_HEAD = """# Measurement states of an alarm at the centre

Drawn from the tables in `collector/measurement.py` by `python -m collector.diagram`; do not edit.

A signal that a state does not show changes nothing there. Only the gateway's word clears: silence of the source, of the
gateway or of the link never does. What people do about an alarm (acknowledging, taking that back) runs beside it and
changes no state here. What the gateway tells, `active`, `latched` or `cleared`, comes from the states of its rules
(rules-states.md).

"""


def draw() -> str:
    """Returns the whole document."""
    return _HEAD + _diagram() + "\n" + _decisions()


def _diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Measurement.ACTIVE}", f"    [*] --> {Measurement.CLEARED}"]
    for state, row in TABLE.items():
        targets: dict[Measurement, list[Signal]] = {}
        for signal, target in row.items():
            targets.setdefault(target, []).append(signal)
        for target, signals in targets.items():
            lines.append(f"    {state} --> {target}: {'<br/>'.join(signals)}")
    return "\n".join([*lines, "```", ""])


def _decisions() -> str:
    lines = [
        "## What the arrival of an alarm asks for",
        "",
        "Decided once, at the end of the transaction that first tells of it; afterwards it may rise and never falls.",
        f"*Late* is a mark and no state: word of it came more than {LATE_US // 1_000_000} s after it was judged, by",
        "the best clock known.",
        "",
        "| State when word of it comes | Late | Asks for | Because |",
        "|---|---|---|---|",
    ]
    for (state, is_late), verdict in DECISIONS.items():
        lines.append(f"| {state} | {'yes' if is_late else 'no'} | {verdict.decision} | {verdict.reason} |")
    unstated = decide(Measurement.ACTIVE, is_late=True, is_unstated=True, is_trial=False)
    tested = decide(Measurement.ACTIVE, is_late=False, is_unstated=False, is_trial=False, is_tested=True)
    trial = decide(Measurement.ACTIVE, is_late=False, is_unstated=False, is_trial=True)
    lines += [
        f"| not cleared, and the gateway has stated all its alarms since without it | | {unstated.decision} "
        f"| {unstated.reason} |",
        f"| any, and it is a test alarm (rule, cause and mark `{TEST}`) | | {tested.decision} | {tested.reason} |",
        f"| any, and its newest event carries the mark `{TRIAL}` | | {trial.decision} | {trial.reason} |",
        f"| held back for trial, and the desk makes it a real warning | | {Decision.PAGE} | {Reason.DESK} |",
    ]
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the document, or says whether it is current; returns the exit status."""
    parser = argparse.ArgumentParser(prog="collector.diagram", description="Draw the measurement states of an alarm.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the document is not current")
    parser.add_argument("--file", type=Path, default=DOCUMENT, help="the document (default: docs/alarm-states.md)")
    options = parser.parse_args(arguments)
    text = draw()
    if not options.check:
        options.file.write_text(text, encoding="utf-8")
        return 0
    if options.file.is_file() and options.file.read_text(encoding="utf-8") == text:
        return 0
    print(f"{options.file.name} is behind the tables; run: python -m collector.diagram", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
