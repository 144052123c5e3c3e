"""An alarm's way from the reply's last byte to the collector's receipt, step by step.  Pure, apart from reading a file.

    reply -> judged -> sealed -> durable -> socket -> broker -> receipt
    tap      signed    signed    tap        tap       recorder  recorder

Everything is counted from the last byte of the reply, on the one monotonic clock of the machine.  The receipt is
signed after the collector's commit, so it bounds the commit from above.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from benchmarks.arrivals import Delays, Message, batches, commit_us, committed
from benchmarks.report import Figure
from contracts.batch import AlarmEvent, Lane
from contracts.topics import Channel

STEPS = ("judged", "sealed", "durable", "socket", "broker", "receipt")
SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("worst", 1.0))
_unpack: Any = msgpack.unpackb


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """What ``tapped_agent`` noted; monotonic us."""

    #: by event id
    replied: Mapping[bytes, int]
    #: by the CRC-32 of the envelope
    durable: Mapping[int, int]
    socket: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One alarm event, and when each of its steps was done; monotonic us, None where a step was not seen."""

    event: AlarmEvent
    replied_us: int | None
    #: in the order of ``STEPS``; of the first batch that arrived with the event
    at_us: tuple[int | None, ...]
    #: batches that carry it
    copies: int

    def since_reply_ms(self, step: str) -> float | None:
        """Returns how long after the reply's last byte a step was done; None where either is not known."""
        at_us = self.at_us[STEPS.index(step)]
        return None if at_us is None or self.replied_us is None else (at_us - self.replied_us) / 1000


def read_taps(path: Path) -> Taps:
    """Reads what a tapped agent wrote when it ended."""
    replied, durable, socket = _unpack(path.read_bytes(), strict_map_key=False)
    return Taps(replied=replied, durable=durable, socket=socket)


def told(messages: Sequence[Message], taps: Taps) -> list[Told]:
    """Returns every alarm event among some messages, in the order in which they arrived.

    An event is sealed twice when the disk did not answer in time; the first to arrive counts.
    """
    receipts = committed(messages)
    found: dict[bytes, Told] = {}
    copies: dict[bytes, set[tuple[bytes, int]]] = {}
    for message in messages:
        if message.channel is not Channel.ALARM:
            continue
        [arrived] = batches([message], Lane.ALARM)
        mark, header = zlib.crc32(message.payload), arrived.batch.header
        for event in arrived.batch.events:
            copies.setdefault(event.id, set()).add((header.epoch, header.seq))
            if event.id not in found:
                found[event.id] = Told(
                    event=event,
                    replied_us=taps.replied.get(event.id),
                    at_us=(
                        event.judged_us, header.sealed_us, taps.durable.get(mark), taps.socket.get(mark),
                        arrived.at_us, commit_us(arrived, receipts),
                    ),
                    copies=0,
                )  # fmt: skip
    return [
        Told(event=one.event, replied_us=one.replied_us, at_us=one.at_us, copies=len(copies[id]))
        for id, one in found.items()
    ]


def raised(events: Iterable[Told], points: Iterable[str]) -> list[Told]:
    """Returns those that began an alarm of one of some points."""
    wanted = frozenset(points)
    return [one for one in events if one.event.id == one.event.raised_by and one.event.point in wanted]


def step_figures(events: Sequence[Told], targets: Mapping[tuple[str, str], float]) -> list[Figure]:
    """Returns p50, p95, p99 and the worst of every step, counted from the reply's last byte.

    Args:
        targets: (step, share) -> the most it may be, ms.
    """
    figures = []
    for step in STEPS:
        delays = Delays(tuple(ms for one in events if (ms := one.since_reply_ms(step)) is not None))
        for name, share in SHARES:
            value = delays.p50 if name == "p50" else delays.at(share)
            target = targets.get((step, name))
            figures.append(Figure(name=f"reply -> {step}, {name}", unit="ms", value=value, target=target))
    return figures


def step_lines(figures: Sequence[Figure]) -> list[str]:
    """Returns the steps as a table for a terminal, a line each."""
    values = {figure.name: figure.value for figure in figures}
    lines = [f"  {'ms from the last byte of the reply':34}" + "".join(f"{name:>9}" for name, _ in SHARES)]
    for step in STEPS:
        row = [values.get(f"reply -> {step}, {name}") for name, _ in SHARES]
        lines.append(f"  {step:34}" + "".join(f"{'-' if value is None else f'{value:.3g}':>9}" for value in row))
    return lines
