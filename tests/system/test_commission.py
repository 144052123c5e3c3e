"""Commissioning from a gateway to the centre and back: seen, not seen and said so, killed in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.quality import CALIBRATION_OVERDUE, GOOD
from edge_agent.control import ask
from edge_agent.state_dir import CONTROL
from edge_agent.upkeep_file import JobRecord, Ledger, PointRecord, write_ledger
from tests.system.rig import POINT, ROOT, Rig, until

pytestmark = pytest.mark.ci


@contextmanager
def _started(folder: Path) -> Iterator[Rig]:
    rig = Rig(folder)
    text = rig.site.read_text().replace(
        'profile = "honeywell-xnx"',
        'profile = "honeywell-xnx"\nstreet = "东街"\nbump_days = 90\ncalibration_days = 180',
    )
    rig.site.write_text(text)
    try:
        rig.start()
        yield rig
    finally:
        rig.stop()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with _started(tmp_path) as started:
        yield started


def _words(rig: Rig, *words: str) -> list[str]:
    return ["edge_agent.cli", *words, "--config", str(rig.site)]


def _answers(rig: Rig) -> bool:
    try:
        return _ours(rig) == []
    except AssertionError:
        return False


def _tests(rig: Rig) -> list[dict[str, Any]]:
    """Returns the test alarms that the centre knows."""
    rows = rig.api("alarm-journal")["alarms"]
    return [row for row in rows if row["rule_id"] == "test"]


def _waiting(rig: Rig) -> int:
    """Returns how many alarm batches wait for a receipt."""
    return int(json.loads(rig.command(*_words(rig, "status", "--json")))["backlog_alarm_batches"])


def _ours(rig: Rig) -> list[Any]:
    """Returns what stands on the gateway."""
    found: list[Any] = json.loads(rig.command(*_words(rig, "alarms", "--json")))
    return found


def test_a_test_alarm_is_seen_or_honestly_not_and_never_stands(rig: Rig) -> None:
    until(rig.is_connected, "the link")
    said = rig.command(*_words(rig, "--lang", "en", "commission", POINT, "--by", "李伟", "--wait", "60"))
    assert "seen at the centre after" in said
    assert "1 of 1 points are ready" in said
    (found,) = until(lambda: _tests(rig), "the test alarm at the centre")
    assert (found["point"], found["state"]) == (POINT, "cleared")
    assert _ours(rig) == []

    rig.simulate("link", "cut")
    until(lambda: not rig.is_connected(), "the end of the link")
    answer = json.loads(
        rig.command(*_words(rig, "commission", POINT, "--by", "A", "--wait", "0.5", "--json"), status=1)
    )
    assert answer["link"] == "down"
    assert answer["is_kept"]
    assert [point["seen_s"] for point in answer["points"]] == [None]
    said = rig.command(*_words(rig, "--lang", "en", "commission", POINT, "--by", "A", "--wait", "0.5"), status=1)
    assert "link down for" in said
    assert "kept, will be sent" in said

    # Somebody pulls the plug while a test alarm is on its way.
    before = _waiting(rig)
    running = subprocess.Popen(
        [sys.executable, "-m", *_words(rig, "commission", POINT, "--by", "B", "--wait", "60")],
        cwd=rig.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: _waiting(rig) > before, "the third test alarm in the spool")
        rig.agent.kill()
        assert running.wait(60) == 1
    finally:
        running.kill()
        running.wait()
    rig.agent.start()
    until(lambda: _answers(rig), "an answer of the agent")
    rig.simulate("link", "restore")
    until(lambda: len(_tests(rig)) == 4, "all test alarms at the centre", 120.0)
    assert {row["state"] for row in _tests(rig)} == {"cleared"}
    assert (rig.alarms(), rig.api("alarm-reviews")) == ([], [])
    assert _ours(rig) == []


def _visit(rig: Rig, op: str, **words: Any) -> Any:
    return ask(rig.folder / "gateway" / CONTROL, op, point=POINT, **words)


def _states(rig: Rig) -> set[tuple[str, str]]:
    """Returns job and state of the gas point, as the centre has them."""
    return {(row["job"], row["state"]) for row in rig.api("upkeep") if row["point"] == POINT}


def _code(rig: Rig) -> int:
    """Returns the quality code of the gas point, as the centre has it."""
    return int(next(row for row in rig.api("points") if row["key"] == POINT)["code"])


def test_an_overdue_calibration_makes_values_doubtful_until_a_visit_passes(tmp_path: Path) -> None:
    """The agent was off over its due date; whether its clock is set or not, the values are doubtful."""
    folder = tmp_path / "gateway"
    folder.mkdir(mode=0o700)
    today = datetime.now(UTC).date()
    overdue = JobRecord(since=today - timedelta(days=400), state="overdue", due=today - timedelta(days=220))
    write_ledger(folder, Ledger(seen=today, points={POINT: PointRecord(jobs={"calibration": overdue})}))
    with _started(tmp_path) as rig:
        until(lambda: _code(rig) == CALIBRATION_OVERDUE, "a doubtful value at the centre")
        stated = until(lambda: rig.api("upkeep"), "the statement of what is due")
        assert {row["street"] for row in stated} == {"东街"}
        assert _states(rig) == {("bump", "never"), ("calibration", "overdue")}
        shown = json.loads(rig.command(*_words(rig, "visit", "--list", "--all", "--json")))
        assert [item["finding"] for item in shown["visits"]] == ["calibration_overdue", "never_commissioned"]
        assert {(item["point"], item["job"]) for item in shown["watched"]} == {(POINT, "bump"), (POINT, "calibration")}

        # Doubtful, and judged all the same.
        rig.simulate("set", POINT, "60")
        raised = until(rig.alarms, "an alarm of a doubtful value")
        assert all("calibration_overdue" in alarm["marks"] for alarm in raised)
        rig.simulate("set", POINT, "0")

        _visit(rig, "visit-begin", by="李伟", job="calibration", seconds=600)
        _visit(rig, "visit-gas", is_on=True)
        _visit(rig, "visit-gas", is_on=False)
        until(lambda: _code(rig) == GOOD, "a good value after a calibration that passed")
        until(lambda: ("calibration", "current") in _states(rig), "the new state at the centre")
        assert ("bump", "current") in _states(rig), "the head was shown its gas"
