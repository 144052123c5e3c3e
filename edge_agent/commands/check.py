"""``edge-agent check FILE``: compile without running; every error at once."""

from __future__ import annotations

import argparse
import sys

from edge_agent.commands.words import Words
from edge_agent.compile import compile_site, line_shares
from edge_agent.plan import Plan


def run(options: argparse.Namespace, words: Words) -> int:
    """Prints warnings to stderr and a summary; problems end as ConfigError."""
    compiled = compile_site(options.file, allow_overrun=options.allow_overrun)
    for line in compiled.warnings:
        print(f"{words['warning']}: {line}", file=sys.stderr)
    print(f"{words['ok']}: {_summary(compiled.plan, words)}")
    for port, share in line_shares(compiled.plan):
        print(f"  {port.id} ({port.where}, {port.baud}): {share:.1%} {words['line']}")
    for port in compiled.plan.ports:
        if port.listen_only:
            print(f"  {port.id} ({port.where}, {port.baud}): {words['listened to']}")
    return 0


def _summary(plan: Plan, words: Words) -> str:
    counts = {
        "ports": len(plan.ports),
        "devices": len(plan.devices),
        "points": len(plan.points),
        "reads": len(plan.blocks),
        "limits": sum(len(point.rules.limits) for point in plan.points),
    }
    return (
        ", ".join(f"{words[name]} {count}" for name, count in counts.items())
        + f"; {words['plan']} {plan.hash.hex()[:12]}"
    )
