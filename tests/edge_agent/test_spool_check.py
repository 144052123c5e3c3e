"""The full check: finds what is damaged, in small steps, beside a spool in use."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import apsw
import pytest

from contracts.batch import Lane
from edge_agent.errors import SpoolError
from edge_agent.put_aside import kept_aside
from edge_agent.spool import Commit, Spool, StoredBatch
from edge_agent.spool_check import SpoolCheck, check_file
from edge_agent.spool_open import PAGE_BYTES
from edge_agent.spool_thread import SpoolThread, connect_file
from tests.edge_agent.chains import Clock, new_chain, seal_data
from tests.edge_agent.damaged_spool import EPOCHS, Made, make_spool, pages_of, without_log, zero_pages


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_spool(tmp_path)


def flip(made: Made, seq: int) -> None:
    """Flips one bit of one batch; SQLite cannot see it."""
    batch = next(item for item in made.batches if (item.epoch, item.lane, item.seq) == (EPOCHS[1], Lane.DATA, seq))
    data = bytearray(made.path.read_bytes())
    data[data.find(batch.envelope[-20:])] ^= 4
    made.path.write_bytes(data)


def test_a_whole_file_has_nothing_to_tell_and_rests_are_taken(made: Made) -> None:
    rests: list[float] = []
    found = check_file(made.path, is_stopped=lambda: False, rest=rests.append)
    assert (found.problems, found.batches, found.rows, found.stopped) == ((), (), len(made.batches), "")
    assert len(rests) > len(made.batches) // 50


def test_pages_that_do_not_fit_together_are_told(made: Made) -> None:
    without_log(made.path)
    for seed in range(3):
        zero_pages(made.path, random.Random(seed))
    assert check_file(made.path, is_stopped=lambda: False, rest=lambda seconds: None).problems


def test_a_bit_that_sqlite_does_not_see_is_found_in_its_row(made: Made) -> None:
    without_log(made.path)
    flip(made, 4)
    found = check_file(made.path, is_stopped=lambda: False, rest=lambda seconds: None)
    assert found.problems == ()
    assert [(batch.lane, batch.seq, batch.is_whole) for batch in found.batches] == [(Lane.DATA, 4, False)]


@pytest.mark.parametrize("change", ["id=id+1000", "readings=readings+1", "first_us=first_us-1", "last_us=last_us+8"])
def test_a_row_that_says_something_else_of_its_batch_is_damage_of_the_file(made: Made, change: str) -> None:
    db = apsw.Connection(str(made.path))
    db.execute(f"UPDATE batch SET {change} WHERE id=(SELECT max(id) FROM batch)")
    db.close()
    (problem,) = check_file(made.path, is_stopped=lambda: False, rest=lambda seconds: None).problems
    assert problem.endswith("is not in the place where it was written")


def test_a_row_of_before_says_nothing_of_its_place(made: Made) -> None:
    db = apsw.Connection(str(made.path))
    db.execute("UPDATE batch SET checksum=checksum & 0xFFFFFFFF")
    db.execute("UPDATE batch SET readings=readings+1")
    db.close()
    found = check_file(made.path, is_stopped=lambda: False, rest=lambda seconds: None)
    assert (found.problems, found.batches) == ((), ())


def test_no_file_is_a_sentence_and_no_damage(tmp_path: Path) -> None:
    found = check_file(tmp_path / "none.db", is_stopped=lambda: False, rest=lambda seconds: None)
    assert found.problems == ()
    assert found.stopped


def test_a_check_that_is_told_to_stop_stops(made: Made) -> None:
    steps = 0

    def rest(seconds: float) -> None:
        nonlocal steps
        steps += 1

    found = check_file(made.path, is_stopped=lambda: steps > 0, rest=rest)
    assert found.stopped == "stopped"
    assert steps <= 2


def test_commits_go_on_beside_it(made: Made) -> None:
    """A check that is in the middle of the file holds up no writer."""
    in_the_middle, go_on = threading.Event(), threading.Event()

    def rest(seconds: float) -> None:
        in_the_middle.set()
        go_on.wait(10)

    thread = threading.Thread(target=check_file, args=(made.path,), kwargs={"is_stopped": lambda: False, "rest": rest})
    thread.start()
    try:
        assert in_the_middle.wait(10)
        spool = Spool(connect_file(made.path))
        spool.open()
        clock = Clock()
        chain = new_chain(clock, b"epoch--3")
        for _ in range(5):
            clock.pass_s(2)
            spool.commit(Commit(epoch_no=7, batches=[seal_data(chain, clock)]))
        spool.close()
    finally:
        go_on.set()
        thread.join()


async def _checked(path: Path, thread: SpoolThread) -> tuple[SpoolCheck, list[StoredBatch]]:
    damaged: list[StoredBatch] = []
    check = SpoolCheck(path, condemn=thread.condemn, damaged=damaged.append)
    await check.once()
    return check, damaged


async def test_a_damaged_batch_is_handed_on_and_the_file_stays(made: Made) -> None:
    without_log(made.path)
    flip(made, 6)
    thread = SpoolThread(made.path)
    await thread.open()
    check, damaged = await _checked(made.path, thread)
    assert (check.state, [batch.seq for batch in damaged]) == ("1 damaged", [6])
    assert kept_aside(made.path) == ()
    await thread.close()


async def test_a_damaged_file_is_put_aside_and_the_thread_goes_on(made: Made) -> None:
    without_log(made.path)
    data = bytearray(made.path.read_bytes())
    # Away from what is looked at when it is opened: heads, small tables, the newest batch.
    at = (max(pages_of(data, made.batches[20])) - 1) * PAGE_BYTES
    data[at : at + PAGE_BYTES] = bytes(PAGE_BYTES)
    made.path.write_bytes(data)
    thread = SpoolThread(made.path)
    assert (await thread.open()).put_aside is None
    check, _ = await _checked(made.path, thread)
    assert check.state not in ("ok", "running")
    (aside,) = kept_aside(made.path)
    assert thread.take_replaced() == f"the spool was damaged and is kept as {aside.path.name}"
    assert await thread.run(lambda spool: len(spool.inventory().epochs)) == 0
    await thread.close()


async def test_a_file_that_lies_there_since_is_not_put_aside_for_the_one_before(made: Made) -> None:
    thread = SpoolThread(made.path)
    await thread.open()
    await thread.condemn("an old finding", (1, 2))
    assert kept_aside(made.path) == ()
    await thread.close()


async def test_what_cannot_be_put_aside_is_said_and_nothing_else_happens(made: Made) -> None:
    async def refuse(why: str, place: tuple[int, int] | None) -> None:
        raise SpoolError("20 damaged spools lie beside it")

    without_log(made.path)
    for seed in range(3):
        zero_pages(made.path, random.Random(seed))
    check = SpoolCheck(made.path, condemn=refuse, damaged=lambda batch: None)
    await check.once()
    assert check.state not in ("ok", "running")
    assert made.path.exists()
