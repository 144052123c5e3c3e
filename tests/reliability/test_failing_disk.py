"""System calls of the disk that fail once, at the K-th call, and a power cut on top: nothing that was stored is lost.

``strace`` has one call of the writer fail (``fdatasync`` with EIO, ``pwrite64`` with EIO or ENOSPC); the keeper goes
on in memory, opens the file anew and commits again; then the disk is cut off for real.  A sync that failed must
never be tried again on the same descriptor: Linux marks the pages clean and the second try succeeds without
having written them (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.debian_tools import find_tool
from tests.reliability.oracle import Kind, read_facts
from tests.reliability.scale import seed, times
from tests.reliability.writers import Writers

#: a call that fails, and among how many calls the one is chosen
_FAILURES = {"fdatasync:error=EIO": 60, "pwrite64:error=EIO": 400, "pwrite64:error=ENOSPC": 400}


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Writers]:
    made = Writers(tmp_path)
    yield made
    made.close()


def _strace(trace: Path, failure: str, at: int) -> list[str]:
    traced = "openat,close,fdatasync,fsync" + (",pwrite64" if failure.startswith("pwrite64") else "")
    command = [find_tool("strace"), "-f", "--seccomp-bpf", "-qq", "-o", str(trace)]
    return [*command, "-e", f"trace={traced}", "-e", f"inject={failure}:when={at}"]


def _syncs_twice(trace: str) -> list[str]:
    """Returns syncs of a descriptor whose sync has failed and that was not closed since."""
    failed: set[tuple[str, str]] = set()
    found = []
    #: thread -> the call that it has begun, where another thread's call stands between its halves
    begun: dict[str, tuple[str, str]] = {}
    for line in trace.splitlines():
        if call := re.match(r"(\d+) (fdatasync|fsync|close)\((\d+)", line):
            thread, name, descriptor = call.groups()
            begun[thread] = (name, descriptor)
        elif resumed := re.match(r"(\d+) <\.\.\. (fdatasync|fsync|close) resumed>", line):
            thread = resumed[1]
        else:
            continue
        if "<unfinished ...>" in line:
            continue
        name, descriptor = begun.pop(thread)
        # Threads of one process share descriptors; only one of them uses the disk.
        key = (thread, descriptor)
        if name == "close":
            failed.discard(key)
        elif key in failed:
            found.append(line)
        elif "INJECTED" in line:
            failed.add(key)
    return found


def _stored(oracle: Path) -> int:
    return sum(fact.kind is Kind.STORED for fact in read_facts(oracle))


@pytest.mark.ci
@pytest.mark.parametrize("failure", _FAILURES)
def test_a_call_that_fails_once_and_a_power_cut_lose_nothing(writers: Writers, tmp_path: Path, failure: str) -> None:
    chosen = seed()
    dice = random.Random(chosen)
    for turn in range(times(6, 70)):
        trace = tmp_path / f"trace-{turn}"
        at = dice.randint(1, _FAILURES[failure])
        print(f"seed {chosen}, call {at}")
        writers.start(*_strace(trace, failure, at))
        # The oracle's facts when the call had failed; three more show that it goes on.
        before: list[int] = []

        def goes_on(oracle: Path, trace: Path = trace, before: list[int] = before) -> bool:
            if "INJECTED" not in trace.read_text():
                return False
            if not before:
                before.append(_stored(oracle))
            return _stored(oracle) > before[0] + 3

        writers.live_until_cut(dice, goes_on)
        writers.stop()
        verdict = writers.judge()
        assert verdict.is_clean, str(verdict)
        assert _syncs_twice(trace.read_text()) == []
    said = writers.log.read_text()
    assert "Traceback" not in said, said[-4000:]


@pytest.mark.ci
def test_a_disk_that_is_full_has_records_for_what_goes(writers: Writers) -> None:
    """Somebody fills the disk; the ballast is given back, and from then on the spool lives within its pages."""
    writers.quota, writers.has_receipts = 1 << 28, False
    # An agent seals at most 50 times a second; thousands would use up the freed pages before room is made.
    writers.pace_s = 0.02
    dice = random.Random(1)
    for _ in range(times(2, 20)):
        said, is_filled = _times_full(writers), False

        def something_went(oracle: Path, said: int = said) -> bool:
            nonlocal is_filled
            if not is_filled:
                writers.disk.fill()
                is_filled = True
            return _times_full(writers) > said

        writers.live_until_cut(dice, something_went)
        verdict = writers.judge()
        assert verdict.is_clean, str(verdict)
    assert verdict.explained


def _times_full(writers: Writers) -> int:
    return writers.log.read_text().count("the spool is full") if writers.log.exists() else 0
