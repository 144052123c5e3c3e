"""From what lay in the spool to what the agent goes on from: epochs, parent, alarms, running time."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import msgpack

from contracts.batch import Lane, Parent
from edge_agent.delivery import Delivery
from edge_agent.judge import Judge
from edge_agent.put_aside import reason_of
from edge_agent.seal import Boot
from edge_agent.spool_records import FIRST_UNASKED, EpochRow, Opened

_LOG = logging.getLogger(__name__)
_library: Any = msgpack  # ships no types for packb and unpackb


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What the new epoch is to say of the one before."""

    number: int
    parent: Parent | None
    reason: str
    #: running time of the agent over all its starts until now, seconds
    uptime_s: int


def learn(opened: Opened, *, delivery: Delivery, judge: Judge, boot: Boot) -> Learnt:
    """Takes what the spool held at the start."""
    for row in opened.epochs:
        delivery.add_epoch(row, {lane: opened.lanes[row.no, lane] for lane in Lane})
    # Of a damaged file alarms, running time and the last epoch are still taken where they can be read.
    said = opened.before or opened
    collector = collector_of(said)
    if collector is not None:
        delivery.collector = collector
    _restore(said, judge, boot)
    number = max((row.no for row in opened.epochs if row.no < FIRST_UNASKED), default=0) + 1
    newest = _newest(said)
    uptime_s = uptime_of(said)
    reason = "restart"
    if number == 1 and newest is None:
        reason = "spool_lost" if opened.remark else "first"
    if opened.put_aside is not None:
        reason = reason_of(opened.put_aside)
    if newest is None:
        return Learnt(number=number, parent=None, reason=reason, uptime_s=uptime_s)
    heads = {lane: said.lanes[newest.no, lane].head for lane in Lane}
    parent = Parent(epoch=newest.epoch, alarm=heads[Lane.ALARM], data=heads[Lane.DATA])
    return Learnt(number=number, parent=parent, reason=reason, uptime_s=uptime_s)


def learn_late(opened: Opened, *, delivery: Delivery, judge: Judge, boot: Boot) -> int:
    """Takes what lies in a spool that did not open at the start; it is sent as history.

    Returns:
        Running time of the agent over all its starts before this one, seconds.
    """
    collector = collector_of(opened)
    is_other = collector is not None and delivery.collector[1] not in (b"", collector[1])
    for row in opened.epochs:
        if delivery.number(row.epoch) is None:
            delivery.add_epoch(row, {lane: opened.lanes[row.no, lane] for lane in Lane})
            if is_other:
                # What it receipted was receipted by a collector that is no more.
                delivery.distrust_epoch(row.no)
    if collector is not None and not delivery.collector[1]:
        delivery.collector = collector
    if "alarms" in opened.state:
        _restore(opened, judge, boot)
    return uptime_of(opened)


def _newest(opened: Opened) -> EpochRow | None:
    """Returns the epoch that the next one follows: one without a batch was never seen by anybody."""
    used = [
        row
        for row in opened.epochs
        if not row.is_volatile and row.no < FIRST_UNASKED and any(opened.lanes[row.no, lane].head.seq for lane in Lane)
    ]
    return used[-1] if used else None


def _restore(opened: Opened, judge: Judge, boot: Boot) -> None:
    alarms = opened.state.get("alarms")
    if alarms is None:
        judge.begin()
        return
    last = max(opened.epochs, key=lambda row: row.age_key, default=None)
    judge.restore(alarms, same_boot=last is not None and last.boot_id == boot.boot_id)


def collector_of(opened: Opened) -> tuple[int, bytes] | None:
    """Returns since when (UTC us) and which collector epoch the newest receipt came from; None where none is known."""
    data = opened.state.get("collector")
    try:
        return None if data is None else read_collector(data)
    except ValueError as error:
        _LOG.error("which collector receipted last cannot be read, it is learnt anew: %s", error)
        return None


def read_collector(data: bytes) -> tuple[int, bytes]:
    """Returns what the keeper stored of the collector.

    Raises:
        ValueError: it is something else.
    """
    try:
        since, epoch = _library.unpackb(data)
        return int(since), bytes(epoch)
    except (TypeError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(str(error) or type(error).__name__) from error


def uptime_of(opened: Opened) -> int:
    """Returns the running time of the agent over all its starts, seconds."""
    text = opened.state.get("uptime_s", b"0")
    return int(text) if text.isdigit() else 0
