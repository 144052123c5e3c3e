"""One flipped bit in a closed spool: nothing altered gets out, and what is missing has a record."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent import spool as spool_module
from edge_agent import spool_check, spool_open
from edge_agent.spool import Spool
from edge_agent.spool_thread import connect_file
from tests.reliability.bit_flips import Flipper, Flips
from tests.reliability.crash_vfs_story import Story, told
from tests.reliability.scale import seed, times
from tests.reliability.test_power_cuts import scratch

__all__ = ["scratch"]


class LongStory(Story):
    """A spool with more in it."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self.room = 60_000


@pytest.fixture
def flipped(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int, int], Flips]:
    """A function: seed, steps of the story, flips -> what came of them."""
    monkeypatch.setattr(spool_open, "_LOG_PAGES", 60)

    def flip(number: int, steps: int, count: int) -> Flips:
        disk, torn = scratch / f"disk-{number}", scratch / f"torn-{number}"
        disk.mkdir()
        torn.mkdir()
        diary = told(disk, number, steps=steps, story=LongStory)
        spool = Spool(connect_file(disk / "spool.db"))
        spool.open()
        spool.close()
        return Flipper(diary, disk, torn, random.Random(number)).flip(count)

    return flip


def test_a_sample_of_flips_alters_nothing(flipped: Callable[[int, int, int], Flips]) -> None:
    chance = seed()
    found = flipped(chance, 80, 40)
    assert found.numbers[1:] == [0, 0, 0, 0], f"QIANSHAO_SEED={chance}: {found}"


@pytest.mark.ci
def test_flips_alter_nothing_and_lose_nothing_unseen(flipped: Callable[[int, int, int], Flips]) -> None:
    chance = seed()
    print(f"QIANSHAO_SEED={chance}")
    whole = Flips()
    stories = times(3, 20)
    for number in range(stories):
        whole.add(flipped(chance + number, 200, times(500, 1000)))
    print(whole)
    assert whole.numbers == [0] * 5, f"QIANSHAO_SEED={chance}: {whole}"
    assert whole.ends["a batch is damaged"] > 0
    assert whole.ends["put aside when opened"] + whole.ends["put aside by the check"] > 0


@pytest.mark.ci
def test_without_the_checksum_of_a_row_altered_bytes_get_out(
    flipped: Callable[[int, int, int], Flips], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: SQLite's own check does not see most flips."""
    for module in (spool_module, spool_open, spool_check):
        monkeypatch.setattr(module, "is_whole_row", lambda digest, checksum, envelope: True)
    found = flipped(2, 200, 120)
    assert found.numbers[1] > 0, str(found)
