"""``edge-agent visit`` without a terminal: steps from lines, lines for changes, and how it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import main
from edge_agent.errors import ControlError
from tests.edge_agent.test_visit_screen import VIEW

POINT = "well-1/ch4"


class Agent:
    """What the control socket answers: a visit whose next states the test gives."""

    def __init__(self, *states: dict[str, Any], running: bool = False) -> None:
        self._states = list(states)
        self._running = running
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, path: Path, op: str, **words: Any) -> Any:
        self.asked.append((op, words))
        now = {**VIEW, "revision": len(self.asked), **self._states[0]}
        if op == "visit-state":
            return {"visits": [now] if self._running else []}
        if op == "visit-gas" and now.get("refuse"):
            raise ControlError("a bump test begins from a good value")
        if op in ("visit-watch", "visit-gas", "visit-end") and len(self._states) > 1:
            self._states.pop(0)
        return {**VIEW, "revision": len(self.asked), **self._states[0]}

    def did(self, op: str) -> list[dict[str, Any]]:
        return [words for name, words in self.asked if name == op]


ZERO = {"stage": "zero", "advice": "gas_on", "value": 0.0, "text": "0.0"}
GAS = {"stage": "gas", "advice": "wait_answer", "value": 48.0, "text": "48.0"}
ANSWERED = {**GAS, "stage": "answered", "advice": "gas_off"}
PASSED = {"stage": "done", "advice": "nothing", "result": "passed", "value": 0.1, "text": "0.1"}
FAILED = {**PASSED, "result": "failed", "result_reason": "slow: 41.0 s to 90 %, 30 s allowed"}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A standard input to which the test writes."""
    readable, writable = os.pipe()
    with os.fdopen(readable) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield lambda text: (os.write(writable, text.encode()), os.close(writable))


def visit(monkeypatch: pytest.MonkeyPatch, agent: Agent, *words: str) -> int:
    monkeypatch.setattr("edge_agent.commands.visit.ask", agent)
    return main(["--lang", "en", "visit", *words, "--state-dir", "/nowhere"])


def test_lines_are_steps(monkeypatch: pytest.MonkeyPatch, lines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    agent = Agent(ZERO, GAS, ANSWERED, PASSED)
    lines("\nsomething\n")
    assert visit(monkeypatch, agent, POINT, "--by", "王 工", "--gas", "50", "--deviation", "30", "--note", "b4") == 0
    assert agent.did("visit-begin") == [
        {"point": POINT, "by": "王 工", "job": "bump", "seconds": 900.0, "gas": 50.0, "deviation": 0.3, "note": "b4"}
    ]
    assert agent.did("visit-gas") == [{"point": POINT, "is_on": True}]
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "well-1/ch4 0.0  > open the gas, and press Enter at that moment"
    assert any(line.startswith("! 'something' is no step") for line in told)
    assert told[-2] == "PASSED"


def test_json_is_a_line_for_each_state(
    monkeypatch: pytest.MonkeyPatch, lines: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    lines("on\n")
    assert visit(monkeypatch, Agent({**ZERO, "refuse": True}, FAILED), POINT, "--by", "A", "--gas", "50", "--json") == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[0]["stage"] == "zero"
    assert told[1] == {"refused": "a bump test begins from a good value"}
    assert told[-1]["result"] == "failed"


def test_whoever_comes_back_begins_nothing(
    monkeypatch: pytest.MonkeyPatch, lines: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent({**ANSWERED, "own_alarms": ["well-1/own-alarm/a1"]}, PASSED, running=True)
    lines("off\n")
    assert visit(monkeypatch, agent, POINT, "--by", "王 工") == 0
    assert agent.did("visit-begin") == []
    assert agent.did("visit-gas") == [{"point": POINT, "is_on": False}]
    told = capsys.readouterr().out
    assert "going on with the visit that runs" in told
    assert "NOT inhibited: well-1/own-alarm/a1" in told


@pytest.mark.parametrize(
    ("state", "expected"),
    [({**GAS, "stage": "return"}, "given up; the point is freed"), (PASSED, "PASSED")],
)
def test_giving_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: dict[str, Any], expected: str
) -> None:
    agent = Agent(state)
    assert visit(monkeypatch, agent, POINT, "--by", "A", "--end") == 0
    assert agent.did("visit-end") == [{"point": POINT, "by": "A"}]
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(("words", "expected"), [((), "POINT is needed"), ((POINT,), "--by NAME is needed")])
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    agent = Agent(ZERO)
    assert visit(monkeypatch, agent, *words) == 2
    assert agent.asked == []
    assert expected in capsys.readouterr().err


def test_two_strokes_of_enter_do_not_close_the_gas(monkeypatch: pytest.MonkeyPatch, lines: Any) -> None:
    agent = Agent(ZERO, GAS, ANSWERED, PASSED)
    lines("\n\n")
    assert visit(monkeypatch, agent, POINT, "--by", "A", "--gas", "50") == 0
    assert agent.did("visit-gas") == [{"point": POINT, "is_on": True}]


def test_two_strokes_of_enter_do_not_pass_a_calibration_that_nobody_did(
    monkeypatch: pytest.MonkeyPatch, lines: Any
) -> None:
    before = {"job": "calibration", "stage": "zero", "advice": "begin_work"}
    work = {"job": "calibration", "stage": "gas", "advice": "end_work", "gas_s": 0.2}
    agent = Agent(before, work, {**work, "gas_s": 9.0}, PASSED)
    lines("\n\n")
    assert visit(monkeypatch, agent, POINT, "--by", "A", "--job", "calibration") == 0
    assert agent.did("visit-gas") == [{"point": POINT, "is_on": True}]


def test_enter_ends_the_work_when_it_was_done(monkeypatch: pytest.MonkeyPatch, lines: Any) -> None:
    work = {"job": "calibration", "stage": "gas", "advice": "end_work", "gas_s": 9.0}
    agent = Agent(work, PASSED, running=True)
    lines("\n")
    assert visit(monkeypatch, agent, POINT, "--by", "王 工") == 0
    assert agent.did("visit-gas") == [{"point": POINT, "is_on": False}]
