"""``edge-agent budget FILE``: how late every alarm can be in the worst case, and what a site costs card and link."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from edge_agent.bus.budget import AlarmBound, PortBudget, Term, plan_budgets, unmet
from edge_agent.commands.output import as_json, table
from edge_agent.commands.words import Words
from edge_agent.compile import compile_site
from edge_agent.estimate import Estimate, estimate
from edge_agent.plan import Plan


def run(options: argparse.Namespace, words: Words) -> int:
    """Prints a table per port; exit status 1 where an alarm point can miss its deadline and that was not allowed."""
    # Always shown, also what `check` refuses: the table is how one finds out what to change.
    compiled = compile_site(options.file, allow_overrun=True)
    budgets, cost = plan_budgets(compiled.plan), estimate(compiled.plan)
    late = unmet(budgets)
    if options.json:
        print(as_json(_record(compiled.plan, budgets, cost)))
    else:
        for line in _lines(compiled.plan, budgets, cost, words):
            print(line)
    is_allowed = options.allow_overrun or compiled.allow_overrun
    if late and not options.json:
        what = words["warning"] if is_allowed else words["refused"]
        print(f"{what}: {words['deadlines can be missed']}: {len(late)}", file=sys.stderr)
    return 1 if late and not is_allowed else 0


def term_words(term: Term, words: Words) -> str:
    """Returns a part of a bound as a person reads it."""
    count = f" ({term.count} x)" if term.count > 1 else ""
    device = f", {term.device}" if term.device and term.name in ("under way", "probe", "ordinary") else ""
    return f"{words[f'term {term.name}']}{count}{device}: {_s(term.seconds)}"


def _lines(plan: Plan, budgets: list[PortBudget], cost: Estimate, words: Words) -> Iterator[str]:
    for budget in budgets:
        share = "-" if budget.share is None else f"{budget.share:.1%}"
        yield f"{budget.port}: {words['bus load']} {share}; {words['longest cycle']} {_s(budget.cycle_s)}"
        heads = ["alarm point", "latest", "deadline", "after a lost reply", "most of it"]
        rows = [_row(plan, alarm, words) for alarm in budget.alarms]
        if rows:
            lines = table([words[head] for head in heads], rows, right=frozenset({1, 2, 3}))
            yield from (f"  {line}" for line in lines)
        else:
            yield f"  {words['no alarm points']}"
        for board in budget.outputs:
            slot = f"{board.device}: {board.outputs} {words['outputs slot']} {_s(board.slot_s)}"
            yield f"  {words['outputs cost']} {slot}; {board.quiet_share:.1%} {words['outputs share']}"
        yield ""
    yield words["budget meaning"]
    yield ""
    yield f"{words['estimate']} ({cost.readings_per_s:.4g} {words['readings']}/s):"
    yield f"  {words['card']}: {_range(cost.card_mb_day)} MB"
    if cost.up_mb_month is None or cost.down_mb_month is None:
        yield f"  {words['no uplink']}"
    else:
        yield f"  {words['sent']}: {_range(cost.up_mb_month)} MB; {words['received']}: {cost.down_mb_month:.0f} MB"


def _row(plan: Plan, alarm: AlarmBound, words: Words) -> list[str]:
    mark = "" if alarm.is_met else " !"
    return [
        ", ".join(_points(plan, alarm)),
        _s(alarm.bound_s) + mark,
        _s(alarm.deadline_s),
        _s(alarm.after_loss_s),
        term_words(alarm.dominating, words),
    ]


def _points(plan: Plan, alarm: AlarmBound) -> list[str]:
    """Keys of the block's points with limits."""
    numbers = plan.blocks[alarm.block].points
    return [plan.points[number].key for number in numbers if plan.points[number].rules.limits]


def _record(plan: Plan, budgets: list[PortBudget], cost: Estimate) -> dict[str, Any]:
    return {
        "ports": [
            {
                "port": budget.port,
                "bus_load": budget.share,
                "longest_cycle_s": budget.cycle_s,
                "outputs": [asdict(board) for board in budget.outputs],
                "alarms": [
                    {
                        "points": _points(plan, alarm),
                        "is_met": alarm.is_met,
                        **{key: value for key, value in asdict(alarm).items() if key != "block"},
                        "dominating": alarm.dominating.name,
                    }
                    for alarm in budget.alarms
                ],
            }
            for budget in budgets
        ],
        "estimate": asdict(cost),
    }


def _s(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"


def _range(ends: tuple[float, float]) -> str:
    low, high = (f"{end:.0f}" for end in ends)
    return low if low == high else f"{low}-{high}"
