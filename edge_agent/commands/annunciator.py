"""``edge-agent annunciator status | test | silence``: beacon and sounder in the room, through the running agent."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from edge_agent.commands.annunciator_words import say
from edge_agent.commands.output import as_json, cell, table
from edge_agent.commands.place import state_dir
from edge_agent.commands.words import Words
from edge_agent.control import ask
from edge_agent.errors import StateDirError, ToolError
from edge_agent.journal import seal_journal, write_journal
from edge_agent.proof_tests import FAILED, KIND, PASSED, ProofTests, known_proof_tests
from edge_agent.state_dir import CONTROL

#: beyond the length of a test: a board that does not answer
_ANSWER_S = 15.0


def run(options: argparse.Namespace, words: Words) -> int:
    """Shows, tests or silences; status 1 where a proof test failed."""
    folder = state_dir(options)
    if options.action == "silence":
        ask(folder / CONTROL, "annunciator-silence", by=options.by)
        print(say(words, "silenced"))
        return 0
    if options.action == "test":
        return _test(options, words, folder)
    found = ask(folder / CONTROL, "annunciator")
    today = datetime.now(UTC).date()
    tests = known_proof_tests(folder, today)
    if options.json:
        print(as_json({**found, "proof_test": _record(tests, found["proof_test_days"])}))
        return 0
    for line in _lines(found, words):
        print(line)
    print(_proof(tests, found["proof_test_days"], today, words))
    return 0


def _lines(found: Mapping[str, Any], words: Words) -> Iterator[str]:
    yield f"{say(words, 'shows')}: {say(words, found['shows'])}"
    yield f"{say(words, 'standing')}: {found['standing']}"
    if found["silenced_by"]:
        yield f"{say(words, 'silenced by')}: {found['silenced_by']}"
    if found["is_tested"]:
        yield say(words, "test runs")
    heads = [say(words, name) for name in ("output", "role", "state", "should be", "renewed", "fault")]
    yield from table(heads, (_row(output, words) for output in found["outputs"]))


def _row(output: Mapping[str, Any], words: Words) -> list[str]:
    return [
        output["name"],
        say(words, output["role"]),
        _state(output["is_on"], words),
        _state(output["should_be"], words),
        "-" if output["renewed_s"] is None else f"{output['renewed_s']:.1f} / {output['hold_s']:g} s",
        cell(output["fault"] or None),
    ]


def _state(is_on: bool | None, words: Words) -> str:
    return say(words, "unknown") if is_on is None else say(words, "on" if is_on else "off")


def _proof(tests: ProofTests | None, days: int, today: date, words: Words) -> str:
    if tests is None:
        return say(words, "journal unreadable")
    told = say(words, "never passed") if tests.passed is None else say(words, "passed on", day=tests.passed)
    due = tests.due(days)
    if due is None:
        return told if not days else f"{told}; {say(words, 'due now')}"
    return f"{told}; {say(words, 'overdue since' if due < today else 'due on', day=due)}"


def _record(tests: ProofTests | None, days: int) -> dict[str, Any] | None:
    if tests is None:
        return None
    due = tests.due(days)
    return {
        "passed": None if tests.passed is None else tests.passed.isoformat(),
        "last": None if tests.last is None else tests.last.isoformat(),
        "result": tests.result or None,
        "due": None if due is None else due.isoformat(),
    }


def _test(options: argparse.Namespace, words: Words, folder: Path) -> int:
    if options.seen is None and not sys.stdin.isatty():
        raise ToolError(say(words, "nobody to ask"))
    found = ask(
        folder / CONTROL,
        "annunciator-test",
        by=options.by,
        seconds=options.seconds,
        timeout_s=options.seconds + _ANSWER_S,
    )
    outputs = found["outputs"]
    for output in outputs:
        fault = f" ({output['fault']})" if output["fault"] and output["is_on"] is not True else ""
        print(f"{output['name']} {say(words, output['role'])}: {_state(output['is_on'], words)}{fault}")
    is_seen = _is_seen(options, words)
    is_read_back = all(output["is_on"] is True for output in outputs)
    result = PASSED if is_seen and is_read_back else FAILED
    text = f"{result}: {'seen and heard' if is_seen else 'not seen or not heard'} by {options.by}; " + ", ".join(
        f"{output['name']} ({output['role']}) reads back {'on' if output['is_on'] else 'not on'}" for output in outputs
    )
    seal_journal(folder, KIND, text)
    try:
        write_journal(folder, KIND, text)
    except StateDirError as error:
        # The agent has sealed it; only the due date is counted from the file.
        print(f"{words['warning']}: {error}", file=sys.stderr)
    print(say(words, result))
    return 0 if result == PASSED else 1


def _is_seen(options: argparse.Namespace, words: Words) -> bool:
    if options.seen is not None:
        return bool(options.seen == "yes")
    try:
        return input(f"{say(words, 'seen and heard')} [y/N] ").strip().casefold() in ("y", "yes", "是")
    except EOFError:
        return False
