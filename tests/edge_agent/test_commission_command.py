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

    def __init__(self, *, deaf_from: int = 99, over_range: bool = False) -> None:
        self.deaf_from, self.over_range = deaf_from, over_range
        self.asked: list[list[str]] = []

    def __call__(self, path: Path, op: str, **words: Any) -> Any:
        if op == "latest":
            beyond = {"quality": "uncertain", "reason": "over_range", "value": None, "text": ""}
            return {"readings": [{**_reading(point), **(beyond if self.over_range else {})} for point in POINTS]}
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
