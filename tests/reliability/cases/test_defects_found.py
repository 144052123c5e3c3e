"""Histories in which the model found a defect, as plain steps; each stays here under the defect's name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contracts.batch import Lane, Note, decode_batch, encode_batch
from contracts.envelope import decode_payload, seal, split
from contracts.topics import Channel, parse
from tests.reliability.model_machine import Model
from tests.reliability.model_story import history
from tests.reliability.model_world import GATEWAY


def test_a_spool_that_lost_its_log_is_receipted_although_the_collector_holds_more(tmp_path: Path) -> None:
    """The receipts reached beyond the head that was left, were ignored whole, and history was sent for ever."""
    with history(tmp_path) as world:
        world.connect()
        world.exchange()
        world.produce(40, 5)
        world.exchange()
        world.produce(3)
        world.deliver_up()
        world.crash()
        world.damage_file("log")
        world.start()


def test_a_volatile_epoch_that_was_stored_in_part_is_receipted(tmp_path: Path) -> None:
    """The same, without damage: killed before the rest of the epoch was written to the store."""
    with history(tmp_path) as world:
        world.connect()
        world.exchange()
        world.disk.delay_us = 3_000_000
        world.produce(4)
        world.deliver_up()
        world.disk.delay_us = 0
        world.wait(4.0)
        world.disk.delay_us = 3_000_000
        world.produce(4)
        world.deliver_up()
        world.crash()
        world.disk.delay_us = 0


def test_a_new_spool_on_a_full_disk_is_not_called_damaged(tmp_path: Path) -> None:
    """SQLite had rolled back by itself, the second rollback failed, and that was taken for a damaged file."""
    with history(tmp_path) as world:
        world.crash()
        for name in ("spool.db", "spool.db-wal"):
            (tmp_path / name).unlink(missing_ok=True)
        world.lose_file()
        world.disk.fill()
        world.disk.has_ballast = False
        world.start()
        world.connect()
        world.produce(2)
        world.exchange()
        assert not list(tmp_path.glob("*.damaged-*"))


def test_a_receipt_stops_before_a_batch_that_the_next_one_does_not_link_to(tmp_path: Path) -> None:
    """A copied key had signed another batch 2, which came first: the receipt for 3 let the gateway forget its own 2."""
    with history(tmp_path) as world:
        world.connect()
        world.exchange()
        world.produce(3)
        place = [parse(topic).channel for topic, _ in world.broker.up].index(Channel.DATA) + 1
        topic, envelope = world.broker.up[place]
        batch = decode_batch(decode_payload(split(envelope)[1]), Lane.DATA.type)
        header = replace(batch.header, readings=0, catalogue=b"")
        notes = (Note(mono_us=1, kind="test", text="another gateway with this key"),)
        other = replace(batch, header=header, blocks=(), notes=notes)
        world.broker.up[place] = (topic, seal(Lane.DATA.type, encode_batch(other), GATEWAY)[0])
        world.clones.add((batch.header.epoch, Lane.DATA, batch.header.seq))
        world.exchange()
        world.wait(15.0)
        world.exchange()
        kept = world.collector.rows("SELECT count(*) FROM evidence WHERE lane=1 AND seq=?", batch.header.seq)
        assert kept == [(2,)], "both are kept"


@pytest.mark.ci
def test_history_is_receipted_although_the_batch_that_a_receipt_names_was_thinned_away() -> None:
    """What it covers was sent again and again and filled the window; what would have proved it never went."""
    model = Model()
    model.begin(quota=20000, is_up=True)
    model.produce_much(seals=26)
    model.produce(level=50, seals=2, ticks=3)
    model.sample(level=50, quality="garbled", seals=True, ticks=1)
    model.wait(seconds=400.0)
    model.wait(seconds=400.0)
    model.produce(level=50, seals=10, ticks=2)
    model.produce_much(seals=25)
    model.sample(level=50, quality="silent", seals=True, ticks=3)
    model.wait(seconds=400.0)
    model.wait(seconds=1.0)
    model.produce(level=250, seals=2, ticks=4)
    model.sample(level=50, quality="over", seals=False, ticks=6)
    model.wait(seconds=400.0)
    model.produce_much(seals=21)
    model.produce_much(seals=29)
    model.wait(seconds=11.0)
    model.produce(level=50, seals=6, ticks=4)
    model.produce(level=50, seals=6, ticks=1)
    model.produce(level=120, seals=6, ticks=4)
    model.wait(seconds=400.0)
    model.produce_much(seals=15)
    model.teardown()
