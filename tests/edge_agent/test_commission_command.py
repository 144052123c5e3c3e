"""``edge-agent commission``: what is asked of the agent, and what is said where nobody answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import main

POINTS = [f"d1/level/{number}" for number in range(120)]


class Agent:
    """Answers of the control socket; test alarms from the ``deaf_from``-th request on are not seen."""

    def __init__(self, *, deaf_from: int = 99, over_range: bool = False, quantity: str = "level") -> None:
        self.deaf_from, self.over_range, self.quantity = deaf_from, over_range, quantity
        self.asked: list[list[str]] = []

    def __call__(self, path: Path, op: str, **words: Any) -> Any:
        if op == "latest":
            beyond = {"quality": "uncertain", "reason": "over_range", "value": None, "text": ""}
            more = {"quantity": self.quantity, **(beyond if self.over_range else {})}
            return {"readings": [{**_reading(point), **more} for point in POINTS]}
        if op == "status":
            return {"subjects": {}}
        self.asked.append(words["points"])
        seen_s = 0.8 if len(self.asked) < self.deaf_from else None
        results = [{"point": point, "seen_s": seen_s, "refused": "", "serial": "7"} for point in words["points"]]
        return {"results": results, "wait_s": words["wait_s"], "link": "down", "link_down_s": 4.0, "is_kept": True}


def _reading(point: str) -> dict[str, Any]:
    names = {"en": "Level", "zh": "液位", "unit_en": "m", "unit_zh": "米", "reason_en": "", "reason_zh": ""}
    value = {"quantity": "level", "quality": "good", "reason": "", "text": "1.0", "value": 1.0, "unit": "m"}
    return {"point": point, "age_s": 1.0, **names, **value}


def _commission(monkeypatch: pytest.MonkeyPatch, agent: Agent, *words: str) -> int:
    monkeypatch.setattr("edge_agent.commands.commission.ask", agent)
    return main([*words, "commission", "--by", "Li Wei", "--state-dir", "/nowhere"])


def test_many_points_go_in_groups_so_that_no_real_alarm_waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent()
    assert _commission(monkeypatch, agent) == 0
    assert [len(group) for group in agent.asked] == [50, 50, 20]
    assert [point for group in agent.asked for point in group] == POINTS


@pytest.mark.parametrize(("language", "sentence"), [("en", "TEST alarm not sent"), ("zh", "测试报警未发送")])
def test_the_first_group_that_is_not_seen_is_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], language: str, sentence: str
) -> None:
    agent = Agent(deaf_from=2)
    assert _commission(monkeypatch, agent, "--lang", language) == 1
    assert [len(group) for group in agent.asked] == [50, 50]
    told = capsys.readouterr().out
    assert told.count(sentence) == 20
    assert told.count("no serial number is declared") == 0


def test_json_has_every_point(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("edge_agent.commands.commission.ask", Agent(deaf_from=1))
    assert main(["commission", "--by", "A", "--json", "--state-dir", "/nowhere"]) == 1
    points = json.loads(capsys.readouterr().out)["points"]
    assert [item["point"] for item in points] == POINTS
    assert [item["refused"] for item in points] == [None] * 50 + ["not tried"] * 70
    assert not any(item["is_ready"] for item in points)


def test_a_point_without_a_number_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _commission(monkeypatch, Agent(over_range=True), "--lang", "en") == 1
    assert "0 of 120 points are ready" in capsys.readouterr().out


@pytest.mark.parametrize(("status", "words", "ready"), [(0, "bump test passed", 1), (1, "bump test NOT passed", 0)])
def test_with_gas_each_point_has_its_bump_test_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int, words: str, ready: int
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("edge_agent.commands.visit.run", lambda options, words: asked.append(options) or status)
    chosen = POINTS[0]
    command = ["--lang", "en", "commission", chosen, "--by", "Li Wei", "--gas", "50", "--state-dir", "/nowhere"]
    agent = Agent(quantity="ch4")
    monkeypatch.setattr("edge_agent.commands.commission.ask", agent)
    assert main(command) == 1 - ready
    (options,) = asked
    assert (options.point, options.job, options.gas, options.by) == (chosen, "bump", 50.0, "Li Wei")
    told = capsys.readouterr().out
    assert words in told
    assert f"{ready} of 1 points" in told
    assert agent.asked == [[chosen]], "the test alarm goes out all the same"


def test_who_leaves_a_bump_test_has_commissioned_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(quantity="ch4")
    monkeypatch.setattr("edge_agent.commands.commission.ask", agent)
    monkeypatch.setattr("edge_agent.commands.visit.run", lambda options, words: 130)
    assert main(["commission", POINTS[0], "--by", "A", "--gas", "50", "--state-dir", "/nowhere"]) == 130
    assert agent.asked == []


@pytest.mark.parametrize(
    ("more", "quantity", "names"),
    [([POINTS[0]], "level", "d1/level/0"), ([], "ch4", "--gas"), ([POINTS[0], "--json"], "ch4", "--json")],
)
def test_gas_for_what_has_no_person_or_no_gas_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str], quantity: str, names: str
) -> None:
    monkeypatch.setattr("edge_agent.commands.commission.ask", Agent(quantity=quantity))
    assert main(["commission", *more, "--by", "A", "--gas", "50", "--state-dir", "/nowhere"]) != 0
    assert names in capsys.readouterr().err
