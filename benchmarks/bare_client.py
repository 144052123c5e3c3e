"""The floor: the same registers, the same signature, the same disk, the same broker, and nothing else.

Each device has one pymodbus connection and is read on the same grid.  Every seal interval all readings go into
one msgpack of difference-coded columns, deflated at level 1, with one Ed25519 signature, into one SQLite row
(WAL, ``synchronous=FULL``), and then to the broker with QoS 1.  It has no configuration, no rules, no qualities,
no health, no chain, no receipts, no retry and no reload: what those cost is the distance to it.

    python -m benchmarks.bare_client DEVICES INTERVAL_S SEAL_S BANK_PORT BROKER_PORT FOLDER
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from operator import sub
from pathlib import Path
from typing import Any

import apsw
import msgpack
import paho.mqtt.client as paho
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.client import AsyncModbusTcpClient

from benchmarks.bench_site import REGISTERS, device_host

TOPIC = "bare/data"
_pack: Any = msgpack.packb
Row = tuple[int, Sequence[int]]


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _no_delay(client: paho.Client, data: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def columns(device: int, sealed_us: int, rows: list[Row]) -> list[Any]:
    """Packs the rows of one device: times and values as differences."""
    times = [rows[0][0] - sealed_us, *(after[0] - before[0] for before, after in pairwise(rows))]
    flat = list(rows[0][1])
    for before, after in pairwise(rows):
        flat.extend(map(sub, after[1], before[1]))
    return [device, times, flat]


class BareClient:
    """Polls, packs, signs, stores, publishes."""

    def __init__(self, *, devices: int, interval_s: float, seal_s: float, folder: Path) -> None:
        self._interval_us = round(interval_s * 1e6)
        self._seal_s = seal_s
        self._rows: list[list[Row]] = [[] for _ in range(devices)]
        self._key = Ed25519PrivateKey.generate()
        self._database = str(folder / "bare.db")
        self._disk = ThreadPoolExecutor(1)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bare", protocol=paho.MQTTv311)
        self._client.on_socket_open = _no_delay

    async def run(self, bank_port: int, broker_port: int) -> None:
        """Runs until SIGTERM."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._disk, self._open)
        self._client.connect("127.0.0.1", broker_port)
        self._client.loop_start()
        tasks = [loop.create_task(self._poll(number, bank_port)) for number in range(len(self._rows))]
        tasks.append(loop.create_task(self._seal_forever()))
        stopping = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stopping.set)
        print("ready", flush=True)
        await stopping.wait()
        for task in tasks:
            task.cancel()

    async def _poll(self, number: int, port: int) -> None:
        client = AsyncModbusTcpClient(device_host(number), port=port, retries=0, timeout=1)
        await client.connect()
        rows, interval = self._rows[number], self._interval_us
        while True:
            await asyncio.sleep((interval - _now_us() % interval) / 1e6)
            asked = _now_us()
            reply = await client.read_holding_registers(0, count=REGISTERS)
            rows.append(((asked + _now_us()) // 2, reply.registers))

    async def _seal_forever(self) -> None:
        loop = asyncio.get_running_loop()
        seq = 0
        while True:
            await asyncio.sleep(self._seal_s)
            sealed_us = _now_us()
            blocks = [columns(number, sealed_us, rows) for number, rows in enumerate(self._rows) if rows]
            for rows in self._rows:
                rows.clear()
            if not blocks:
                continue
            seq += 1
            body = zlib.compress(_pack([seq, sealed_us, blocks]), 1)
            message = _pack([body, self._key.sign(body)])
            await loop.run_in_executor(self._disk, self._keep, seq, message)
            self._client.publish(TOPIC, message, qos=1)

    def _open(self) -> None:
        self._db = apsw.Connection(self._database)
        self._db.execute("PRAGMA page_size=1024; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        self._db.execute("CREATE TABLE batch (seq INTEGER PRIMARY KEY, message BLOB NOT NULL)")

    def _keep(self, seq: int, message: bytes) -> None:
        self._db.execute("INSERT INTO batch VALUES (?,?)", (seq, message))


def main(arguments: list[str]) -> None:
    """Reads the six arguments and runs."""
    devices, interval, seal, bank, broker, folder = arguments
    client = BareClient(devices=int(devices), interval_s=float(interval), seal_s=float(seal), folder=Path(folder))
    asyncio.run(client.run(int(bank), int(broker)))


if __name__ == "__main__":
    main(sys.argv[1:])
