"""Power cuts at every disk operation of a gateway's life: every state that may be left keeps the promise."""

from __future__ import annotations

import multiprocessing
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent import spool_open
from tests.reliability.crash_vfs import SECTOR, Disk, Does, Op, choose
from tests.reliability.crash_vfs_judge import Outcome, look_at_states
from tests.reliability.crash_vfs_story import FailingDisk, Story, told
from tests.reliability.scale import seed, times

#: pages of the log, by story: it is written back and begun anew again and again
LOG_PAGES = (60, 100, 250)
_MEMORY = Path("/dev/shm")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where the machine has one: these tests sync and write a lot, and no disk is needed."""
    if not _MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="power-cuts-", dir=_MEMORY) as name:
        yield Path(name)


def live_and_cut(
    directory: Path, number: int, *, steps: int, states: int, story: type[Story] = Story
) -> tuple[Outcome, dict[str, int]]:
    """Tells a story and looks at states of it; returns what came of them, and what the story had in it."""
    before = spool_open._LOG_PAGES
    spool_open._LOG_PAGES = LOG_PAGES[number % len(LOG_PAGES)]
    try:
        with tempfile.TemporaryDirectory(dir=directory) as disk, tempfile.TemporaryDirectory(dir=directory) as cut:
            diary = told(Path(disk), number, steps=steps, story=story)
            return look_at_states(diary, Path(cut), states=states, seed=number), diary.counts
    finally:
        spool_open._LOG_PAGES = before


def _story(number: int) -> type[Story]:
    return FailingDisk if number % 5 == 0 else Story


def _one(work: tuple[Path, int, int, int]) -> tuple[Outcome, dict[str, int]]:
    directory, number, steps, states = work
    return live_and_cut(directory, number, steps=steps, states=states, story=_story(number))


@pytest.mark.parametrize("story", [Story, FailingDisk])
def test_a_sample_of_power_cuts_loses_nothing(scratch: Path, story: type[Story]) -> None:
    chance = seed()
    outcome, _ = live_and_cut(scratch, chance, steps=100, states=250, story=story)
    assert outcome.bad == 0, f"QIANSHAO_SEED={chance}: {outcome}"
    assert outcome.states >= 240


@pytest.mark.ci
def test_power_cuts_lose_nothing(scratch: Path) -> None:
    """At least 100 000 states in CI, a million in the long form."""
    chance = seed()
    print(f"QIANSHAO_SEED={chance}")
    stories = times(25, 250)
    whole, counts = Outcome(), dict[str, int]()
    work = [(scratch, chance + number, 150, 4100) for number in range(stories)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for outcome, had in pool.imap_unordered(_one, work):
            whole.add(outcome)
            for name, number in had.items():
                counts[name] = counts.get(name, 0) + number
    print(whole, counts)
    assert whole.bad == 0, f"QIANSHAO_SEED={chance}: {whole}"
    assert whole.states >= times(100_000, 1_000_000)
    for what in (
        "batches released",
        "batches thinned",
        "batches quota",
        "checkpoints",
        "epochs forgotten",
        "failed syncs",
    ):
        assert counts.get(what, 0) > 0, f"no story had {what}: {counts}"


# -- the file system itself ------------------------------------------------------------


def _op(does: Does, name: str = "a", file: int = 1, **more: object) -> Op:
    return Op(does, file, name, **more)  # type: ignore[arg-type]


def _states(*ops: Op) -> set[tuple[tuple[str, bytes], ...]]:
    """Returns every state after the last of some operations."""
    disk = Disk()
    for op in ops:
        disk.play(op)
    units = disk.units()
    found = set()
    for mask in range(1 << len(units)):
        chosen = frozenset(unit for place, unit in enumerate(units) if mask >> place & 1)
        found.add(tuple(sorted(disk.after_cut(chosen).items())))
    return found


MADE = (_op(Does.CREATE), _op(Does.SYNC, with_directory=True))
A, B = b"A" * SECTOR, b"B" * SECTOR


def test_what_was_synced_stays_and_what_was_not_may_go_sector_by_sector() -> None:
    assert _states(*MADE, _op(Does.WRITE, data=A), _op(Does.SYNC)) == {(("a", A),)}
    zero = bytes(SECTOR)
    assert _states(*MADE, _op(Does.WRITE, data=A + B)) == {
        (("a", b""),),
        (("a", A),),
        (("a", zero + B),),
        (("a", A + B),),
    }
    # A write that begins in the middle of a sector is torn where the sector ends, not where the write does.
    torn = _states(*MADE, _op(Does.WRITE, offset=SECTOR - 2, data=b"xxyy"))
    assert {dict(state)["a"][SECTOR - 2 :] for state in torn} == {b"", b"xx", b"\0\0yy", b"xxyy"}


def test_the_later_of_two_writes_may_be_there_without_the_earlier() -> None:
    states = _states(
        *MADE, _op(Does.WRITE, data=A), _op(Does.SYNC), _op(Does.WRITE, data=b"1"), _op(Does.WRITE, offset=1, data=b"2")
    )
    assert {dict(state)["a"][:2] for state in states} == {b"AA", b"1A", b"A2", b"12"}


def test_a_file_that_nobody_synced_into_its_directory_may_be_missing_and_a_removed_one_may_come_back() -> None:
    assert _states(_op(Does.CREATE)) == {(), (("a", b""),)}
    assert _states(*MADE, _op(Does.DELETE)) == {(), (("a", b""),)}
    assert _states(*MADE, _op(Does.DELETE, with_directory=True)) == {()}
    again = _op(Does.CREATE, file=2)
    kept = (*MADE, _op(Does.WRITE, data=b"old"), _op(Does.SYNC), _op(Does.DELETE), again)
    written = (*kept, _op(Does.WRITE, file=2, data=b"new"), _op(Does.SYNC, file=2))
    assert _states(*written) == {(), (("a", b"old"),), (("a", b"new"),)}


def test_a_truncation_that_was_not_synced_has_happened_or_not() -> None:
    long = (*MADE, _op(Does.WRITE, data=A + B), _op(Does.SYNC))
    assert _states(*long, _op(Does.TRUNCATE, offset=SECTOR)) == {(("a", A + B),), (("a", A),)}
    assert _states(*long, _op(Does.TRUNCATE, offset=SECTOR), _op(Does.SYNC)) == {(("a", A),)}


def test_after_a_failed_sync_the_next_one_writes_only_pages_that_were_written_to_again() -> None:
    lost = (*MADE, _op(Does.WRITE, data=A), _op(Does.FAILED_SYNC))
    assert _states(*lost, _op(Does.SYNC)) == {(("a", b""),), (("a", A),)}
    near = _states(*lost, _op(Does.WRITE, offset=SECTOR, data=B), _op(Does.SYNC))
    assert near == {(("a", A + B),)}, "its page is written as a whole"
    far = _states(*lost, _op(Does.WRITE, offset=4096, data=B), _op(Does.SYNC))
    assert {dict(state)["a"][:SECTOR] for state in far} == {bytes(SECTOR), A}
    assert _states(*lost, _op(Does.WRITE, data=A), _op(Does.SYNC)) == {(("a", A),)}, "written over itself"


def test_a_failed_sync_does_not_undo_a_truncation() -> None:
    long = (*MADE, _op(Does.WRITE, data=A + B), _op(Does.SYNC))
    cut = (*long, _op(Does.TRUNCATE, offset=SECTOR), _op(Does.FAILED_SYNC))
    assert _states(*cut, _op(Does.SYNC)) == {(("a", A),)}
    assert _states(*cut, _op(Does.WRITE, offset=SECTOR, data=A), _op(Does.SYNC)) == {(("a", A + A),)}
    lost = (*long, _op(Does.WRITE, offset=4096, data=B), _op(Does.FAILED_SYNC), _op(Does.TRUNCATE, offset=SECTOR))
    assert _states(*lost, _op(Does.SYNC)) == {(("a", A),)}, "what was forgotten behind the end is gone with it"


def test_what_is_chosen_is_always_a_part_of_what_is_not_synced() -> None:
    units = [(number, sector) for number in range(1, 6) for sector in range(3)]
    chance = random.Random(1)
    chosen = [choose(units, chance) for _ in range(2000)]
    assert all(part <= frozenset(units) for part in chosen)
    assert {frozenset(), frozenset(units)} <= set(chosen)
    assert len(set(chosen)) > 400
    assert choose([], chance) == frozenset()


def test_playing_a_recording_to_its_end_gives_the_files_that_are_there(scratch: Path) -> None:
    directory = scratch / "disk"
    directory.mkdir()
    diary = told(directory, 4, steps=40)
    disk = Disk()
    for op in diary.recording.ops:
        disk.play(op)
    for name, data in disk.now().items():
        assert (directory / name).read_bytes() == data, name
    assert set(disk.now()) == {"spool.db", "spool.db-wal"}
