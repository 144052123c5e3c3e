"""``edge-agent rules``: check rule packs, say what they do, and try them on readings of the past.

Nothing here changes a configuration, and no agent has to run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from edge_agent.commands.output import as_json, cell, table
from edge_agent.commands.words import Words
from edge_agent.data_files import rules_dir
from edge_agent.errors import ConfigError
from edge_agent.old_readings import read_readings
from edge_agent.site_rules import RuleBook
from rules.confirmation import TRIAL
from rules.errors import PackError
from rules.explain import explain
from rules.pack import RulePack, load_pack, point_rules
from rules.pack_limit import PackLimit
from rules.point_state import PointRules
from rules.replay import replay
from rules.state import Transition


def run(options: argparse.Namespace, words: Words) -> int:
    """Runs one action; what is wrong with a file ends as ConfigError with every problem."""
    if options.action == "check":
        return _check(options, words)
    rules, name, left_open = _rules_of(options)
    if options.action == "explain":
        for line in (name, *explain(rules, words.language)):
            print(line)
        for entry in left_open:
            title = entry.zh if words.language == "zh" else entry.en
            print(f"{entry.name} {title}: {words['left to the site']}: {', '.join(entry.left_open)}; {entry.basis}")
        return 0
    return _replay(options, rules, words)


def _check(options: argparse.Namespace, words: Words) -> int:
    problems: list[str] = []
    files = list(_files(options.files or [rules_dir()], problems))
    packs = RuleBook.read_files(files, problems)
    if problems:
        raise ConfigError(problems)
    limits = [limit for pack in packs.packs.values() for limit in pack.limits]
    left_open = [f"{pack.id}/{item.name}" for pack in packs.packs.values() for item in pack.limits if item.left_open]
    print(f"{words['ok']}: {words['rule packs']} {len(packs.packs)}, {words['limits']} {len(limits)}")
    if left_open:
        print(f"{words['left to the site']} ({len(left_open)}): {', '.join(left_open)}")
    return 0


def _files(paths: Iterable[Path], problems: list[str]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.toml"))
        elif path.is_file():
            yield path
        else:
            problems.append(f"{path}: is not there; a rule pack or a directory of them would be right")


def _rules_of(options: argparse.Namespace) -> tuple[PointRules, str, list[PackLimit]]:
    """Rules, title and what is left open of a pack id, a pack file, or the key of a point of the site file."""
    name: str = options.name
    if "/" in name and not Path(name).is_file():
        return (*_rules_of_point(options, name), [])
    pack = _pack(options, name)
    try:
        left_open = [limit for limit in pack.limits if limit.left_open]
        return point_rules(pack), f"{pack.id} {pack.en} / {pack.zh}", left_open
    except PackError as error:
        raise ConfigError(error.problems) from error


def _pack(options: argparse.Namespace, name: str) -> RulePack:
    if Path(name).is_file():
        try:
            return load_pack(Path(name).read_text(encoding="utf-8"), name)
        except (PackError, UnicodeDecodeError) as error:
            raise ConfigError(getattr(error, "problems", (f"{name}: not UTF-8",))) from error
    problems: list[str] = []
    book = RuleBook.read([rules_dir(), *options.dir], problems)
    if problems:
        raise ConfigError(problems)
    if name not in book.packs:
        known = ", ".join(sorted(book.packs))
        raise ConfigError([f"there is no rule pack {name!r}; known are {known}; a point is device/quantity"])
    return book.packs[name]


def _rules_of_point(options: argparse.Namespace, key: str) -> tuple[PointRules, str]:
    # Imported late: compiling is of no use to a pack.
    from edge_agent.compile import compile_site

    plan = compile_site(options.config, allow_overrun=True).plan
    point = next((point for point in plan.points if point.key == key), None)
    if point is None:
        raise ConfigError(
            [f"{options.config}: there is no point {key!r}; there are {', '.join(p.key for p in plan.points)}"]
        )
    return point.rules, f"{point.key} {point.en} / {point.zh}"


def _replay(options: argparse.Namespace, rules: PointRules, words: Words) -> int:
    readings = read_readings(options.readings, options.point or (options.name if "/" in options.name else None))
    done = replay(rules, readings.samples)
    rows = [_record(item, readings.begin_us, rules) for item in done.transitions]
    if options.json:
        print(as_json({"samples": done.samples, "events": rows}))
        return 0
    if rows:
        heads = [words[name] for name in ("seconds", "state", "severity", "rule", "cause", "value", "limit", "marks")]
        for line in table(heads, ([cell(value) for value in row.values()] for row in rows), right=frozenset({0})):
            print(line)
    raised = sum(row["state"] == "active" for row in rows)
    print(f"{words['samples']} {done.samples}, {words['raised']} {raised}")
    if rules.pairs:
        print(words["replay pairs"], file=sys.stderr)
    return 0


def _record(item: Transition, begin_us: int, rules: PointRules) -> dict[str, object]:
    return {
        "seconds": (item.at_us - begin_us) / 1e6,
        "state": item.alarm.value,
        "severity": item.severity.value,
        "rule": item.rule_id,
        "cause": item.cause.value,
        "value": None if item.sample is None else item.sample.value,
        "limit": item.limit,
        "marks": " ".join((*item.marks, *([TRIAL] if rules.is_on_trial(item.rule_id) else []))),
    }
