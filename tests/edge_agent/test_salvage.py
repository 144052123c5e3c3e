"""Salvage: every batch that is whole comes back, none that is not, once, and nothing is deleted."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
from pathlib import Path

import pytest

from contracts.batch import Batch, Lane, Origin, decode_batch
from contracts.envelope import decode_payload, open_envelope, split
from contracts.keys import load_or_create
from edge_agent import spool_open
from edge_agent.commands.spool import run as spool_command
from edge_agent.commands.words import Words
from edge_agent.delivery import Delivery
from edge_agent.errors import EdgeError
from edge_agent.put_aside import put_aside
from edge_agent.recovered import take_in, write_recovered
from edge_agent.remains import read_remains
from edge_agent.salvage import Survey, salvage_epochs, survey
from edge_agent.spool import Spool, StoredBatch
from edge_agent.spool_file import open_spool
from edge_agent.spool_pages import SpoolPages
from edge_agent.spool_thread import SpoolThread, connect_file
from edge_agent.state_dir import KEY
from tests.edge_agent.chains import SIGNER
from tests.edge_agent.damaged_spool import (
    DAMAGES,
    EPOCHS,
    GATEWAY_ID,
    KEYS,
    RECEIPTED,
    Made,
    make_spool,
    pages_of,
    without_log,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A spool whose every page is in the file once."""
    made = make_spool(tmp_path_factory.mktemp("whole"))
    without_log(made.path)
    return made


def look(path: Path) -> Survey:
    with SpoolPages(path) as pages:
        return survey(pages, KEYS, GATEWAY_ID, read_remains(path))


def found_of(found: Survey) -> dict[tuple[bytes, Lane, int], bytes]:
    return {(*key, seq): batch.digest for key, chain in found.chains.items() for seq, batch in chain.items()}


def all_of(made: Made) -> dict[tuple[bytes, Lane, int], bytes]:
    return {made.key(sealed): sealed.digest for sealed in made.batches}


def salvage(path: Path, into: Path) -> list[Batch]:
    """Salvages a file into another; returns the recovered batches, verified."""
    with SpoolPages(path) as pages:
        found = survey(pages, KEYS, GATEWAY_ID, read_remains(path))
        epochs = salvage_epochs(found, "1")
        write_recovered(into, pages, found, epochs, signer=SIGNER, version="1")
    return read_batches(into)


def read_batches(path: Path) -> list[Batch]:
    spool = Spool(connect_file(path))
    opened = spool.open()
    found: list[StoredBatch] = []
    for (no, lane), view in opened.lanes.items():
        for seq in range(1, view.head.seq + 1):
            found += spool.read(no, lane, [(seq, seq)], limit_bytes=1)
    spool.close()
    return [decode_batch(open_envelope(row.envelope, row.lane.type, KEYS).body, row.lane.type) for row in found]


# -- what is found -------------------------------------------------------------------


def test_everything_is_found_in_a_whole_file(whole: Made) -> None:
    found = look(whole.path)
    assert found_of(found) == all_of(whole)
    assert (found.foreign, found.holes(), set(found.catalogues)) == (0, [], {whole.catalogue.hash})


