"""The agent as a whole, where no part alone can promise it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.keys import Signer
from edge_agent.app import Agent
from edge_agent.compile import compile_site
from edge_agent.errors import EdgeError
from edge_agent.seal import Boot
from tests.edge_agent.running_agent import RunningAgent, site, until
from tests.edge_agent.site_files import GATEWAY, MAIN, PORTS, write_site
from tests.edge_agent.tcp_device import TcpDevice

pytestmark = pytest.mark.slow


@pytest.fixture
def devices() -> Iterator[list[TcpDevice]]:
    made = [TcpDevice({0: 1, 1: 2}), TcpDevice({0: 3, 1: 4})]
    yield made
    for device in made:
        device.close()


@pytest.fixture
def agent(tmp_path: Path, devices: list[TcpDevice]) -> Iterator[RunningAgent]:
    running = RunningAgent(tmp_path, site({"a": devices[0].port, "b": devices[1].port}))
    yield running
    running.kill()


def _sealed(agent: RunningAgent) -> int:
    return int(agent.status().get("sealed_batches", 0))


def test_it_polls_seals_and_leaves_nothing_behind_when_it_is_stopped(
    agent: RunningAgent, devices: list[TcpDevice]
) -> None:
    agent.start()
    until(lambda: _sealed(agent) > 5, "five seals")
    assert agent.end() == 0
    first = agent.verified()
    agent.start()
    until(lambda: _sealed(agent) > 2, "two seals")
    assert agent.end() == 0
    second = agent.verified()
    assert agent.epochs(second) == 2, "every start is an epoch of its own"
    assert second[0]["verified"] == first[0]["verified"]
    assert not (agent.state_dir / "control.sock").exists()
    assert "Traceback" not in agent.said()


def test_after_kills_the_chains_go_on(agent: RunningAgent) -> None:
    for _ in range(3):
        agent.start()
        until(lambda: _sealed(agent) > 2, "some seals")
        agent.kill()
    agent.start()
    until(lambda: _sealed(agent) > 2, "some seals")
    assert agent.end() == 0
    assert agent.epochs(agent.verified()) == 4


def test_a_changed_port_leaves_the_others_alone(agent: RunningAgent, devices: list[TcpDevice]) -> None:
    agent.start()
    until(lambda: _sealed(agent) > 2, "some seals")
    assert devices[0].connections == devices[1].connections == 1
    other = TcpDevice()
    try:
        # The changed port stands first now: places in the file are no part of what a port is.
        agent.config.write_text(site({"b": other.port, "a": devices[0].port}), encoding="utf-8")
        done = agent.command("reload")
        assert done.returncode == 0, done.stderr
        until(lambda: other.reads > 3, "reads of the new device")
        assert devices[0].connections == 1, "the other port kept its connection"
        reads = devices[0].reads
        until(lambda: devices[0].reads > reads + 3, "reads of the other device")
        assert agent.end() == 0
        agent.verified()
        exported = agent.command("spool", "export")
        assert exported.returncode == 0, exported.stderr
    finally:
        other.close()


def test_a_refused_configuration_leaves_the_last_good_plan_running(agent: RunningAgent) -> None:
    agent.start()
    until(lambda: _sealed(agent) > 1, "a seal")
    good = agent.config.read_text(encoding="utf-8")
    agent.config.write_text(good.replace("unit_id = 1", "unit_id = 900"), encoding="utf-8")
    done = agent.command("reload")
    assert done.returncode == 2
    assert "unit_id" in done.stderr
    before = _sealed(agent)
    until(lambda: _sealed(agent) > before + 1, "seals under the last good plan")
    assert agent.end() == 0
    agent.start()
    until(lambda: _sealed(agent) > 1, "a seal of the next start")
    assert "last good plan runs instead" in agent.said()
    assert agent.end() == 0


def test_a_second_agent_on_the_same_directory_is_refused(agent: RunningAgent, tmp_path: Path) -> None:
    agent.start()
    done = agent.command("run")
    assert done.returncode == 1
    assert "another agent" in done.stderr
    assert "Traceback" not in done.stderr
    until(lambda: _sealed(agent) > 2, "the first one goes on")
    assert agent.end() == 0


def test_a_spool_that_cannot_be_opened_stops_neither_polling_nor_leaving(
    agent: RunningAgent, devices: list[TcpDevice]
) -> None:
    (agent.state_dir / "spool.db").mkdir(parents=True)
    agent.start()
    until(lambda: agent.status().get("store") == "volatile", "a volatile epoch")
    until(lambda: _sealed(agent) > 3, "seals in memory")
    (agent.state_dir / "spool.db").rmdir()
    until(lambda: agent.status().get("store") == "normal", "the store")
    assert agent.end() == 0
    lanes = agent.verified()
    assert sum(lane["verified"] for lane in lanes) > 3, "what was sealed in memory is kept"
    (agent.state_dir / "spool.db").rename(agent.state_dir / "kept")
    (agent.state_dir / "spool.db").mkdir()
    agent.start()
    until(lambda: _sealed(agent) > 1, "seals in memory")
    assert agent.end() == 0, "it leaves although the store never answered"
    assert "not kept" in agent.said()
    assert "Traceback" not in agent.said()


def test_a_spool_that_is_removed_while_it_runs_is_noticed_and_begun_anew(agent: RunningAgent) -> None:
    agent.start()
    until(lambda: _sealed(agent) > 5, "five seals")
    for path in agent.state_dir.glob("spool.db*"):
        path.unlink()
    until(lambda: agent.status().get("sealed_lost_batches", 0) > 0, "the loss is known")
    before = _sealed(agent)
    until(lambda: _sealed(agent) > before + 3, "seals in the new file")
    assert agent.end() == 0
    assert "was removed while the agent ran" in agent.said()
    lanes = agent.verified()
    assert any(lane["lost"] for lane in lanes), "the hole is on record"
    agent.start()
    until(lambda: _sealed(agent) > 1, "a seal of the next start")
    assert agent.end() == 0
    agent.verified()


def test_a_spool_that_went_bad_is_put_aside_at_the_next_start(agent: RunningAgent) -> None:
    agent.start()
    until(lambda: _sealed(agent) > 5, "five seals")
    agent.kill()
    for name in ("spool.db", "spool.db-wal"):
        path = agent.state_dir / name
        path.write_bytes(os.urandom(path.stat().st_size))
    agent.start()
    until(lambda: _sealed(agent) > 3, "seals in the new file")
    assert agent.status()["store"] == "normal"
    assert agent.end() == 0
    assert list(agent.state_dir.glob("spool.db.damaged-*Z"))
    assert "Traceback" not in agent.said()
    agent.verified()


def _fill(disk: Path) -> Path:
    junk = disk / "junk"
    with junk.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return junk


def test_a_full_disk_stops_neither_polling_nor_sealing(
    tmp_path: Path, small_disk: Path, devices: list[TcpDevice]
) -> None:
    agent = RunningAgent(
        tmp_path, site({"a": devices[0].port}, state_dir=str(small_disk / "state")), state_dir=small_disk / "state"
    )
    try:
        agent.start()
        until(lambda: _sealed(agent) > 3, "some seals")
        junk = _fill(small_disk)
        before, reads = _sealed(agent), devices[0].reads
        until(lambda: _sealed(agent) > before + 10, "seals on a full disk")
        assert devices[0].reads > reads + 10
        agent.kill()
        agent.start()
        until(lambda: _sealed(agent) > 3, "a start on a full disk")
        junk.unlink()
        until(lambda: agent.status().get("store") == "normal", "the store after there is space again")
        assert agent.end() == 0
        agent.verified()
        assert "Traceback" not in agent.said()
    finally:
        agent.kill()


def test_a_disk_that_became_read_only_stops_neither_polling_nor_a_restart(
    tmp_path: Path, small_disk: Path, devices: list[TcpDevice]
) -> None:
    agent = RunningAgent(
        tmp_path, site({"a": devices[0].port}, state_dir=str(small_disk / "state")), state_dir=small_disk / "state"
    )
    try:
        agent.start()
        until(lambda: _sealed(agent) > 3, "some seals")
        agent.end(signal.SIGKILL)
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        reads = devices[0].reads
        agent.start(wait=False)
        until(lambda: devices[0].reads > reads + 10, "polling on a read-only disk")
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        until(lambda: "the store answers again" in agent.said(), "the store")
        assert agent.end() == 0
        agent.verified()
        assert "Traceback" not in agent.said()
    finally:
        agent.kill()


# -- in this process ----------------------------------------------------------------------


def _agent(tmp_path: Path, seal_interval_s: float = 0.001) -> Agent:
    config = write_site(tmp_path, GATEWAY + PORTS + MAIN)
    plan = compile_site(config).plan
    return Agent(
        config_path=config,
        state_dir=tmp_path,
        plan=replace(plan, uplink=replace(plan.uplink, seal_interval_s=seal_interval_s)),
        signer=Signer.from_seed(b"\x01" * 32),
        boot=Boot(boot_id=bytes(16), counter=1),
    )


async def test_a_failed_step_of_sealing_is_reported_and_the_next_one_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = _agent(tmp_path)
    steps = 0
    went_on = asyncio.Event()

    def seal() -> None:
        nonlocal steps
        steps += 1
        if steps == 1:
            raise TypeError("a defect")
        went_on.set()

    monkeypatch.setattr(agent.sealer, "seal_data", seal)
    sealing = asyncio.create_task(agent.sealer.run())
    try:
        await asyncio.wait_for(went_on.wait(), 5)
    finally:
        sealing.cancel()
    assert "a step of sealing failed" in caplog.text
    assert "a defect" in caplog.text


async def test_a_task_that_ends_by_itself_ends_the_agent_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = _agent(tmp_path)

    async def die() -> None:
        raise TypeError("a defect")

    monkeypatch.setattr(agent.sealer, "run", die)
    with pytest.raises(EdgeError, match="sealing ended by itself"):
        await asyncio.wait_for(agent.run(), 20)
    assert "a defect" in caplog.text


async def test_a_reading_whose_judgement_fails_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = _agent(tmp_path)

    def fail(*arguments: object) -> None:
        raise TypeError("a defect")

    monkeypatch.setattr(agent.judge, "judge_row", fail)
    width = len(agent.plan.blocks[0].points)
    with pytest.raises(TypeError):
        agent.rows.take(0, 1_000, (1,) * width, None, 2_000)
    assert agent.columns.readings == width


async def test_a_reload_before_the_store_was_asked_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="still asking its store"):
        await _agent(tmp_path).reloads.reload()
