"""What a new epoch says of the one before, from whatever lay in the spool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from contracts.batch import Head, Lane
from edge_agent.delivery import Delivery
from edge_agent.judge import Judge
from edge_agent.open_store import learn, learn_late
from edge_agent.ranges import Ranges
from edge_agent.spool_records import FIRST_UNASKED, EpochRow, LaneView, Opened
from tests.edge_agent.chains import BOOT

GATEWAY = "g-abcdefghijkl"


def _row(no: int, *, is_volatile: bool = False) -> EpochRow:
    return EpochRow(
        no=no,
        epoch=no.to_bytes(8, "big"),
        reason="restart",
        boot_id=BOOT.boot_id,
        boot_counter=1,
        started_us=no,
        started_uptime_s=0,
        is_volatile=is_volatile,
    )


def _opened(rows: Sequence[tuple[EpochRow, int]], **state: bytes) -> Opened:
    lanes = {}
    for row, head in rows:
        lanes[row.no, Lane.ALARM] = LaneView(head=Head(seq=0, digest=b""), delivered=Ranges())
        digest = b"d" * 32 if head else b""
        lanes[row.no, Lane.DATA] = LaneView(head=Head(seq=head, digest=digest), delivered=Ranges([(1, head)]))
    return Opened(
        epochs=tuple(row for row, _ in rows), lanes=lanes, state=state, catalogues=frozenset(), put_aside=None
    )


def _judge() -> Judge:
    return Judge(GATEWAY, BOOT.boot_id, (), (), lambda: 0)


CASES = [
    ([], 1, None, "first"),
    ([(_row(1), 5)], 2, 1, "restart"),
    # Killed before its first batch: nobody ever heard of epoch 2, so it is no parent.
    ([(_row(1), 5), (_row(2), 0)], 3, 1, "restart"),
    ([(_row(1), 0)], 2, None, "restart"),
    ([(_row(1), 5), (_row(FIRST_UNASKED + 7, is_volatile=True), 9)], 2, 1, "restart"),
    ([(_row(4), 5), (_row(FIRST_UNASKED + 7), 9)], 5, 4, "restart"),
]


@pytest.mark.parametrize(("rows", "number", "parent", "reason"), CASES)
def test_number_parent_and_reason(
    rows: list[tuple[EpochRow, int]], number: int, parent: int | None, reason: str
) -> None:
    delivery = Delivery(GATEWAY)
    learnt = learn(_opened(rows, uptime_s=b"77"), delivery=delivery, judge=_judge(), boot=BOOT)
    assert (learnt.number, learnt.reason, learnt.uptime_s) == (number, reason, 77)
    assert (None if learnt.parent is None else int.from_bytes(learnt.parent.epoch, "big")) == parent
    assert len(delivery.epochs()) == len(rows)


def test_of_a_damaged_file_the_parent_the_running_time_and_the_collector_are_still_taken() -> None:
    before = _opened([(_row(3), 5)], uptime_s=b"77", collector=b"\x92\x07\xc4\x08collect1")
    opened = replace(_opened([]), put_aside="the spool was damaged and is kept as spool.db.damaged-X", before=before)
    delivery = Delivery(GATEWAY)
    learnt = learn(opened, delivery=delivery, judge=_judge(), boot=BOOT)
    assert (learnt.number, learnt.reason, learnt.uptime_s) == (1, "spool_damaged", 77)
    assert learnt.parent is not None
    assert (int.from_bytes(learnt.parent.epoch, "big"), learnt.parent.data.seq) == (3, 5)
    assert delivery.collector == (7, b"collect1")
    assert delivery.epochs() == [], "what lies in the damaged file is not sent from here"


@pytest.mark.parametrize(
    ("put_aside", "remark", "reason"),
    [
        ("the spool was damaged and is kept as x", "", "spool_damaged"),
        ("the spool was gone or empty; its log is kept as x-wal", "", "spool_lost"),
        (None, "the log beside the spool is gone", "spool_lost"),
        (None, "", "first"),
    ],
)
def test_a_new_file_says_why(put_aside: str | None, remark: str, reason: str) -> None:
    opened = replace(_opened([]), put_aside=put_aside, remark=remark)
    learnt = learn(opened, delivery=Delivery(GATEWAY), judge=_judge(), boot=BOOT)
    assert (learnt.reason, learnt.parent) == (reason, None)


def test_small_state_that_cannot_be_read_stops_nothing() -> None:
    opened = _opened([(_row(1), 5)], uptime_s=b"\xff", collector=b"\xc1", alarms=b"rubbish")
    delivery = Delivery(GATEWAY)
    assert learn(opened, delivery=delivery, judge=_judge(), boot=BOOT).uptime_s == 0
    assert delivery.collector == (0, b"")


def test_a_late_spool_brings_its_epochs_and_who_receipted_them() -> None:
    opened = _opened([(_row(1), 5)], collector=b"\x92\x07\xc4\x08collect1", uptime_s=b"50")
    delivery = Delivery(GATEWAY)
    assert learn_late(opened, delivery=delivery, judge=_judge(), boot=BOOT) == 50
    assert delivery.collector == (7, b"collect1")
    assert delivery.waiting(1, Lane.DATA) == []


def test_receipts_of_a_collector_that_is_no_more_do_not_count_in_a_late_spool() -> None:
    opened = _opened([(_row(1), 5)], collector=b"\x92\x07\xc4\x08collect1")
    delivery = Delivery(GATEWAY)
    delivery.collector = (9, b"collect2")
    learn_late(opened, delivery=delivery, judge=_judge(), boot=BOOT)
    assert delivery.collector == (9, b"collect2")
    assert delivery.waiting(1, Lane.DATA) == [(1, 5)]
