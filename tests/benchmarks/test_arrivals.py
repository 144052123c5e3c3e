"""What is read out of recorded messages, on messages made by the project's own code."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from benchmarks.arrivals import (
    Arrived,
    Delays,
    Message,
    batches,
    between,
    commit_us,
    committed,
    not_good,
    read_messages,
    ticks,
)
from benchmarks.bench_site import Load
from benchmarks.kills import _unsealed
from benchmarks.outage import missing_ticks
from contracts.batch import NO_HEAD, Anchor, Batch, ClockState, Genesis, Header, Lane, Origin, encode_batch
from contracts.columns import encode_block
from contracts.envelope import Type, seal
from contracts.keys import Signer
from contracts.quality import NO_REPLY
from contracts.receipt import Range, Receipt
from contracts.topics import Channel, topic

SIGNER = Signer.from_seed(b"b" * 32)
GATEWAY = SIGNER.public.gateway_id
EPOCH = b"epoch--1"
SEALED_US = 10_000_000


def _data(at_us: int, times: list[int], *, codes: list[tuple[int, ...] | None] | None = None) -> Message:
    rows: list[tuple[int | None, ...]] = [
        (number, None if codes and codes[number] else 7) for number in range(len(times))
    ]
    block = encode_block(0, ("int", "int"), SEALED_US, times, rows, codes or [None] * len(times))
    header = Header(
        gateway=GATEWAY,
        epoch=EPOCH,
        lane=Lane.DATA,
        seq=1,
        previous=b"",
        other=NO_HEAD,
        boot_id=bytes(16),
        boot_counter=1,
        sealed_us=SEALED_US,
        anchors=(Anchor(mono_us=1, wall_us=2, state=ClockState.UNSET, uncertainty_ms=None),),
        catalogue=bytes(32),
        origin=Origin.LIVE,
        readings=2 * len(times),
        genesis=Genesis(version="0", reason="first", parent=None),
    )
    envelope = seal(Type.DATA_BATCH, encode_batch(Batch(header=header, blocks=(block,))), SIGNER)[0]
    return Message(at_us=at_us, topic=topic(GATEWAY, Channel.DATA), payload=envelope)


def _receipt(at_us: int, contiguous: int, also: tuple[Range, ...] = ()) -> Message:
    receipt = Receipt(
        gateway=GATEWAY,
        collector_epoch=bytes(8),
        collector_since_us=1,
        serial=1,
        epoch=EPOCH,
        lane=Lane.DATA,
        contiguous=contiguous,
        digest=bytes(32) if contiguous else b"",
        also=also,
    )
    envelope = seal(Type.RECEIPT, receipt.to_body(), SIGNER)[0]
    return Message(at_us=at_us, topic=topic(GATEWAY, Channel.RECEIPT), payload=envelope)


def test_ticks_and_qualities() -> None:
    message = _data(11_000_000, [8_000_000, 9_000_000], codes=[None, (0, NO_REPLY)])
    (arrived,) = batches([message], Lane.DATA)
    assert ticks(arrived.batch) == [(0, 8_000_000), (0, 9_000_000)]
    assert not_good(arrived.batch) == 1
    assert arrived.size == len(message.payload)


def test_a_batch_counts_when_it_came_first() -> None:
    first, again = _data(11_000_000, [9_000_000]), _data(12_000_000, [9_000_000])
    assert [arrived.at_us for arrived in batches([first, again], Lane.DATA)] == [11_000_000]
    assert batches([first], Lane.ALARM) == []


@pytest.mark.parametrize(
    ("receipts", "done_us"),
    [
        ([], None),
        ([_receipt(20, 0)], None),
        ([_receipt(20, 0), _receipt(30, 1), _receipt(40, 2)], 30),
        ([_receipt(20, 0, (Range(first=2, last=3, digest=bytes(32)),))], None),
    ],
)
def test_the_commit_is_the_first_receipt_that_covers_a_batch(receipts: list[Message], done_us: int | None) -> None:
    (arrived,) = batches([_data(10, [9_000_000])], Lane.DATA)
    assert commit_us(arrived, committed(receipts)) == done_us


def test_delays() -> None:
    delays = Delays(tuple(float(number) for number in range(1, 101)))
    assert (delays.p50, delays.at(0.95), delays.at(1)) == (50.5, 96.0, 100.0)
    assert Delays(()).p50 is None
    assert Delays(()).at(0.95) is None


def test_a_record_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "records"
    whole = msgpack.packb([5, "recorder/ready", b""]) + msgpack.packb([6, "bare/data", b"x"])
    path.write_bytes(whole + msgpack.packb([7, "bare/data", b"xyz"])[:-2])
    messages = read_messages(path)
    assert [message.at_us for message in messages] == [5, 6]
    assert between(messages, 6, 7) == [messages[1]]
    assert messages[0].channel is None


def test_missing_ticks_are_counted_on_the_grid() -> None:
    load = Load(devices=1)
    arrived: list[Arrived] = batches([_data(1, [1_000_400, 2_000_900, 5_000_100])], Lane.DATA)
    assert missing_ticks(arrived, load) == 2
    assert missing_ticks([], load) == 0


def test_readings_lost_by_a_kill_are_those_due_since_the_last_sealed_sample() -> None:
    load = Load(devices=10)
    assert _unsealed([1_000_500, 2_000_500, 9_000_500], 4_100_000, load) == 2 * 10 * 20
    assert _unsealed([4_000_500], 4_100_000, load) == 0
