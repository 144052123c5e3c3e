"""The spool's benchmarks: history is real and drained whole, and the recorder's file is read once."""

from __future__ import annotations

from pathlib import Path

import msgpack

from benchmarks import run
from benchmarks.backlog import Heard
from benchmarks.bench_site import Load, site_text
from benchmarks.history import prepare
from benchmarks.spool import NAMES, rates
from contracts.batch import Lane, decode_batch
from contracts.envelope import Type, open_envelope
from contracts.keys import Signer, Verifier, load_or_create
from edge_agent.spool import Spool
from edge_agent.spool_thread import connect_file


def test_history_is_a_chain_that_verifies(tmp_path: Path) -> None:
    state, site = tmp_path / "state", tmp_path / "site.toml"
    state.mkdir()
    signer = load_or_create(state / "key.pem")
    key = Signer.from_seed(bytes(32)).public.line("collector")
    load = Load(devices=2, quota_mb=512)
    site.write_text(site_text(load, state_dir=state, bank_port=15020, broker_port=1883, collector_key=key))
    made = prepare(site, 1000, signer=signer, ticks=2, interval_s=1.0)
    assert (made.batches, made.readings) == (500, 80)
    spool = Spool(connect_file(state / "spool.db"))
    opened = spool.open()
    assert opened.lanes[1, Lane.DATA].head.seq == made.batches
    batches = spool.read(1, Lane.DATA, [(1, 3)], limit_bytes=1 << 20)
    keys = {signer.key_id: Verifier(signer.public)}
    previous = b""
    for stored in batches:
        envelope = open_envelope(stored.envelope, Type.DATA_BATCH, keys)
        header = decode_batch(envelope.body, Type.DATA_BATCH).header
        assert stored.is_whole
        assert (header.epoch, header.previous, header.readings) == (made.epoch, previous, made.readings)
        assert header.catalogue in opened.catalogues
        previous = stored.digest
    spool.close()


def test_rates_seal_and_drain_everything(tmp_path: Path) -> None:
    figures = rates(tmp_path, large=1, small=3).figures  # raises where another number comes out than went in
    assert [figure.name.split(",")[0] for figure in figures] == ["sealing", "draining", "envelope"] * 2
    assert all(figure.value and figure.floor for figure in figures)


def test_what_was_recorded_is_read_once_and_a_cut_record_later(tmp_path: Path) -> None:
    path = tmp_path / "records"
    one, two = msgpack.packb([5, "a", b"x"]), msgpack.packb([7, "b", b"y"])
    path.write_bytes(one + two[:3])
    heard = Heard(path)
    assert [message.at_us for message in heard.news()] == [5]
    path.write_bytes(one + two)
    assert [message.at_us for message in heard.news()] == [7]
    assert heard.news() == []
    assert [message.topic for message in heard.since(6)] == ["b"]


def test_its_names_are_those_of_run() -> None:
    assert {name for name in (*run.ON_STAGE, *run.ON_OWN_STAGE, *run.APART) if name.startswith("spool-")} == set(NAMES)
