"""A receipt for a batch proves that what was sent clearly before it, and is not covered, was lost on its way."""

from __future__ import annotations

import pytest

from contracts.batch import Head, Lane
from contracts.receipt import Range, Receipt
from edge_agent.delivery import Delivery
from edge_agent.ranges import Ranges
from edge_agent.spool import EpochRow, LaneView

GATEWAY = "g-abcdefghijkl"
EPOCH = b"epoch--1"
SECOND = 1_000_000


def _delivery() -> Delivery:
    """Ten batches sealed in each lane, none delivered."""
    delivery = Delivery(GATEWAY)
    row = EpochRow(
        no=1, epoch=EPOCH, reason="restart", boot_id=bytes(16), boot_counter=1, started_us=0, started_uptime_s=0
    )
    delivery.add_epoch(row, {lane: LaneView(head=Head(seq=10, digest=bytes(32)), delivered=Ranges()) for lane in Lane})
    return delivery


def _receipt(lane: Lane, seq: int) -> Receipt:
    """Covers one batch and none before it."""
    return Receipt(
        gateway=GATEWAY,
        collector_epoch=b"collect1",
        collector_since_us=1,
        serial=1,
        epoch=EPOCH,
        lane=lane,
        contiguous=0,
        digest=b"",
        also=(Range(first=seq, last=seq, digest=bytes(32)),),
    )


@pytest.mark.parametrize(
    ("lane", "sent_at_s", "other", "lost"),
    [
        # (lane of the receipt, when its batch was sent, (lane, when sent) of another, whether that is lost)
        (Lane.DATA, 5, (Lane.DATA, 3), True),
        (Lane.DATA, 5, (Lane.ALARM, 3), True),
        (Lane.ALARM, 5, (Lane.ALARM, 3), True),
        (Lane.ALARM, 5, (Lane.DATA, 3), False),
        (Lane.DATA, 5, (Lane.DATA, 5), False),
        (Lane.DATA, 5, (Lane.DATA, 4), False),
        (Lane.DATA, 5, (Lane.DATA, 7), False),
    ],
)
def test_what_was_overtaken_waits_to_be_sent_again(
    lane: Lane, sent_at_s: int, other: tuple[Lane, int], lost: bool
) -> None:
    delivery = _delivery()
    other_lane, other_s = other
    delivery.launched((1, other_lane, 2), 100, other_s * SECOND, is_backlog=other_lane is Lane.DATA)
    delivery.launched((1, lane, 10), 100, sent_at_s * SECOND, is_backlog=False)
    delivery.apply(_receipt(lane, 10), now_us=8 * SECOND)
    assert delivery.is_in_flight((1, other_lane, 2)) is not lost
    assert delivery.overtaken == int(lost)
    waiting = {
        seq for _, ranges in delivery.to_send(other_lane) for first, last in ranges for seq in range(first, last + 1)
    }
    assert (2 in waiting) is lost


def test_a_receipt_for_nothing_in_flight_overtakes_nothing() -> None:
    delivery = _delivery()
    delivery.launched((1, Lane.DATA, 2), 100, SECOND, is_backlog=True)
    delivery.apply(_receipt(Lane.DATA, 10), now_us=9 * SECOND)
    assert delivery.is_in_flight((1, Lane.DATA, 2))
    assert delivery.overtaken == 0


def _pass_by(delivery: Delivery, seq: int, at_s: int) -> None:
    """Batch 2 is sent, then ``seq`` two seconds later, and only ``seq`` is receipted."""
    delivery.launched((1, Lane.DATA, 2), 100, at_s * SECOND, is_backlog=True)
    delivery.launched((1, Lane.DATA, seq), 100, (at_s + 2) * SECOND, is_backlog=False)
    delivery.apply(_receipt(Lane.DATA, seq), now_us=(at_s + 2) * SECOND)


def test_a_batch_that_the_collector_does_not_take_is_overtaken_once_and_then_waits_for_its_time() -> None:
    delivery = _delivery()
    _pass_by(delivery, 9, 1)
    _pass_by(delivery, 10, 4)
    assert delivery.overtaken == 1
    assert delivery.is_in_flight((1, Lane.DATA, 2))


def test_on_a_new_connection_it_may_be_overtaken_again() -> None:
    delivery = _delivery()
    _pass_by(delivery, 9, 1)
    delivery.forget_flight()
    _pass_by(delivery, 10, 4)
    assert delivery.overtaken == 2
