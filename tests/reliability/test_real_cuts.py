"""Power cuts made by a real kernel: what was stored before the cut is there after it.

An ext4 file system in a loop device is cut off (``xfs_io -x -c shutdown``) while the real keeper writes to
it: what had not been synced is gone, as on a gateway that lost its power.  The oracle lies on another disk and
is read before the cut: a process that lives some microseconds longer would still note what the disk no longer takes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.checker import Verdict
from tests.reliability.scale import seed, times
from tests.reliability.writers import Writers


@pytest.fixture
def writers(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Writers]:
    made = Writers(tmp_path, getattr(request, "param", ""))
    yield made
    made.close()


@pytest.mark.ci
def test_what_was_stored_before_a_power_cut_is_there_after_it(writers: Writers) -> None:
    chosen = seed()
    print(f"seed {chosen}")
    dice = random.Random(chosen)
    verdict = Verdict()
    for _ in range(times(60, 1000)):
        writers.live_until_cut(dice)
        verdict = writers.judge()
        assert verdict.is_clean, str(verdict)
    print(f"{verdict.read} batches are there, {verdict.explained} went with a record")


@pytest.mark.ci
@pytest.mark.parametrize("writers", ["synchronous=NORMAL"], indirect=True)
def test_a_spool_that_does_not_sync_its_log_is_caught(writers: Writers) -> None:
    dice = random.Random(1)
    for _ in range(20):
        writers.live_until_cut(dice)
        if writers.judge().lost:
            return
    raise AssertionError("twenty power cuts lost nothing without a sync of the log: these cuts prove nothing")
