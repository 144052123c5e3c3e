"""What the recorder's file says: batches, delays, bytes.  Pure, apart from reading the file.

Nothing is verified here; that is the collector's work and is measured there.  Times are monotonic microseconds
of this machine, in signed bytes and in the recorder's file alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import msgpack

from contracts.batch import Batch, Lane, decode_batch
from contracts.envelope import Type, decode_payload, split
from contracts.receipt import Receipt
from contracts.topics import Channel, parse

BARE_TOPIC = "bare/data"
READY_TOPIC = "recorder/ready"
_library: Any = msgpack


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as it came."""

    at_us: int
    topic: str
    payload: bytes

    @property
    def channel(self) -> Channel | None:
        """Which of ours it is; None for another topic."""
        return parse(self.topic).channel if self.topic.startswith("qianshao/") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A batch, when it came, and how long it was in the broker's hands."""

    at_us: int
    size: int
    batch: Batch

    @property
    def key(self) -> tuple[bytes, Lane, int]:
        header = self.batch.header
        return header.epoch, header.lane, header.seq


@dataclass(frozen=True, slots=True)
class Delays:
    """Milliseconds from one thing to another."""

    values: tuple[float, ...]

    def at(self, share: float) -> float | None:
        """Returns the value below which this share of all lies; None without any."""
        return (
            None if not self.values else sorted(self.values)[min(len(self.values) - 1, int(share * len(self.values)))]
        )

    @property
    def p50(self) -> float | None:
        return None if not self.values else median(self.values)


def read_messages(path: Path) -> list[Message]:
    """Returns what was recorded; a record cut off at the end is left out."""
    unpacker = _library.Unpacker(path.open("rb"), raw=False, max_buffer_size=1 << 30)
    return [Message(at_us=at, topic=topic, payload=payload) for at, topic, payload in unpacker]


def between(messages: Iterable[Message], begin_us: int, end_us: int) -> list[Message]:
    """Returns the messages that came in a span of time."""
    return [message for message in messages if begin_us <= message.at_us < end_us]


def batches(messages: Iterable[Message], lane: Lane) -> list[Arrived]:
    """Returns the first copy of every batch of a lane, in order of arrival."""
    channel, type = (Channel.ALARM, Type.ALARM_BATCH) if lane is Lane.ALARM else (Channel.DATA, Type.DATA_BATCH)
    found: dict[tuple[bytes, Lane, int], Arrived] = {}
    for message in messages:
        if message.channel is channel:
            batch = decode_batch(body_of(message.payload), type)
            arrived = Arrived(at_us=message.at_us, size=len(message.payload), batch=batch)
            found.setdefault(arrived.key, arrived)
    return list(found.values())


def body_of(envelope: bytes) -> bytes:
    """Returns the inflated body of an envelope, unverified."""
    return decode_payload(split(envelope)[1])


def ticks(batch: Batch) -> list[tuple[int, int]]:
    """Returns (block number, monotonic us) of every tick in a data batch."""
    sealed_us = batch.header.sealed_us
    return [(raw[0], at) for raw in batch.blocks for at in accumulate(raw[1][1:], initial=sealed_us + raw[1][0])]


def not_good(batch: Batch) -> int:
    """Returns how many samples of a data batch are not good."""
    return sum(
        run for raw in batch.blocks if raw[5] for run, code in zip(raw[5][::2], raw[5][1::2], strict=True) if code
    )


#: (epoch, lane) -> (arrival us, ranges that the receipt covers) in order of arrival
Receipts = dict[tuple[bytes, Lane], list[tuple[int, list[tuple[int, int]]]]]


def committed(messages: Iterable[Message]) -> Receipts:
    """Returns what the receipts among some messages cover."""
    found: Receipts = {}
    for message in messages:
        if message.channel is Channel.RECEIPT:
            receipt = Receipt.from_body(body_of(message.payload))
            ranges = [(1, receipt.contiguous), *((item.first, item.last) for item in receipt.also)]
            found.setdefault((receipt.epoch, receipt.lane), []).append((message.at_us, ranges))
    return found


def commit_us(arrived: Arrived, receipts: Receipts) -> int | None:
    """Returns when the first receipt that covers a batch came; None while none did."""
    epoch, lane, seq = arrived.key
    known = receipts.get((epoch, lane), [])
    return next((at for at, ranges in known if any(first <= seq <= last for first, last in ranges)), None)


def bare_ticks(messages: Sequence[Message]) -> int:
    """Returns how many rows of one device the bare client's messages hold."""
    count = 0
    for message in messages:
        if message.topic == BARE_TOPIC:
            _, _, blocks = _library.unpackb(zlib.decompress(_library.unpackb(message.payload)[0]))
            count += sum(len(times) for _, times, _ in blocks)
    return count
