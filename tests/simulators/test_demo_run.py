"""The whole demo as a person starts it, for a few seconds."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from simulators.demo_words import CHANGE_EVIDENCE, CHANGE_PROJECTION

ROOT = Path(__file__).parents[2]


def environment(folder: Path, port: int, **more: str) -> dict[str, str]:
    return {**os.environ, "DEMO_DIR": str(folder), "DEMO_PORT": str(port), **more}


def demo(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simulators.cli", "demo"]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=180, check=False)


def numbers(text: str, words: str) -> list[int]:
    found = re.search(words, text)
    assert found is not None, text
    return [int(group) for group in found.groups()]


def processes_of(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["amqtt", pytest.param("mosquitto", marks=pytest.mark.ci)])
def test_a_timed_demo_ends_with_its_summary(
    broker: str,
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
    require_tool: Callable[[str], str],
) -> None:
    if broker == "mosquitto":
        require_tool("mosquitto")
    folder = tmp_path_factory.mktemp("d") / "demo"
    done = demo(environment(folder, free_port(), DEMO_SECONDS="8", BROKER=broker))
    assert done.returncode == 0, done.stdout + done.stderr
    expected, stored = numbers(done.stdout, r"expected 应有 (\d+), stored 已存 (\d+), ")
    # A busy machine may miss a tick, and then says so; nothing may go without a cause.
    [causes] = re.findall(r"missing by cause 缺失: (.*)", done.stdout)
    missing = [int(count) for count in re.findall(r" (\d+)", causes)]
    assert expected == stored + sum(missing)
    assert "not_delivered" not in causes
    assert "unaccounted" not in causes
    assert expected > 100
    raised, kept = numbers(done.stdout, r"raised 产生 (\d+), stored 已存 (\d+)")
    assert raised == kept
    assert numbers(done.stdout, r"duplicates 重复: (\d+)") == [0]
    assert "verification 验证: passed" in done.stdout
    assert processes_of(folder) == []

    database = folder / "collector" / "evidence.sqlite3"
    verify = [sys.executable, "-m", "collector.cli", "verify", "--data", str(folder / "collector")]
    for statement, words in ((CHANGE_PROJECTION, "FALSE projection"), (None, "FALSE evidence")):
        with sqlite3.connect(database) as d:
            if statement is None:
                exec(CHANGE_EVIDENCE, {"d": d})  # the very words that the demo prints
            else:
                d.execute(statement)
        d.close()
        told = subprocess.run(verify, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert told.returncode == 1
        assert words in told.stdout + told.stderr


@pytest.mark.ci
def test_a_demo_that_is_told_to_end_leaves_nothing_behind(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> None:
    folder = tmp_path_factory.mktemp("d") / "demo"
    command = [sys.executable, "-m", "simulators.cli", "demo"]
    running = subprocess.Popen(
        command, cwd=ROOT, env=environment(folder, free_port()), stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        while "Ctrl-C" not in (line := running.stdout.readline()):
            assert line, "the demo ended before it was ready"
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    finally:
        if running.poll() is None:
            running.kill()
        running.wait()
        assert running.stdout is not None
        running.stdout.close()
    end = time.monotonic() + 5
    while processes_of(folder) and time.monotonic() < end:
        time.sleep(0.05)
    assert processes_of(folder) == []
