"""Clients that read the devices of one serial line in turn, each in a process of its own, for ``benchmarks/bus.py``.

    python -m benchmarks.bus_peers NAME PATH BAUD SECONDS DEVICES REGISTERS  ->  reads failed median_us cpu_us

Peers run as their documentation shows: one client, its own time-outs of a second, no debug output.
"""

from __future__ import annotations

import asyncio
import ctypes.util
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

#: name -> how it is shown
PEERS = {
    "ours": "this project",
    "minimalmodbus": "minimalmodbus",
    "pymodbus": "pymodbus, sync",
    "pymodbus-async": "pymodbus, async",
    "libmodbus": "libmodbus in C",
}

Numbers = tuple[int, int, float, float]


class Watch:
    """What a client did: when each read began (us), how many failed, and the CPU time from the first one on."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.failed = 0
        self._cpu_s = 0.0

    def begins(self, at_us: float) -> None:
        """Notes a read; what came before the first (imports, opening) is not counted."""
        if not self.starts:
            self._cpu_s = time.process_time()
        self.starts.append(at_us)

    def numbers(self) -> Numbers:
        """Returns reads, failed reads, median us of a read, CPU us of a read."""
        cpu_us = (time.process_time() - self._cpu_s) * 1e6 / len(self.starts)
        took_us = median(after - before for before, after in pairwise(self.starts))
        return len(self.starts), self.failed, took_us, cpu_us


def why_not(name: str) -> str:
    """Returns why a peer cannot run here; empty where it can."""
    if name == "libmodbus":
        if shutil.which("cc") is None:
            return "no C compiler"
        if ctypes.util.find_library("modbus") is None:
            return "Debian package libmodbus5 is not installed"
    if name == "minimalmodbus":
        try:
            import minimalmodbus  # type: ignore[import-untyped]  # noqa: F401  # ships no types
        except ImportError:
            return "minimalmodbus is not installed (extra dev)"
    return ""


def run_peer(
    name: str, path: str, baud: int, seconds: float, *, devices: int, registers: int, folder: Path, prefix: list[str]
) -> Numbers:
    """Runs one client to its end; returns reads, failed reads, median us of a read, CPU us of a read.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    arguments = [path, str(baud), str(seconds), str(devices), str(registers)]
    if name == "libmodbus":
        program = folder / "libmodbus_peer"
        if not program.exists():
            source = Path(__file__).with_name("libmodbus_peer.c")
            subprocess.run(["cc", "-O2", str(source), "-l:libmodbus.so.5", "-o", str(program)], check=True)
        command = [str(program), *arguments]
    else:
        command = [sys.executable, "-m", "benchmarks.bus_peers", name, *arguments]
    done = subprocess.run(
        [*prefix, *command],
        cwd=Path(__file__).parent.parent,
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    reads, failed, took, cpu = done.stdout.split()
    return int(reads), int(failed), float(took), float(cpu)


def in_turn(ask: Callable[[int], bool], seconds: float, devices: int) -> Watch:
    """Asks unit after unit."""
    watch = Watch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        watch.begins(time.monotonic() * 1e6)
        watch.failed += not ask(len(watch.starts) % devices + 1)
    return watch


def minimalmodbus_peer(path: str, baud: int, seconds: float, devices: int, registers: int) -> Watch:
    import minimalmodbus  # ships no types

    units = [minimalmodbus.Instrument(path, unit) for unit in range(1, devices + 1)]
    for unit in units:
        unit.serial.baudrate = baud
        unit.serial.timeout = 1.0

    def ask(unit: int) -> bool:
        try:
            return len(units[unit - 1].read_registers(0, registers)) == registers
        except OSError:
            return False

    return in_turn(ask, seconds, devices)


def pymodbus_peer(path: str, baud: int, seconds: float, devices: int, registers: int) -> Watch:
    from pymodbus.client import ModbusSerialClient
    from pymodbus.exceptions import ModbusException

    client = ModbusSerialClient(path, baudrate=baud, timeout=1.0, retries=0)
    client.connect()

    def ask(unit: int) -> bool:
        try:
            return not client.read_holding_registers(0, count=registers, device_id=unit).isError()
        except ModbusException:
            return False

    try:
        return in_turn(ask, seconds, devices)
    finally:
        client.close()  # type: ignore[no-untyped-call]  # pymodbus gives no types here


async def pymodbus_async_peer(path: str, baud: int, seconds: float, devices: int, registers: int) -> Watch:
    from pymodbus.client import AsyncModbusSerialClient
    from pymodbus.exceptions import ModbusException

    client = AsyncModbusSerialClient(path, baudrate=baud, timeout=1.0, retries=0)
    await client.connect()
    watch = Watch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        unit = len(watch.starts) % devices + 1
        watch.begins(time.monotonic() * 1e6)
        try:
            watch.failed += (await client.read_holding_registers(0, count=registers, device_id=unit)).isError()
        except ModbusException:
            watch.failed += 1
    client.close()
    return watch


async def our_peer(path: str, baud: int, seconds: float, devices: int, registers: int) -> Watch:
    from contracts.quality import GOOD
    from drivers.line import SerialLine
    from drivers.port import ReadRequest
    from drivers.serial_wire import LineSettings

    line = SerialLine(LineSettings(path=path, baud=baud))
    await line.open()
    watch = Watch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        unit = len(watch.starts) % devices + 1
        request = ReadRequest(unit_id=unit, table="holding", address=0, count=registers, timeout_s=1.0, max_reply_s=1.0)
        result = await line.read(request)
        watch.begins(float(result.requested_us))
        watch.failed += result.code != GOOD
    await line.close()
    return watch


_Client = Callable[[str, int, float, int, int], Watch]
_CLIENTS: dict[str, _Client] = {
    "ours": lambda *words: asyncio.run(our_peer(*words)),
    "minimalmodbus": minimalmodbus_peer,
    "pymodbus": pymodbus_peer,
    "pymodbus-async": lambda *words: asyncio.run(pymodbus_async_peer(*words)),
}


def main() -> int:
    """Runs one client and prints its numbers."""
    name, path = sys.argv[1], sys.argv[2]
    baud, seconds, devices, registers = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])
    reads, failed, took_us, cpu_us = _CLIENTS[name](path, baud, seconds, devices, registers).numbers()
    print(reads, failed, f"{took_us:.1f}", f"{cpu_us:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
