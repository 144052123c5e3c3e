"""What is to be visited: from states, readings and alarms to rows by street, gravest first; and as a person sees it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import main
from edge_agent.commands import visit_list
from edge_agent.commands.words import Words
from edge_agent.errors import ConfigError
from edge_agent.tools.visit_rows import VisitRow, due_finding, visit_rows
from tests.edge_agent.site_files import write_site
from tests.edge_agent.test_cli import agent

Capture = pytest.CaptureFixture[str]
TODAY = "2026-11-22"


def reading(point: str, quality: str = "good", reason: str = "ok", **more: Any) -> dict[str, Any]:
    device, _, quantity = point.partition("/")
    return {
        "point": point,
        "en": f"{device} in en · {quantity}",
        "zh": f"{device}号 · {quantity}",
        "quantity": quantity,
        "quality": quality,
        "reason": reason,
        "reason_en": reason,
        "reason_zh": reason,
        "unit": "%{LEL}",
        "unit_en": "%LEL",
        "unit_zh": "%LEL",
        "value": 1.0 if quality in ("good", "uncertain") else None,
        "text": "1.0" if quality in ("good", "uncertain") else "",
        "age_s": 2.0,
        **more,
    }


def job(state: str, due: str = "2027-01-01", *, name: str = "calibration", last: str = "2026-01-01") -> dict[str, Any]:
    return {"job": name, "state": state, "due": due, "last": last, "days": 180}


def upkeep(*points: dict[str, Any], today: str = TODAY) -> dict[str, Any]:
    return {"today": today, "points": list(points)}


def said(point: str, *jobs: dict[str, Any], street: str = "", **more: Any) -> dict[str, Any]:
    found = {"point": point, "street": street, "jobs": list(jobs), "failed": [], "is_commissioned": True}
    return {**found, **more}


def silence(point: str) -> dict[str, Any]:
    return {"point": point, "rule_id": "silence.v1", "cause": "silence", "age_s": 720.0}


def told(rows: list[VisitRow]) -> list[tuple[str, str, str]]:
    return [(row.street, row.point or row.device, row.errand.finding.value) for row in rows]


def test_a_gateway_where_all_is_well_sends_nobody() -> None:
    assert visit_rows(upkeep(said("a/ch4", job("current"))), [reading("a/ch4")], [], {}) == []


def test_one_lost_reply_takes_nobody_out_and_silence_does() -> None:
    lost = reading("a/ch4", "missing", "no_reply")
    both = [lost, reading("a/o2")]
    assert visit_rows(upkeep(), [lost], [], {}) == []
    assert told(visit_rows(upkeep(), both, [silence("a/ch4")], {})) == [("", "a/ch4", "point_silent")]


def test_a_silent_device_is_one_row_with_its_cause() -> None:
    lost = [reading("a/ch4", "missing", "port_closed"), reading("a/o2", "missing", "port_closed")]
    (row,) = visit_rows(upkeep(said("a/ch4", street="East")), lost, [silence("a/ch4"), silence("a/o2")], {})
    assert (row.point, row.device, row.street, row.en) == ("", "a", "East", "a in en")
    assert row.errand.finding.value == "device_silent"
    assert "adapter" in row.errand.cause[0]
    assert row.lost_s == 720.0
    (row,) = visit_rows(upkeep(), lost, [silence("a/o2")], {})
    assert (row.point, row.errand.finding.value) == ("", "device_silent"), "the first that is missed speaks for all"


def test_a_bad_reading_that_lasts_is_a_fault_and_another_unit_is_told_at_once() -> None:
    bad = reading("a/ch4", "bad", "fault")
    assert visit_rows(upkeep(), [bad], [], {}) == []
    assert told(visit_rows(upkeep(), [bad], [silence("a/ch4")], {})) == [("", "a/ch4", "sensor_fault")]
    other = reading("a/ch4", "bad", "other_device")
    assert told(visit_rows(upkeep(), [other], [], {})) == [("", "a", "identity_changed")]


def test_what_else_calls_for_a_visit() -> None:
    found = visit_rows(
        upkeep(
            said("a/ch4", job("overdue", "2026-09-01"), job("due", "2026-11-01", name="bump"), failed=["bump"]),
            said("b/ch4", job("never", "2026-12-20", last=""), is_commissioned=False),
            said("c/ch4", job("current", "2026-12-22")),
        ),
        [reading("a/ch4", "uncertain", "calibration_overdue"), reading("b/ch4"), reading("c/ch4")],
        [{"point": "a/ch4", "rule_id": "gas.v1/L2", "cause": "over_range"}],
        {},
    )
    assert told(found) == [
        ("", "a/ch4", "over_range_latched"),
        ("", "a/ch4", "bump_failed"),
        ("", "a/ch4", "calibration_overdue"),
        ("", "c/ch4", "calibration_due"),
        ("", "a/ch4", "bump_due"),
        ("", "b/ch4", "never_calibrated"),
        ("", "b/ch4", "never_commissioned"),
    ]


@pytest.mark.parametrize(
    ("what", "today", "expected"),
    [
        (job("current", "2026-12-22"), TODAY, "calibration_due"),
        (job("current", "2026-12-23"), TODAY, None),
        (job("never", "2026-12-22", last=""), TODAY, "never_calibrated"),
        (job("never", "", last=""), TODAY, None),
        (job("current", "2020-01-01"), "", None),
        (job("overdue", "2020-01-01"), "", "calibration_overdue"),
        (job("due", "2020-01-01", name="bump"), "", "bump_due"),
    ],
)
def test_what_is_due(what: dict[str, Any], today: str, expected: str | None) -> None:
    found = due_finding(what, today)
    assert (None if found is None else found.value) == expected


def test_the_street_with_the_gravest_errand_comes_first() -> None:
    found = visit_rows(
        upkeep(
            said("a/ch4", job("due"), street="A street"),
            said("b/ch4", job("due"), street="B street"),
            said("c/ch4", job("overdue"), street="B street"),
        ),
        [reading("a/ch4"), reading("b/ch4"), reading("c/ch4")],
        [],
        {},
    )
    assert [row.street for row in found] == ["B street", "B street", "A street"]


# -- as a person sees it -----------------------------------------------------------------


def _options(folder: Path, **more: Any) -> argparse.Namespace:
    site = write_site(folder)
    known = {"config": site, "state_dir": folder / "state", "json": False, "street": None, "all": False}
    return argparse.Namespace(**{**known, **more})


_ANSWERS: dict[str, Any] = {
    "upkeep": lambda request: upkeep(said("a/ch4", job("overdue", "2026-09-01"), street="East Street"), today=""),
    "latest": lambda request: {"readings": [reading("a/ch4", "uncertain", "calibration_overdue")]},
    "alarms": lambda request: {"alarms": []},
    "status": lambda request: {"subjects": {}},
}


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        ("en", ["== East Street ==", "calibration overdue, due 2026-09-01", "bring: span gas: methane;", "OVERDUE"]),
        ("zh", ["校准逾期, 到期日 2026-09-01", "携带: 标准气：甲烷、", "逾期", "时钟未校准"]),
    ],
)
def test_the_list_says_where_why_and_what_to_bring(
    tmp_path: Path, capsys: Capture, language: str, lines: list[str]
) -> None:
    with agent(tmp_path / "state", _ANSWERS):
        assert visit_list.run(_options(tmp_path, all=True), Words(language)) == 0
        said_ = capsys.readouterr().out
        for line in lines:
            assert line in said_
        with pytest.raises(ConfigError, match=r"West Street.*East Street"):
            visit_list.run(_options(tmp_path, street="West Street"), Words(language))


def test_a_street_where_nothing_is_to_be_done_says_so(tmp_path: Path, capsys: Capture) -> None:
    calm = {**_ANSWERS, "upkeep": lambda request: upkeep(said("a/ch4", street="East Street"))}
    with agent(tmp_path / "state", calm):
        assert visit_list.run(_options(tmp_path, street="East Street"), Words("en")) == 0
    assert capsys.readouterr().out == "nothing to visit in East Street\n"


def test_the_list_for_programs(tmp_path: Path, capsys: Capture) -> None:
    with agent(tmp_path / "state", _ANSWERS):
        visit_list.run(_options(tmp_path, json=True, all=True), Words("en"))
    found = json.loads(capsys.readouterr().out)
    assert found["today"] is None
    assert [item["finding"] for item in found["visits"]] == ["calibration_overdue"]
    assert found["watched"][0]["state"] == "overdue"


# -- commissioning -----------------------------------------------------------------------


def _commission(
    folder: Path, *, seen_s: float | None = 0.81, device: dict[str, Any] | None = None, **answer: Any
) -> dict[str, Any]:
    result = {"point": "a/ch4", "seen_s": seen_s, "refused": "", "serial": "104233"}
    told_ = {"results": [result], "wait_s": 10.0, "link": "up", "link_down_s": None, "is_kept": True, **answer}
    subjects = {"device/a": device or {}}
    return {
        "latest": lambda request: {"readings": [reading("a/ch4")]},
        "status": lambda request: {"subjects": subjects},
        "test-alarm": lambda request: told_,
    }


@pytest.mark.parametrize(
    ("language", "answers", "status", "lines"),
    [
        ("en", {}, 0, ["1.0 %LEL, good", "seen at the centre after 0.8 s", "visit a/ch4 --by", "1 of 1 points"]),
        ("zh", {}, 0, ["测试报警已到达中心，用时 0.8 秒", "1 个测点中 1 个合格"]),
        (
            "en",
            {"seen_s": None, "link": "down", "link_down_s": 720.0},
            1,
            ["not seen at the centre within 10 s: link down for 12 min; kept, will be sent", "0 of 1 points"],
        ),
        ("zh", {"seen_s": None, "link": "none"}, 1, ["未到达中心: 未配置中心\n"]),
        ("en", {"seen_s": None, "is_kept": False}, 1, ["link up, no receipt yet; kept in memory only"]),
        (
            "en",
            {"device": {"identity": "other", "serial_declared": "104233", "serial_read": "9"}},
            1,
            ["ANOTHER UNIT: it says 9; accept it with: edge-agent replace a"],
        ),
        (
            "en",
            {"device": {"identity": "same", "serial_declared": "104233", "serial_read": "104233"}},
            0,
            ["serial number 104233, as the unit says"],
        ),
    ],
)
def test_commissioning_says_what_came_back(
    tmp_path: Path, capsys: Capture, language: str, answers: dict[str, Any], status: int, lines: list[str]
) -> None:
    site = write_site(tmp_path)
    with agent(tmp_path / "state", _commission(tmp_path, **answers)):
        assert main(["--lang", language, "commission", "a/ch4", "--by", "Li Wei", "--config", str(site)]) == status
        shown = capsys.readouterr().out
        for line in lines:
            assert line in shown
        assert main(["commission", "--by", "Li Wei", "--json", "--config", str(site)]) == status
        assert json.loads(capsys.readouterr().out)["points"][0]["is_ready"] is (status == 0)


def test_a_point_that_is_not_there_is_named(tmp_path: Path, capsys: Capture) -> None:
    site = write_site(tmp_path)
    with agent(tmp_path / "state", _commission(tmp_path)):
        assert main(["commission", "x/y", "--by", "Li Wei", "--config", str(site)]) == 2
    assert "there is no point 'x/y'; there are a/ch4" in capsys.readouterr().err
