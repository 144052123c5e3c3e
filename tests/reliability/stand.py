"""A test stand of real processes: counting devices, gateways, Debian's mosquitto, the collector.

Every part can be killed and started again.  What gateways seal, store and believe stands in an oracle's
file; what the devices have said is remembered here; what the collector holds is read from its database.
``judge`` puts the three together for the checker.
"""

from __future__ import annotations

import json
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from collector.data_dir import database, prepare
from collector.keys import add_gateway
from contracts.batch import Lane, decode_batch
from contracts.columns import decode_block
from contracts.envelope import decode_payload, split
from contracts.keys import load_or_create
from edge_agent.control import ask
from edge_agent.errors import ControlError
from edge_agent.state_dir import CONTROL, KEY, SPOOL
from tests.debian_tools import find_tool
from tests.mosquitto import Mosquitto, free_port
from tests.reliability.checker import Verdict, check
from tests.reliability.counting_device import PROFILE, RULE, CountingDevice
from tests.reliability.oracle import Fact, Kind, batch_series, read_facts
from tests.system.rig import Process, until

SEAL_S = 0.2
_SITE = """\
profile_dirs = ["{folder}/profiles"]
rule_dirs = ["{folder}/rules"]
[gateway]
name = {{ en = "Test", zh = "测试" }}
state_dir = "{state}"
[spool]
quota_mb = {quota_mb}
reserve_mb = 1
[uplink]
host = "127.0.0.1"
port = {broker}
collector_key = "{key}"
seal_interval_s = {seal_s}
reconnect_most_s = 5
[[port]]
id = "p1"
kind = "tcp"
host = "127.0.0.1"
port = {device}
[[device]]
id = "d1"
port = "p1"
unit_id = 1
profile = "counting"
interval_s = {interval_s}
[device.points.level]
rules = ["test.level"]
"""


class Command(Process):
    """A process that may run under another command, such as ``strace``."""

    prefix: tuple[str, ...] = ()

    def start(self) -> None:
        plain = self._command
        self._command = [*self.prefix, *plain]
        try:
            super().start()
        finally:
            self._command = plain


