"""A person's look into the spool: counting, decoding, and finding what is false."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from contracts.batch import Lane, LossRecord
from contracts.columns import encode_block
from contracts.envelope import Type, seal
from contracts.keys import Signer, Verifier
from contracts.quality import NO_REPLY
from edge_agent.compile import compile_site
from edge_agent.errors import SpoolError
from edge_agent.plan_catalogue import catalogue
from edge_agent.seal import Sealed
from edge_agent.spool import Commit, EpochRow, Spool, batch_id
from edge_agent.spool_file import LaneVerdict, open_spool
from edge_agent.spool_thread import connect_file
from tests.edge_agent.chains import SIGNER, Clock, new_chain
from tests.edge_agent.site_files import GATEWAY, MAIN, PORTS, write_site

GATEWAY_ID = SIGNER.public.gateway_id
KEYS = {SIGNER.public.key_id: Verifier(SIGNER.public)}
BATCHES = 6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A spool with six data batches of two ticks; the second tick has no reply."""
    plan = compile_site(write_site(tmp_path, GATEWAY + PORTS + MAIN)).plan
    document = catalogue(plan, GATEWAY_ID)
    file = tmp_path / "spool.db"
    spool = Spool(connect_file(file))
    spool.open()
    row = EpochRow(
        no=1, epoch=b"epoch--1", reason="first", boot_id=b"\x01" * 16, boot_counter=3, started_us=0, started_uptime_s=0
    )
    spool.begin_epoch(row)
    envelope, _ = seal(Type.CATALOGUE, document.body, SIGNER)
    spool.commit(Commit(epoch_no=1, catalogue=(document.hash, envelope)))
    clock = Clock()
    chain = new_chain(clock)
    width = len(plan.blocks[0].points)
    for number in range(BATCHES):
        clock.pass_s(2)
        times = [clock() - 1_500_000, clock() - 500_000]
        rows = [(1.5 + number,) * width, (None,) * width]
        block = encode_block(0, document.kinds[0], clock(), times, rows, [None, (NO_REPLY,) * width])
        sealed = chain.seal(
            Lane.DATA,
            sealed_us=clock(),
            catalogue=document.hash,
            blocks=[block],
            readings=2 * width,
            first_us=times[0],
            last_us=times[1],
        )
        spool.commit(Commit(epoch_no=1, batches=[sealed], delivered={(1, Lane.DATA): ((1, 3),)}))
    spool.close()
    return file


def verdict(path: Path) -> LaneVerdict:
    with open_spool(path) as spool:
        (found,) = spool.verify(KEYS, GATEWAY_ID)
    return found


def change(path: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement, values)
    db.close()


def row_id(seq: int) -> int:
    return batch_id(1, Lane.DATA, seq)


def test_lanes_are_counted(path: Path) -> None:
    with open_spool(path) as spool:
        (lane,) = spool.lanes()
    assert (lane.lane, lane.first, lane.last, lane.batches) == (Lane.DATA, 1, BATCHES, BATCHES)
    assert lane.delivered == ((1, 3),)
    assert lane.bytes > 100


def test_every_sample_is_exported_and_what_has_no_number_shows_none(path: Path) -> None:
    with open_spool(path) as spool:
        records = list(spool.records(KEYS))
    pressure = [record for record in records if record["point"] == "main-1/pressure"]
    assert [record["value"] for record in pressure[::2]] == [1.5 + n for n in range(BATCHES)]
    assert {(r["value"], r["quality"], r["reason"]) for r in pressure[1::2]} == {(None, "missing", "no_reply")}
    first = pressure[0]
    assert first["wall_us"] - first["mono_us"] == 1_800_000_000_000_000
    assert (first["clock"], first["unit"], first["seq"]) == ("ntp", "bar", 1)


def test_a_whole_spool_verifies(path: Path) -> None:
    assert verdict(path).problems == ()
    assert verdict(path).verified == BATCHES


