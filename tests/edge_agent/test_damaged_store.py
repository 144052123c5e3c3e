"""The real agent on a spool that went bad: it starts, polls, seals and tells, and nothing is deleted."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.spool_open import PAGE_BYTES
from tests.edge_agent.damaged_spool import make_spool, overwrite, without_log
from tests.edge_agent.running_agent import RunningAgent, site, until
from tests.edge_agent.tcp_device import TcpDevice

pytestmark = pytest.mark.slow

Ruin = Callable[[Path, Path], None]


def _garbage(spool: Path, folder: Path) -> None:
    for path in (spool, spool.with_name("spool.db-wal")):
        path.write_bytes(os.urandom(path.stat().st_size))


def _foreign_log(spool: Path, folder: Path) -> None:
    without_log(spool)
    other = folder / "other"
    other.mkdir()
    made = make_spool(other, batches=20)
    shutil.copy(made.path.with_name("spool.db-wal"), spool.with_name("spool.db-wal"))


def _no_log(spool: Path, folder: Path) -> None:
    spool.with_name("spool.db-wal").unlink()


def _empty(spool: Path, folder: Path) -> None:
    os.truncate(spool, 0)


def _gone(spool: Path, folder: Path) -> None:
    spool.unlink()


def _cut_off(spool: Path, folder: Path) -> None:
    without_log(spool)
    os.truncate(spool, spool.stat().st_size * 2 // 3 // PAGE_BYTES * PAGE_BYTES)


def _header(spool: Path, folder: Path) -> None:
    without_log(spool)
    overwrite(spool, random.Random(1))


def _zeroed(spool: Path, folder: Path) -> None:
    without_log(spool)
    data = bytearray(spool.read_bytes())
    for number in range(4, len(data) // PAGE_BYTES, 5):
        data[number * PAGE_BYTES : (number + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)
    spool.write_bytes(data)


#: what is done to the files, and what somebody is told
RUINS: dict[str, tuple[Ruin, str]] = {
    "garbage": (_garbage, "the spool was damaged and is kept as"),
    "foreign log": (_foreign_log, "the spool was damaged and is kept as"),
    "no log": (_no_log, "the log beside the spool is gone"),
    "empty": (_empty, "its log is kept as"),
    "gone": (_gone, "its log is kept as"),
    "cut off": (_cut_off, "the spool was damaged and is kept as"),
    "header": (_header, "the spool was damaged and is kept as"),
    "zeroed pages": (_zeroed, "the spool was damaged and is kept as"),
}
_EVERY_TIME = {"zeroed pages"}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningAgent]:
    device = TcpDevice()
    made = RunningAgent(tmp_path, site({"a": device.port}))
    yield made
    made.kill()
    device.close()


def _sealed(agent: RunningAgent) -> int:
    return int(agent.status().get("sealed_readings", 0))


def _sums(folder: Path) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("spool.db*") if path.stat().st_size}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in _EVERY_TIME else pytest.mark.ci) for name in RUINS]
)
def test_the_agent_goes_on_tells_and_deletes_nothing(agent: RunningAgent, tmp_path: Path, name: str) -> None:
    ruin, told = RUINS[name]
    agent.start()
    until(lambda: agent.status().get("sealed_batches", 0) > 20, "twenty batches")
    agent.kill()
    spool = agent.state_dir / "spool.db"
    ruin(spool, tmp_path)
    kept = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (spool, spool.with_name("spool.db-wal"))
            if path.exists() and path.stat().st_size}  # fmt: skip
    agent.start()
    until(lambda: told in agent.said(), f"that somebody is told: {told}")
    before = _sealed(agent)
    until(lambda: _sealed(agent) > before + 5, "more readings", within_s=5.0)
    # A disk that others use answers late now and then; the agent comes back by itself.
    until(lambda: agent.status().get("store") == "normal", "a store that answers")
    status = agent.status()
    assert agent.said().count(told) == 1, "told again and again"
    asides = json.loads(agent.command("spool", "status", "--json").stdout)["damaged_files"]
    assert len(asides) == status["spool_damaged_files"] == (0 if name == "no log" else 1)
    for aside in asides:
        assert Path(aside["path"]).name.startswith("spool.db.damaged-20")
        done = agent.command("spool", "salvage", aside["path"], "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["new_batches"] == report["recovered_batches"]
        if name != "garbage":
            assert report["recovered_batches"] > 0
        again = json.loads(agent.command("spool", "salvage", aside["path"], "--json").stdout)
        assert again["new_batches"] == 0
    assert agent.end() == 0
    assert "Traceback" not in agent.said()
    lanes = agent.verified()
    if name in ("zeroed pages", "cut off", "header"):
        assert any(lane["verified"] for lane in lanes)
    if name not in ("zeroed pages", "no log"):
        # A check while it runs finds the others: until then the file is in use and changes.
        assert kept <= _sums(agent.state_dir)


@pytest.mark.ci
def test_a_file_that_is_written_over_while_the_agent_runs_is_put_aside(agent: RunningAgent) -> None:
    agent.start()
    until(lambda: agent.status().get("spool_check") == "ok", "the check of a whole file")
    until(lambda: agent.status().get("sealed_batches", 0) > 20, "twenty batches")
    spool = agent.state_dir / "spool.db"
    with spool.open("r+b") as file:
        # The schema stays, so that a look at it finds nothing.
        file.seek(8 * PAGE_BYTES)
        file.write(os.urandom(spool.stat().st_size - 8 * PAGE_BYTES))
    until(lambda: "somebody else has written to" in agent.said(), "that it is noticed", within_s=10.0)
    until(lambda: agent.status().get("spool_damaged_files"), "the file put aside")
    before = _sealed(agent)
    until(lambda: _sealed(agent) > before + 5, "more readings", within_s=5.0)
    until(lambda: agent.status().get("store") == "normal", "a store that answers")
    assert agent.end() == 0
    assert "Traceback" not in agent.said()
    lanes = agent.verified()
    assert {lane["epoch_no"] for lane in lanes} >= {2}, "a new epoch in the new file"