def test_what_is_only_in_the_log_is_found(tmp_path: Path) -> None:
    made = make_spool(tmp_path, batches=20)
    data = made.path.read_bytes()
    copy = tmp_path / "copy.db"
    # As a kill leaves it: the file as long ago, the log beside it.
    spool = Spool(connect_file(copy))
    spool.open()
    shutil.copy(made.path.with_name("spool.db-wal"), tmp_path / "copy.db-wal.kept")
    spool.close()
    (tmp_path / "copy.db-wal.kept").rename(tmp_path / "copy.db-wal")
    copy.write_bytes(data[: len(data) // 4])
    assert found_of(look(copy)) == all_of(made)


def test_an_old_file_with_larger_pages_and_no_head_is_found_by_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_open, "PAGE_BYTES", 1024)
    made = make_spool(tmp_path, batches=60)
    without_log(made.path)
    data = bytearray(made.path.read_bytes())
    data[:1024] = os.urandom(1024)
    made.path.write_bytes(data)
    assert found_of(look(made.path)) == all_of(made)


SEEDS = 12


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("seed", range(2))
def test_every_whole_batch_is_found_and_no_other(whole: Made, tmp_path: Path, kind: str, seed: int) -> None:
    _find_after_damage(whole, tmp_path, kind, range(seed * SEEDS, (seed + 1) * SEEDS))


@pytest.mark.ci
@pytest.mark.parametrize("kind", DAMAGES)
def test_every_whole_batch_is_found_and_no_other_many(whole: Made, tmp_path: Path, kind: str) -> None:
    _find_after_damage(whole, tmp_path, kind, range(1000, 1300))


def _find_after_damage(made: Made, folder: Path, kind: str, seeds: range) -> None:
    data = made.path.read_bytes()
    pages = {made.key(sealed): pages_of(data, sealed) for sealed in made.batches}
    assert all(pages.values())
    before = all_of(made)
    for seed in seeds:
        path = folder / f"{seed}.db"
        path.write_bytes(data)
        hit = DAMAGES[kind](path, random.Random(seed))
        assert hit is not None
        found = found_of(look(path))
        assert found.items() <= before.items(), "what was never sealed came back"
        kept = {key for key, places in pages.items() if not places & hit}
        assert kept <= found.keys(), (seed, kept - found.keys())
        path.unlink()


@pytest.mark.ci
def test_a_file_cut_off_at_every_page(whole: Made, tmp_path: Path) -> None:
    data = whole.path.read_bytes()
    pages = {whole.key(sealed): pages_of(data, sealed) for sealed in whole.batches}
    path = tmp_path / "cut.db"
    for length in range(0, len(data) // 1024, 3):
        path.write_bytes(data[: length * 1024])
        found = found_of(look(path)).keys()
        assert {key for key, places in pages.items() if max(places) <= length} <= found


@pytest.mark.parametrize("content", [b"", b"x", b"not a spool at all" * 4000, bytes(50_000)])
def test_a_file_that_never_was_a_spool_gives_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.db"
    path.write_bytes(content)
    found = look(path)
    assert (found.batches, found.foreign, found.holes()) == (0, 0, [])


def test_a_spool_of_another_gateway_gives_nothing(whole: Made) -> None:
    with SpoolPages(whole.path) as pages:
        found = survey(pages, {}, GATEWAY_ID, None)
    assert (found.batches, found.foreign) == (0, len(whole.batches))


def test_a_damaged_file_is_only_read(whole: Made, tmp_path: Path) -> None:
    made = make_spool(tmp_path, batches=10)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("spool.db*")}
    salvage(made.path, tmp_path / "out.db")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("spool.db*")} == before


# -- what is sealed again ------------------------------------------------------------


def test_what_is_sealed_again_says_what_it_was(whole: Made, tmp_path: Path) -> None:
    batches = salvage(whole.path, tmp_path / "out.db")
    old = {
        whole.key(sealed): decode_batch(decode_payload(split(sealed.envelope)[1]), sealed.lane.type)
        for sealed in whole.batches
    }
    assert len(batches) == len(whole.batches) - RECEIPTED
    for batch in batches:
        record = batch.losses[-1]
        source = old.pop((record.epoch, record.lane, record.first))
        header = batch.header
        assert header.origin is Origin.RECOVERED
        assert record.thinned_into == (header.epoch, header.seq)
        assert (record.first, record.cause, record.readings) == (record.last, "damaged", source.header.readings)
        assert (header.boot_id, header.sealed_us, header.anchors, header.catalogue, header.readings) == (
            source.header.boot_id,
            source.header.sealed_us,
            source.header.anchors,
            source.header.catalogue,
            source.header.readings,
        )
        assert (batch.blocks, batch.events, batch.notes) == (source.blocks, source.events, source.notes)
        assert header.genesis is None or (header.genesis.reason, header.genesis.parent) == ("salvage", None)
    assert sorted(key[:2] for key in old) == [(EPOCHS[0], Lane.DATA)] * RECEIPTED


def test_the_chains_of_what_is_sealed_again_verify(whole: Made, tmp_path: Path) -> None:
    salvage(whole.path, tmp_path / "out.db")
    with open_spool(tmp_path / "out.db") as spool:
        verdicts = list(spool.verify(KEYS, GATEWAY_ID))
    assert [verdict.problems for verdict in verdicts] == [()] * 4


def test_the_same_file_gives_the_same_bytes(whole: Made, tmp_path: Path) -> None:
    salvage(whole.path, tmp_path / "one.db")
    salvage(whole.path, tmp_path / "two.db")
    with open_spool(tmp_path / "one.db") as one, open_spool(tmp_path / "two.db") as two:
        first, second = (list(spool._db.query("SELECT id, envelope FROM batch")) for spool in (one, two))
    assert first == second


def test_a_hole_before_a_batch_is_signed_for(whole: Made, tmp_path: Path) -> None:
    data = bytearray(whole.path.read_bytes())
    lost = next(s for s in whole.batches if s.epoch == EPOCHS[1] and s.lane is Lane.DATA and s.seq == 10)
    path = tmp_path / "holed.db"
    data[data.find(lost.envelope[-20:])] ^= 0x10
    path.write_bytes(data)
    batches = salvage(path, tmp_path / "out.db")
    holes = [loss for batch in batches for loss in batch.losses if loss.thinned_into is None]
    assert [(loss.epoch, loss.first, loss.last, loss.digest, loss.cause) for loss in holes] == [
        (EPOCHS[1], 10, 10, lost.digest, "damaged")
    ]