def test_reading_beside_the_running_agent_is_possible(path: Path) -> None:
    writer = sqlite3.connect(path)
    writer.execute("BEGIN IMMEDIATE")
    assert verdict(path).verified == BATCHES
    writer.rollback()
    writer.close()


def test_a_changed_byte_is_found(path: Path) -> None:
    db = sqlite3.connect(path)
    (envelope,) = db.execute("SELECT envelope FROM batch WHERE id=?", (row_id(3),)).fetchone()
    db.close()
    spoiled = bytearray(envelope)
    spoiled[len(spoiled) // 2] ^= 1
    change(path, "UPDATE batch SET envelope=? WHERE id=?", bytes(spoiled), row_id(3))
    (problem,) = verdict(path).problems
    assert problem.startswith("batch 3: the signature")
    with open_spool(path) as spool, pytest.raises(SpoolError, match="data batch 3"):
        list(spool.records(KEYS))


def test_a_removed_batch_is_found(path: Path) -> None:
    change(path, "DELETE FROM batch WHERE id=?", row_id(4))
    assert verdict(path).problems == ("batches 4 to 4: missing, no record says why",)


def test_a_batch_of_another_chain_in_its_place_is_found(path: Path) -> None:
    other = new_chain(Clock(5), epoch=b"epoch--1")
    sealed: list[Sealed] = [other.seal(Lane.DATA, sealed_us=5) for _ in range(3)]
    change(
        path,
        "UPDATE batch SET envelope=?, digest=? WHERE id=?",
        sealed[2].envelope,
        sealed[2].digest,
        row_id(3),
    )
    problems = verdict(path).problems
    assert problems == (
        "batch 3: it does not follow the batch before it",
        "batch 4: it does not follow the batch before it",
    )


def test_two_batches_that_changed_places_are_found(path: Path) -> None:
    change(path, "UPDATE batch SET id=-1 WHERE id=?", row_id(2))
    change(path, "UPDATE batch SET id=? WHERE id=?", row_id(2), row_id(5))
    change(path, "UPDATE batch SET id=? WHERE id=-1", row_id(5))
    problems = verdict(path).problems
    assert "batch 2: it says that it is batch 5 of another place" in problems
    assert "batch 5: it says that it is batch 2 of another place" in problems


def test_a_batch_signed_by_another_key_is_found(path: Path) -> None:
    stranger = Signer.from_seed(b"\x99" * 32)
    envelope, digest = seal(Type.DATA_BATCH, b"\x90", stranger)
    change(path, "UPDATE batch SET envelope=?, digest=? WHERE id=?", envelope, digest, row_id(BATCHES))
    assert "is not registered" in verdict(path).problems[0]


def test_released_and_lost_ranges_are_no_holes(path: Path) -> None:
    spool = Spool(connect_file(path))
    spool.open()
    spool.release(1, Lane.DATA, 1, 2)
    last = spool.digest(1, Lane.DATA, 3)
    assert last is not None
    loss = LossRecord(epoch=b"epoch--1", lane=Lane.DATA, first=3, last=3, digest=last, readings=4, cause="quota")
    spool.commit(Commit(epoch_no=1, drop=[(1, loss)]))
    spool.close()
    found = verdict(path)
    assert (found.problems, found.verified, found.released, found.lost) == ((), BATCHES - 3, 2, 1)
    change(path, "UPDATE gone SET digest=zeroblob(32) WHERE last=3")
    assert verdict(path).problems == ("batch 4: it does not follow the batch before it",)


def test_a_missing_catalogue_is_a_sentence(path: Path) -> None:
    change(path, "DELETE FROM catalogue")
    with open_spool(path) as spool, pytest.raises(SpoolError, match="catalogue that explains it is not in this spool"):
        list(spool.records(KEYS))


def test_no_spool_and_no_database_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="there is no spool"), open_spool(tmp_path / "none.db"):
        pass
    (tmp_path / "text.db").write_text("not a database, but long enough to be looked at" * 20)
    with pytest.raises(SpoolError, match="cannot be read"), open_spool(tmp_path / "text.db") as spool:
        spool.lanes()
