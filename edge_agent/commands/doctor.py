"""``edge-agent doctor``: what is likely wrong with a serial line, in plain words and with its evidence."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from edge_agent.commands.output import as_json
from edge_agent.commands.tool_words import text
from edge_agent.commands.words import Words
from edge_agent.tools.diagnose import Finding, diagnose
from edge_agent.tools.doctor_line import Examination, examine
from edge_agent.tools.evidence import Evidence
from edge_agent.tools.finding_words import LIKELY, sentences
from edge_agent.tools.profiles_at_hand import candidates
from edge_agent.tools.scan_plan import other_settings
from edge_agent.tools.where import ToolLine, line_of, named

#: worth knowing, and no fault
_NO_FAULTS = frozenset({"healthy", "answers-slowly", "adapter-latency", "echo"})


def run(options: argparse.Namespace, words: Words) -> int:
    """Prints the findings, most likely first; status 1 where one of them is a fault."""
    line = line_of(named(options), options)
    if line.is_borrowed:
        print(text(words, "borrowed", port=line.port_id), file=sys.stderr)
    evidence = asyncio.run(_examine(line, options, words))
    findings = diagnose(evidence)
    if options.json:
        print(as_json({"settings": str(evidence.settings), "findings": [_json(one) for one in findings]}))
    else:
        for number, finding in enumerate(findings, 1):
            title, seen, do = sentences(finding, words.language)
            print(f"{number}. {title} ({_likely(finding, words)})")
            print(f"   {text(words, 'seen')}: {seen}")
            print(f"   {text(words, 'do')}: {do}")
    return 0 if all(finding.code in _NO_FAULTS for finding in findings) else 1


async def _examine(line: ToolLine, options: argparse.Namespace, words: Words) -> Evidence:
    known = [one.known() for one in candidates()]
    factory = sorted({device.unit_id for device in known if device.unit_id is not None})
    what = Examination(sought=options.unit, factory=factory, others=other_settings(known, line.settings))
    told: set[str] = set()

    def tell(step: str, seconds: float) -> None:
        if step not in told:
            told.add(step)
            print(text(words, f"step {step}"), file=sys.stderr)

    try:
        return await examine(line, line, what, tell)
    finally:
        await line.close()


def _likely(finding: Finding, words: Words) -> str:
    return LIKELY[finding.likely][1 if words.language == "zh" else 0]


def _json(finding: Finding) -> dict[str, Any]:
    told = {}
    for language in ("en", "zh"):
        title, seen, do = sentences(finding, language)
        told[language] = {"title": title, "seen": seen, "do": do}
    return {"code": finding.code, "likely": finding.likely.name.lower(), "facts": dict(finding.facts), **told}
