"""``edge-agent bench``: its files compile, its stand-ins answer, and a short run gives every figure."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.keys import Signer
from edge_agent.bench_files import REGISTERS, write_site
from edge_agent.bench_peer import Device
from edge_agent.cli import main
from edge_agent.compile import compile_site


@pytest.mark.parametrize("broker_port", [0, 1883])
def test_the_site_compiles_with_limits_on_every_point(tmp_path: Path, broker_port: int) -> None:
    key = Signer.from_seed(bytes(32)).public.line("collector")
    site = write_site(tmp_path, devices=3, interval_s=0.5, port=15020, broker_port=broker_port, collector_key=key)
    plan = compile_site(site).plan
    assert len(plan.points) == 3 * REGISTERS
    assert len(plan.blocks) == 3
    assert all(len(point.rules.limits) == 2 for point in plan.points)
    assert (plan.uplink.host != "") == bool(broker_port)


async def test_a_device_answers_a_read_and_hangs_up_on_anything_else() -> None:
    server = await asyncio.get_running_loop().create_server(Device, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(bytes.fromhex("0007 0000 0006 05 03 0000 0014"))
    reply = await reader.readexactly(9 + 2 * REGISTERS)
    assert reply[:9] == bytes.fromhex("0007 0000 002b 05 03 28")
    writer.write(bytes.fromhex("0008 0000 0006 05 06 0000 0014"))
    assert await reader.read() == b""
    writer.close()
    server.close()


@pytest.mark.parametrize("arguments", [["--interval", "0"], ["--seconds", "nan"], ["--devices", "0"]])
def test_a_wrong_number_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.slow
def test_a_short_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge_agent.cli", "bench", "--devices", "2", "--interval", "0.2", "--seconds", "1"]
    done = subprocess.run(
        [*command, "--json", "--dir", str(tmp_path)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    numbers = {name: value for name, value in figures.items() if not isinstance(value, str)}
    assert all(value is not None and value > 0 for value in numbers.values()), figures
    assert figures["readings per second"] == 200
    assert ("none" in figures["broker"]) == (shutil.which("mosquitto", path="/usr/sbin:/usr/bin") is None)
    assert list(tmp_path.iterdir()) == []