class Gateway:
    """One device and the agent that polls it."""

    def __init__(
        self,
        folder: Path,
        *,
        broker: int,
        collector_key: str,
        state: Path | None = None,
        interval_s: float = 0.1,
        seal_s: float = SEAL_S,
        quota_mb: int = 64,
        device: CountingDevice | None = None,
        commit_limit_s: float | None = None,
    ) -> None:
        """Makes site file, key and device; starts nothing else.

        Args:
            state: where the spool lies; another disk, maybe.
            device: one that is there already.
            commit_limit_s: how long it waits for its disk before it goes on in memory; None: as long as every agent.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.state = state or folder / "state"
        self.state.mkdir(parents=True, exist_ok=True)
        self.oracle = folder / "oracle"
        self.device = device or CountingDevice()
        for name, text in (("profiles/counting.toml", PROFILE), ("rules/level.toml", RULE)):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        self.site = folder / "site.toml"
        self.text = _SITE.format(
            folder=folder,
            state=self.state,
            quota_mb=quota_mb,
            broker=broker,
            key=collector_key,
            seal_s=seal_s,
            device=self.device.port,
            interval_s=interval_s,
        )
        self.site.write_text(self.text)
        self.signer = load_or_create(self.state / KEY)
        self.id = self.signer.public.gateway_id
        self.agent = Command(
            folder,
            "agent",
            "tests.reliability.watched_agent",
            "--lang",
            "en",
            "run",
            str(self.site),
            environment={"ORACLE": str(self.oracle), "GATEWAY": self.id}
            | ({} if commit_limit_s is None else {"COMMIT_LIMIT_S": str(commit_limit_s)}),
        )
        #: when it was started, and killed (monotonic seconds)
        self.started: list[float] = []
        self.killed: list[float] = []

    @property
    def spool(self) -> Path:
        return self.state / SPOOL

    def start(self, *before: str) -> None:
        """Starts the agent, under another command such as ``strace`` where one is given."""
        self.agent.prefix = before
        self.started.append(time.monotonic())
        self.agent.start()

    def kill(self) -> None:
        self.agent.kill()
        self.killed.append(time.monotonic())

    def stop(self) -> int:
        """Ends it in order."""
        try:
            return self.agent.stop()
        finally:
            self.killed.append(time.monotonic())

    def polls(self, within_s: float = 30.0) -> float:
        """Waits for the first poll of the last start; returns how long it took, seconds."""
        since = self.started[-1]

        def polled() -> float | None:
            assert self.agent.is_running, self.agent.log[-3000:]
            return self.device.first_after(since)

        first: float = until(polled, "the first poll", within_s, 0.005)
        return first - since

    def status(self) -> dict[str, Any]:
        """Returns the agent's own status; empty while it does not answer."""
        try:
            found: dict[str, Any] = ask(self.state / CONTROL, "status", timeout_s=2.0)
            return found
        except ControlError:
            return {}

    def alarms(self) -> list[dict[str, Any]]:
        """Returns the alarms that stand, by the agent's own word."""
        try:
            found: list[dict[str, Any]] = ask(self.state / CONTROL, "alarms", timeout_s=2.0)["alarms"]
            return found
        except ControlError:
            return []

    def wait_for_receipts(self) -> None:
        """Waits until everything of its earlier starts is receipted."""

        def is_sent() -> bool:
            status = self.status()
            return status.get("link") == "up" and status.get("backlog_epochs", 9) <= 1

        until(is_sent, "receipts", 60.0, 0.1)

    def start_again_for_receipts(self) -> None:
        """Ends it in order with everything receipted; what was sealed at the end may need another start."""
        for _ in range(10):
            self.stop()
            self.start()
            self.wait_for_receipts()
            self.stop()
            acked: dict[str, int] = {}
            stored: dict[str, int] = {}
            for fact in self.facts():
                if fact.kind in (Kind.ACKED, Kind.STORED):
                    ends = acked if fact.kind is Kind.ACKED else stored
                    ends[fact.series] = max(ends.get(fact.series, 0), fact.last)
            if all(acked.get(series, 0) >= last for series, last in stored.items()):
                return
        raise AssertionError("what it seals at its end is never receipted")

    def facts(self) -> list[Fact]:
        """Returns what its oracle says so far."""
        return list(read_facts(self.oracle)) if self.oracle.exists() else []

    def unkept(self, held: set[int], grace_s: float) -> list[int]:
        """Returns the device's numbers that are not held, though given long enough before a kill."""
        ends = sorted(self.killed)
        missing = []
        for place, given in enumerate(self.device.given):
            if place + 1 in held:
                continue
            end = next((end for end in ends if end >= given), time.monotonic())
            if end - given > grace_s:
                missing.append(place + 1)
        return missing


