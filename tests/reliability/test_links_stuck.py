"""The collector is stuck or cannot be reached: polling keeps its pace, memory stays, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from collector.data_dir import database
from simulators.link_proxy import LinkProxy
from simulators.scenario import LinkState
from tests.mosquitto import free_port
from tests.reliability import scale
from tests.reliability.stand import Gateway, Stand
from tests.system.rig import until


class ProxyThread:
    """A link proxy on an event loop of its own, for tests that wait in the ordinary way."""

    def __init__(self, port: int, target: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._proxy = LinkProxy("127.0.0.1", port, "127.0.0.1", target)
        self.call(self._proxy.start())

    def call(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)  # type: ignore[arg-type]

    def set(self, state: str) -> None:
        self.call(self._proxy.set(LinkState(state=state)))

    def close(self) -> None:
        self.call(self._proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the write lock of the collector's database, as a backup tool that hangs would."""
    db = sqlite3.connect(path, timeout=10, isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")
    finally:
        db.close()


def pace(gateway: Gateway, seconds: float) -> tuple[float, float]:
    """Watches the polls for so long; returns how many a second, and the longest pause (s)."""
    begin = time.monotonic()
    time.sleep(seconds)
    end = time.monotonic()
    given = [at for at in gateway.device.given if begin <= at <= end]
    assert given, "no poll at all"
    marks = [begin, *given, end]
    return len(given) / (end - begin), max(b - a for a, b in pairwise(marks))


def rss_kb(process_id: int) -> int:
    """Returns the resident memory of a process (KiB)."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@pytest.mark.ci
def test_a_stuck_collector_and_a_black_hole_change_nothing_at_the_gateway(tmp_path: Path) -> None:
    seconds = scale.times(5, 60)
    stand = Stand(tmp_path)
    link = free_port()
    proxy = ProxyThread(link, stand.broker.port)
    try:
        stand.broker.start()
        port, stand.broker.port = stand.broker.port, link  # the gateway goes through the proxy
        gateway = stand.add("gateway", interval_s=0.1)
        stand.broker.port = port
        stand.collector.start()
        until(stand.has_connected, "the collector on the broker")
        gateway.start()
        gateway.polls()
        until(lambda: gateway.status().get("receipt_age_s") == 0, "the first receipt")
        calm, _ = pace(gateway, 4)
        process = gateway.agent._process
        assert process is not None
        before_kb = rss_kb(process.pid)

        def suffer(name: str) -> None:
            polls, pause = pace(gateway, seconds)
            status = gateway.status()
            age = status["receipt_age_s"]
            print(f"{name}: {polls:.1f} polls/s (calm {calm:.1f}), longest pause {pause:.2f} s, receipt {age} s old")
            assert polls >= 0.9 * calm, name
            assert age >= seconds - 2, f"{name}: receipts went on, this shows nothing"
            assert status["link_unanswered_s"] is None or status["link_unanswered_s"] >= seconds - 3

        def heal(name: str) -> None:
            began = time.monotonic()
            until(lambda: gateway.status().get("backlog_data_batches", 99) <= 2, f"receipts after {name}", 60)
            print(f"{name}: everything receipted {time.monotonic() - began:.1f} s later")

        with locked(database(stand.data)):
            suffer("database locked")
        heal("database locked")
        stand.collector.pause()
        suffer("collector stopped")
        stand.collector.resume()
        heal("collector stopped")
        proxy.set("stall")
        suffer("black hole")
        proxy.set("up")
        heal("black hole")
        grown_kb = rss_kb(process.pid) - before_kb
        print(f"the agent grew by {grown_kb} KiB")
        assert grown_kb < 8 * 1024
        verdict = stand.wait_until_clean()
        print(verdict)
        assert verdict.is_clean
    finally:
        stand.close()
        proxy.close()
