"""``edge-agent annunciator``: what a person reads, what is recorded, and when the next proof test is due."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from edge_agent import cli
from edge_agent.annunciator_ops import annunciator_operations
from edge_agent.commands import annunciator
from edge_agent.errors import ControlError
from edge_agent.proof_tests import read_proof_tests

STATUS: dict[str, Any] = {
    "shows": "silenced",
    "standing": 2,
    "silenced_by": "Li Wei",
    "is_tested": True,
    "proof_test_days": 180,
    "outputs": [
        {
            "name": "relay-1/relay-1",
            "role": "beacon",
            "is_on": True,
            "should_be": True,
            "renewed_s": None,
            "hold_s": None,
            "fault": "",
        },
        {
            "name": "relay-1/relay-8",
            "role": "alive",
            "is_on": None,
            "should_be": True,
            "renewed_s": 2.5,
            "hold_s": 30.0,
            "fault": "no reply",
        },
    ],
}


class Agent:
    """What the running agent answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.is_on: bool | None = True

    def ask(self, path: Path, op: str, *, timeout_s: float = 10.0, **arguments: Any) -> Any:
        self.asked.append((op, arguments))
        if op == "annunciator":
            return STATUS
        if op == "annunciator-test":
            output = {"name": "relay-1/relay-1", "role": "beacon", "is_on": self.is_on, "fault": "no reply"}
            return {"outputs": [output], "milliseconds": 50, "seconds": arguments["seconds"]}
        return {}


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Agent:
    made = Agent()
    monkeypatch.setattr(annunciator, "ask", made.ask)
    monkeypatch.setattr(
        annunciator, "seal_journal", lambda folder, kind, text: made.asked.append((kind, {"text": text}))
    )
    return made


def command(folder: Path, *words: str, lang: str = "en") -> int:
    return cli.main(["--lang", lang, "annunciator", *words, "--state-dir", str(folder)])


def test_status_says_what_stands_and_what_is_wrong(
    agent: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "status") == 0
    text = capsys.readouterr().out
    for word in ("silenced", "Li Wei", "a proof test runs", "2.5 / 30 s", "no reply", "no proof test has passed yet"):
        assert word in text
    assert command(tmp_path, "status", lang="zh") == 0
    assert "已消音" in capsys.readouterr().out
    assert command(tmp_path, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["proof_test"] == {
        "passed": None,
        "last": None,
        "result": None,
        "due": None,
    }


def test_a_proof_test_is_recorded_with_what_was_seen_and_read_back(
    agent: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "test", "--by", "Li Wei", "--seen", "yes") == 0
    assert agent.asked[0] == ("annunciator-test", {"by": "Li Wei", "seconds": 5.0})
    sealed = agent.asked[1]
    assert sealed == (
        "proof-test",
        {"text": "passed: seen and heard by Li Wei; relay-1/relay-1 (beacon) reads back on"},
    )
    passed = read_proof_tests(tmp_path).passed
    assert passed is not None
    assert command(tmp_path, "status") == 0
    assert "the next is due on" in capsys.readouterr().out


@pytest.mark.parametrize(("seen", "is_on"), [("no", True), ("yes", False), ("yes", None)])
def test_it_passes_only_where_person_and_board_agree(
    agent: Agent, tmp_path: Path, seen: str, is_on: bool | None
) -> None:
    agent.is_on = is_on
    assert command(tmp_path, "test", "--by", "Li Wei", "--seen", seen) == 1
    found = read_proof_tests(tmp_path)
    assert (found.passed, found.result) == (None, "failed")


def test_nobody_to_ask_records_nothing(agent: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, "test", "--by", "Li Wei") == 1
    assert "--seen" in capsys.readouterr().err
    assert agent.asked == []


def test_silence_is_in_a_persons_name(agent: Agent, tmp_path: Path) -> None:
    assert command(tmp_path, "silence", "--by", "Li Wei") == 0
    assert agent.asked == [("annunciator-silence", {"by": "Li Wei"})]


def test_a_gateway_without_one_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: Any, **more: Any) -> Any:
        raise ControlError("this gateway drives no annunciator")

    monkeypatch.setattr(annunciator, "ask", refuse)
    assert command(tmp_path, "status") == 1


def test_the_journal_tells_when_the_next_is_due(tmp_path: Path) -> None:
    lines = [
        {"at": "2026-01-05T08:00:00Z", "kind": "proof-test", "text": "passed: seen and heard by Li Wei"},
        {"at": "2026-02-05T08:00:00Z", "kind": "written", "text": "passed: no proof test"},
        {"at": "2026-03-05T08:00:00Z", "kind": "proof-test", "text": "failed: not seen by Li Wei"},
        {"at": "yesterday", "kind": "proof-test", "text": "passed: by nobody"},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"at": "2026-0'
    (tmp_path / "journal.jsonl").write_text(text, encoding="utf-8")
    found = read_proof_tests(tmp_path)
    assert (found.passed, found.last, found.result) == (date(2026, 1, 5), date(2026, 3, 5), "failed")
    assert found.due(180) == date(2026, 7, 4)
    assert found.due(0) is None


def test_a_proof_test_that_a_wrong_clock_put_years_ahead_is_not_good_for_years(tmp_path: Path) -> None:
    lines = [
        {"at": "2026-01-05T08:00:00Z", "kind": "proof-test", "text": "passed: seen and heard by Li Wei"},
        {"at": "2090-01-05T08:00:00Z", "kind": "proof-test", "text": "passed: seen and heard by Li Wei"},
    ]
    (tmp_path / "journal.jsonl").write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    assert read_proof_tests(tmp_path, date(2026, 11, 22)).due(180) == date(2026, 7, 4)
    assert read_proof_tests(tmp_path, date(2090, 1, 4)).passed == date(2090, 1, 5)


class Without:
    """An agent whose plan has no annunciator."""

    annunciator = None


async def test_operations_of_a_gateway_without_one_say_what_would_name_one() -> None:
    for name, handler in annunciator_operations(Without()).items():
        with pytest.raises(ControlError, match=r"\[annunciator\] in the site file"):
            await handler({"op": name, "by": "Li Wei", "seconds": 5})


@pytest.mark.parametrize("seconds", [None, 0, 0.5, 121, True, "5"])
async def test_a_test_has_a_length(seconds: Any) -> None:
    with pytest.raises(ControlError, match="1 to 120"):
        await annunciator_operations(Without())["annunciator-test"]({"by": "Li Wei", "seconds": seconds})
