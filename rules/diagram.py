"""Draws the state tables of a limit and of a visit as Mermaid diagrams, so that no document can drift from the code.

A tool for the developer, not part of judging: ``python -m rules.diagram`` writes
``docs/rules-states.md``, ``--check`` fails when that file is behind the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rules.limit import TABLE, Signal
from rules.state import ALARM_OF, Phase
from rules.visiting import TABLE as VISIT_TABLE
from rules.visiting import Stage, Step

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "rules-states.md"

_HEAD = """# States of a limit

Drawn from the tables in `rules/limit.py` and `rules/visiting.py` by `python -m rules.diagram`; do not edit.

A signal that a phase does not show changes nothing there. Bad and missing samples give no
signal at all; an uncertain number only the signals that say "past". What is told to others is
the alarm state: it changes only where an arrow leads to a phase of another alarm state.

Rates, flat lines, faults, trends and pairs (alarms.md) use this table too: there "the limit" is
on the number that is computed, and nothing is out of its range.

"""
_VISIT = """
## Stages of a visit

A bump test or a calibration of one point (visits.md). The point is inhibited until the visit is done.

"""


def draw() -> str:
    """Returns the whole document."""
    return _HEAD + _diagram() + "\n" + _meanings() + _VISIT + _visit_diagram()


def _diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Phase.NORMAL}"]
    for phase, row in TABLE.items():
        targets: dict[Phase, list[Signal]] = {}
        for signal, target in row.items():
            targets.setdefault(target, []).append(signal)
        for target, signals in targets.items():
            # Mermaid ends a label at a semicolon; a break keeps long lists readable
            label = "<br/>".join(signal.value for signal in signals)
            lines.append(f"    {phase} --> {target}: {label}")
    return "\n".join([*lines, "```", ""])


def _visit_diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Stage.ZERO}"]
    for stage, row in VISIT_TABLE.items():
        targets: dict[Stage, list[Step]] = {}
        for step, target in row.items():
            targets.setdefault(target, []).append(step)
        for target, steps in targets.items():
            lines.append(f"    {stage} --> {target}: {'<br/>'.join(step.value for step in steps)}")
    lines.append(f"    {Stage.DONE} --> [*]")
    return "\n".join([*lines, "```", ""])


def _meanings() -> str:
    lines = ["| Phase | Alarm state told to others |", "|---|---|"]
    lines += [f"| {phase} | {ALARM_OF[phase]} |" for phase in Phase]
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the document, or says whether it is current; returns the exit status."""
    parser = argparse.ArgumentParser(prog="rules.diagram", description="Draw the states of a limit from the table.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the document is not current")
    parser.add_argument("--file", type=Path, default=DOCUMENT, help="the document (default: docs/rules-states.md)")
    options = parser.parse_args(arguments)
    text = draw()
    if not options.check:
        options.file.parent.mkdir(parents=True, exist_ok=True)
        options.file.write_text(text, encoding="utf-8")
        return 0
    if options.file.is_file() and options.file.read_text(encoding="utf-8") == text:
        return 0
    print(f"{options.file.name} is behind the table; run: python -m rules.diagram", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