# -- taking in -----------------------------------------------------------------------


async def test_twice_gives_nothing_new(whole: Made, tmp_path: Path) -> None:
    salvage(whole.path, tmp_path / "out.db")
    thread = SpoolThread(tmp_path / "new.db")
    await thread.open()
    delivery = Delivery(GATEWAY_ID)
    wanted = len(whole.batches) - RECEIPTED
    counts = await take_in(tmp_path / "out.db", spool=thread, delivery=delivery, uptime_s=lambda: 5, rest_s=0)
    assert counts == {"epochs": 2, "batches": wanted, "known_batches": 0}
    backlog = delivery.backlog()
    assert backlog.alarm_batches + backlog.data_batches == wanted
    again = await take_in(tmp_path / "out.db", spool=thread, delivery=delivery, uptime_s=lambda: 5, rest_s=0)
    assert again == {"epochs": 0, "batches": 0, "known_batches": wanted}
    assert delivery.backlog() == backlog
    await thread.close()


async def test_taking_in_goes_on_where_it_stopped(whole: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.recovered._PIECE", 1)
    salvage(whole.path, tmp_path / "out.db")
    thread = SpoolThread(tmp_path / "new.db")
    await thread.open()
    task = asyncio.create_task(
        take_in(tmp_path / "out.db", spool=thread, delivery=Delivery(""), uptime_s=lambda: 5, rest_s=0.001)
    )
    while True:
        heads = sum(view.head.seq for view in (await thread.run(Spool.inventory)).lanes.values())
        if heads > 7:
            break
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    counts = await take_in(tmp_path / "out.db", spool=thread, delivery=Delivery(""), uptime_s=lambda: 5, rest_s=0)
    assert counts["known_batches"] > 0
    assert counts["known_batches"] + counts["batches"] == len(whole.batches) - RECEIPTED
    await thread.close()


# -- the command ---------------------------------------------------------------------


def command(folder: Path, file: Path, capsys: pytest.CaptureFixture[str], **more: object) -> dict[str, object]:
    options = argparse.Namespace(
        action="salvage", damaged=file, into=None, all=False, state_dir=folder, json=True, **more
    )
    assert spool_command(options, Words("en")) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory whose key signed the spools of these tests; nobody is niced here."""
    monkeypatch.setattr(os, "nice", lambda step: 0)
    monkeypatch.setattr("edge_agent.commands.spool_salvage.load_or_create", lambda path: SIGNER)
    state = tmp_path / "state"
    state.mkdir()
    load_or_create(state / KEY)
    return state


def test_the_command_takes_what_is_proved_into_the_spool_of_a_stopped_agent(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_spool(own, batches=20)
    aside, _ = put_aside(made.path)
    said = command(own, aside, capsys)
    wanted = 20 - RECEIPTED
    assert (said["proved_batches"], said["receipted_batches"], said["recovered_batches"]) == (20, RECEIPTED, wanted)
    assert (said["new_batches"], said["known_batches"], said["lost"]) == (wanted, 0, [])
    assert command(own, aside, capsys)["new_batches"] == 0
    assert len(read_batches(own / "spool.db")) == wanted
    assert aside.exists()
    assert not list(own.glob("spool.recovered-*"))
    with open_spool(own / "spool.db") as spool:
        assert all(not verdict.problems for verdict in spool.verify(KEYS, GATEWAY_ID))
    options = argparse.Namespace(action="status", state_dir=own, json=False)
    spool_command(options, Words("zh"))
    assert f"edge-agent spool salvage {aside}" in capsys.readouterr().out


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_command_tells_people_what_is_lost(own: Path, capsys: pytest.CaptureFixture[str], language: str) -> None:
    made = make_spool(own, batches=20)
    without_log(made.path)
    aside, _ = put_aside(made.path)
    data = bytearray(aside.read_bytes())
    data[data.find(made.batches[-1].envelope[150:170])] ^= 1
    aside.write_bytes(data)
    options = argparse.Namespace(action="salvage", damaged=aside, into=own, all=True, state_dir=own, json=False)
    assert spool_command(options, Words(language)) == 0
    said = capsys.readouterr().out
    assert {"en": "nobody can tell from this file", "zh": "无法从此文件得知"}[language] in said
    assert "spool.recovered-" in said


def test_the_spool_in_use_is_not_salvaged(own: Path) -> None:
    made = make_spool(own, batches=10)
    options = argparse.Namespace(action="salvage", damaged=made.path, into=None, all=False, state_dir=own, json=True)
    with pytest.raises(EdgeError, match="the spool in use"):
        spool_command(options, Words("en"))
