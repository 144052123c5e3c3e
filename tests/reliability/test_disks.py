"""Disks that are full, read-only, slow or failing under the real agent: polling and alarms never wait for them.

The agent's state lies on a small ext4 disk of its own; broker and collector are real.  In every test the alarm
leaves within a second of the moment when the device showed it, polling keeps its pace, nobody reads a
traceback, and when the disk is well again everything that was promised is at the collector, or has a signed record.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import apsw
import pytest

from edge_agent.state_dir import SPOOL
from tests.debian_tools import find_tool
from tests.reliability.alarm_ear import AlarmEar
from tests.reliability.counting_device import HIGH, LOW
from tests.reliability.loop_disk import LoopDisk
from tests.reliability.scale import times
from tests.reliability.stand import Gateway, Stand
from tests.system.rig import until

_INTERVAL_S = 0.1
#: from the moment when the device shows it
_ALARM_S = 1.0
#: from the moment when the disk is well again
_RECOVERY_S = 10.0


class Site:
    """One gateway on a disk of its own, with somebody who listens for its alarms."""

    def __init__(self, folder: Path, *, size_mib: int = 16) -> None:
        self._ends = ExitStack()
        self.disk = LoopDisk(folder, size_mib)
        self._ends.callback(self.disk.close)
        try:
            self.disk.mount()
            self.stand = Stand(folder)
            self._ends.callback(self.stand.close)
            self.stand.broker.start()
            self.stand.collector.start()
            self.gateway: Gateway = self.stand.add("gateway", state=self.disk.path / "state", interval_s=_INTERVAL_S)
            self.ear = AlarmEar(self.stand.broker.port, self.gateway.id)
            self._ends.callback(self.ear.close)
        except BaseException:
            self.close()
            raise

    def start(self, *before: str) -> None:
        """Starts the agent and waits for its link; where the disk takes no socket nobody could ask it."""
        links = self._links()
        self.gateway.start(*before)
        self.gateway.polls(60.0)
        until(lambda: self._links() > links, "the link")

    def _links(self) -> int:
        return (self.stand.folder / "mosquitto.log").read_text().count(f" as {self.gateway.id} ")

    def has_no_pages_to_spare(self) -> None:
        """Takes free pages and the log's space from the stopped agent's spool: what it keeps next needs the disk."""
        with closing(apsw.Connection(str(self.gateway.spool))) as db:
            db.execute("VACUUM")
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def close(self) -> None:
        """Ends everything, the last made first; what fails keeps nothing else from being ended."""
        self._ends.close()

    def alarm_leaves(self) -> None:
        """The alarm is raised, leaves in time, and is cleared again."""
        for level, state in ((HIGH, "active"), (LOW, "cleared")):
            since_s = time.monotonic()
            self.gateway.device.set_level(level)
            heard_s = self.ear.first(state, since_s)
            shown_s = self.gateway.device.shown_s
            assert shown_s is not None
            assert shown_s - since_s < 3 * _INTERVAL_S + 0.5, "the device was not asked in its pace"
            assert heard_s - shown_s < _ALARM_S, f"the alarm took {heard_s - shown_s:.2f} s"

    def polls_in_pace(self, over_s: float = 1.5) -> None:
        before = len(self.gateway.device.given)
        time.sleep(over_s)
        assert len(self.gateway.device.given) - before > 0.7 * over_s / _INTERVAL_S

    def has_sent_what_memory_alone_holds(self) -> None:
        """Waits until no hole is left at the collector: without a store only that outlives a kill, but the newest."""
        until(lambda: not self.stand.judge(has_spools=True).gaps, "the last hole at the collector to close", 30.0)

    def recovers(self, is_well: Callable[[dict[str, object]], bool]) -> None:
        since_s = time.monotonic()
        until(lambda: is_well(self.gateway.status()), "that the store is well again", _RECOVERY_S)
        print(f"well again after {time.monotonic() - since_s:.1f} s")

    def ends_clean(self, *, grace_s: float | None = None) -> None:
        """Everything promised is at the collector, or on record."""
        verdict = self.stand.wait_until_clean(grace_s=grace_s)
        print(verdict)
        assert "Traceback" not in self.gateway.agent.log, self.gateway.agent.log[-4000:]
        assert self.stand.quarantined() == []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def _is_well(status: dict[str, object]) -> bool:
    return status.get("store") == "normal" and status.get("spool_disk_full") == 0


@pytest.mark.ci
def test_a_disk_that_is_full_to_the_byte(site: Site) -> None:
    site.start()
    site.alarm_leaves()
    for _ in range(times(2, 100)):
        site.gateway.stop()
        site.has_no_pages_to_spare()
        site.start()
        # The ballast is given back, and then that is full too.
        for _ in range(2):
            site.disk.fill()
            assert site.disk.free_bytes() == 0
            site.alarm_leaves()
            site.polls_in_pace()
        until(lambda: site.gateway.status().get("spool_disk_full"), "that it is noticed", 30.0)
        site.disk.empty()
        site.recovers(_is_well)
        site.alarm_leaves()
    site.ends_clean(grace_s=2.0)


@pytest.mark.ci
def test_an_agent_that_starts_with_an_empty_spool_on_a_full_disk(site: Site) -> None:
    site.start()
    site.gateway.kill()
    for path in site.gateway.state.glob(f"{SPOOL}*"):
        path.unlink()
    site.gateway.oracle.unlink()
    site.disk.fill()
    site.start()
    site.alarm_leaves()
    site.polls_in_pace()
    site.disk.empty()
    site.recovers(_is_well)
    site.alarm_leaves()
    site.ends_clean()


@pytest.mark.ci
def test_a_disk_that_becomes_read_only_and_is_mended(site: Site) -> None:
    site.start()
    for _ in range(times(2, 50)):
        site.disk.make_read_only()
        until(lambda: site.gateway.status().get("store") == "volatile", "that it is told", _RECOVERY_S)
        site.alarm_leaves()
        site.polls_in_pace()
        # A restart there still polls and alarms.
        site.has_sent_what_memory_alone_holds()
        site.gateway.kill()
        site.start()
        site.alarm_leaves()
        site.has_sent_what_memory_alone_holds()
        site.gateway.kill()
        site.disk.make_writable()
        site.start()
        site.recovers(_is_well)
    site.ends_clean()


@pytest.mark.ci
def test_a_disk_that_does_not_answer_for_seconds(site: Site) -> None:
    site.start()
    for _ in range(times(2, 30)):
        subprocess.run([find_tool("fsfreeze"), "-f", str(site.disk.path)], check=True)
        try:
            site.alarm_leaves()
            site.polls_in_pace()
            assert site.gateway.status()["store"] == "volatile"
        finally:
            subprocess.run([find_tool("fsfreeze"), "-u", str(site.disk.path)], check=True)
        site.recovers(_is_well)
    site.ends_clean(grace_s=2.0)


def _directory(name: str) -> tuple[Callable[[Path], None], Callable[[Path], None]]:
    """What puts a directory in the place of a file that the spool needs, and takes it away again."""

    def ruin(state: Path) -> None:
        for path in state.glob(f"{SPOOL}*"):
            path.unlink()
        (state / name).mkdir()
        (state / name / "file").touch()

    return ruin, lambda state: shutil.rmtree(state / name)


def _immutable(state: Path) -> None:
    subprocess.run([find_tool("chattr"), "+i", str(state / SPOOL)], check=True)


def _mutable(state: Path) -> None:
    subprocess.run([find_tool("chattr"), "-i", str(state / SPOOL)], check=True)


#: what makes the spool unusable at the start, and what puts it right
_RUINS = {
    "spool is a directory": _directory(SPOOL),
    "log is a directory": _directory(f"{SPOOL}-wal"),
    "nobody may write it": (_immutable, _mutable),
}


@pytest.mark.ci
def test_a_spool_that_cannot_be_opened_at_the_start(site: Site) -> None:
    site.start()
    for name, (ruin, mend) in _RUINS.items():
        print(name)
        site.gateway.start_again_for_receipts()
        ruin(site.gateway.state)
        site.start()
        site.alarm_leaves()
        site.polls_in_pace()
        assert site.gateway.status()["store"] == "volatile"
        mend(site.gateway.state)
        site.recovers(_is_well)
    site.ends_clean()


@pytest.mark.ci
def test_a_folder_that_goes_away_while_the_agent_runs(site: Site) -> None:
    site.start()
    site.gateway.start_again_for_receipts()
    site.start()
    away = site.gateway.state.with_name("away")
    site.gateway.state.rename(away)
    site.alarm_leaves()
    site.polls_in_pace()
    away.rename(site.gateway.state)
    site.recovers(_is_well)
    site.alarm_leaves()
    site.ends_clean()