class Stand:
    """Everything, in one folder."""

    def __init__(self, folder: Path, collector: str = "collector.cli", *, commit_limit_s: float | None = None) -> None:
        """Makes the collector's data and a broker; starts nothing.

        Args:
            collector: the module that is its command.
            commit_limit_s: of every gateway.
        """
        self.folder = folder
        self._commit_limit_s = commit_limit_s
        self.broker = Mosquitto(find_tool("mosquitto"), folder)
        self.data = folder / "collector"
        self.key = prepare(self.data).public.line()
        self.http_port = free_port()
        (self.data / "settings.toml").write_text(
            f'[http]\nport = {self.http_port}\n[broker]\nkind = "outside"\nport = {self.broker.port}\n'
        )
        self.collector = Process(folder, "collector", collector, "serve", "--data", str(self.data))
        self.gateways: list[Gateway] = []

    def add(self, name: str, **options: Any) -> Gateway:
        """Makes a gateway that the collector knows."""
        made = Gateway(
            self.folder / name,
            broker=self.broker.port,
            collector_key=self.key,
            commit_limit_s=self._commit_limit_s,
            **options,
        )
        add_gateway(self.data, made.signer.public.line(), "test", en=name, zh=name)
        self.gateways.append(made)
        return made

    def close(self) -> None:
        """Ends whatever runs; what does not end keeps nothing else from being ended."""
        with ExitStack() as ends:
            ends.callback(self.broker.kill)
            ends.callback(self.collector.kill)
            for gateway in self.gateways:
                ends.callback(gateway.device.close)
                ends.callback(gateway.agent.kill)

    def has_connected(self) -> bool:
        """Whether a collector that was started has reached the broker."""
        assert self.collector.is_running, self.collector.log[-3000:]
        return "connected to the broker" in self.collector.log

    def api(self, path: str) -> Any:
        """Returns what the collector's interface answers; None while it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/api/v1/{path}", timeout=5) as answer:
                return json.loads(answer.read())
        except OSError:
            return None

    # -- what the collector holds ----------------------------------------------------

    def held(self) -> list[Fact]:
        """Returns every batch, range on record and number that lies in the collector's database."""
        path = database(self.data)
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
            rows = db.execute(
                "SELECT g.id, n.epoch, e.lane, e.seq, e.digest, e.envelope FROM evidence e"
                " JOIN epoch_name n ON n.no=e.epoch_no JOIN gateway g ON g.no=n.gateway_no"
            ).fetchall()
            losses = db.execute(
                "SELECT g.id, n.epoch, l.lane, l.first, l.last, l.cause FROM loss l"
                " JOIN epoch_name n ON n.no=l.epoch_no JOIN gateway g ON g.no=n.gateway_no"
            ).fetchall()
        facts = [Fact(Kind.READING, "", 0, 0)]
        for gateway, epoch, lane, seq, digest, envelope in rows:
            facts.append(Fact(Kind.READ, batch_series(gateway, epoch, Lane(lane)), seq, seq, digest.hex()))
            if lane == Lane.DATA:
                facts.extend(Fact(Kind.READ, _values(gateway), n, n, "") for n in numbers(envelope))
        for gateway, epoch, lane, first, last, cause in losses:
            facts.append(Fact(Kind.GAP, batch_series(gateway, epoch, Lane(lane)), first, last, cause))
        return facts

    def quarantined(self) -> list[tuple[str, str]]:
        """Returns code and reason of everything in the collector's quarantine."""
        with closing(sqlite3.connect(f"file:{database(self.data)}?mode=ro", uri=True, timeout=10)) as db:
            found: list[tuple[str, str]] = db.execute("SELECT code, reason FROM quarantine").fetchall()
            return found

    # -- the verdict -----------------------------------------------------------------

    def judge(self, *, grace_s: float | None = None, has_spools: bool = False) -> Verdict:
        """Returns the five numbers.

        Args:
            has_spools: what the spools have and nobody has signed for may still come; it is not lost.
            grace_s: a number that a device gave longer than this before a kill must be there; None: it may go.
        """
        made = [fact for gateway in self.gateways for fact in gateway.facts()]
        if has_spools:
            made = [fact for fact in made if fact.kind is not Kind.STORED]
        held = self.held()
        for gateway in self.gateways:
            series = _values(gateway.id)
            made += [Fact(Kind.ATTEMPT, series, n + 1, n + 1, "") for n in range(len(gateway.device.given))]
            if grace_s is not None:
                got = {fact.first for fact in held if fact.series == series}
                made += [Fact(Kind.EXPECT, series, n, n) for n in gateway.unkept(got, grace_s)]
        return check([*made, *held])

    def wait_until_clean(self, *, grace_s: float | None = None, within_s: float = 90.0) -> Verdict:
        """Waits until everything promised so far is at the collector; fails with what is not."""
        for gateway in self.gateways:
            gateway.stop()
        verdict: list[Verdict] = []

        def is_clean() -> bool:
            verdict[:] = [self.judge(grace_s=grace_s)]
            return verdict[0].is_clean

        end = time.monotonic() + within_s
        while not is_clean():
            assert time.monotonic() < end, f"not clean:\n{verdict[0]}"
            # What was sealed while it stopped waits for the next start.
            for gateway in self.gateways:
                gateway.start()
            for gateway in self.gateways:
                gateway.wait_for_receipts()
            for gateway in self.gateways:
                gateway.stop()
        return verdict[0]


def numbers(envelope: bytes) -> Iterator[int]:
    """Yields the numbers of a counting device that a data batch holds."""
    batch = decode_batch(decode_payload(split(envelope)[1]), Lane.DATA.type)
    for raw in batch.blocks:
        yield from (n for n in decode_block(raw, ["int", "int"], batch.header.sealed_us).values[0] if n is not None)


def _values(gateway: str) -> str:
    return f"number/{gateway}"
