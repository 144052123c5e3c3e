"""Receipts are believed only as far as they prove something, and the sending order is three."""

from __future__ import annotations

from contracts.batch import Head, Lane
from contracts.receipt import Range, Receipt, Refused
from edge_agent.delivery import Delivery
from edge_agent.ranges import Ranges
from edge_agent.spool import EpochRow, LaneView

GATEWAY = "g-abcdefghijkl"
EPOCH = b"epoch--1"
COLLECTOR = b"collect1"


def _row(no: int, epoch: bytes) -> EpochRow:
    return EpochRow(
        no=no, epoch=epoch, reason="restart", boot_id=b"b" * 16, boot_counter=1, started_us=0, started_uptime_s=0
    )


def _digest(seq: int) -> bytes:
    return bytes([seq % 256]) * 32


def _delivery(head: int = 10) -> Delivery:
    delivery = Delivery(GATEWAY, window_bytes=1000)
    delivery.add_epoch(_row(1, EPOCH))
    delivery.sealed(1, Lane.DATA, Head(seq=head, digest=_digest(head)))
    return delivery


def _receipt(
    contiguous: int,
    *,
    serial: int = 1,
    also: tuple[Range, ...] = (),
    refused: tuple[Refused, ...] = (),
    collector: bytes = COLLECTOR,
    since: int = 1,
    gateway: str = GATEWAY,
    epoch: bytes = EPOCH,
    lane: Lane = Lane.DATA,
) -> Receipt:
    return Receipt(
        gateway=gateway,
        collector_epoch=collector,
        collector_since_us=since,
        serial=serial,
        epoch=epoch,
        lane=lane,
        contiguous=contiguous,
        digest=_digest(contiguous) if contiguous else b"",
        also=also,
        refused=refused,
    )


def test_a_receipt_names_what_must_be_checked_before_it_is_believed() -> None:
    delivery = _delivery()
    verdict, claims = delivery.claims(_receipt(3, also=(Range(first=5, last=7, digest=_digest(7)),)))
    assert verdict == "applied"
    assert [(claim.seq, claim.digest) for claim in claims] == [(3, _digest(3)), (7, _digest(7))]


def test_the_head_needs_no_look_into_the_spool() -> None:
    assert _delivery().claims(_receipt(10)) == ("applied", [])


def test_a_receipt_beyond_the_head_is_ignored() -> None:
    assert _delivery().claims(_receipt(11))[0] == "beyond_head"


def test_a_receipt_beyond_what_is_left_of_an_epoch_that_is_over_is_believed_for_what_is_left() -> None:
    before = _delivery()
    over = Delivery(GATEWAY)
    (row,) = before.epochs()
    lanes = {lane: LaneView(head=before.head(1, lane), delivered=Ranges()) for lane in Lane}
    over.add_epoch(row, lanes)
    receipt = _receipt(12, also=(Range(first=14, last=15, digest=_digest(15)),))
    assert over.claims(receipt) == ("applied", [])
    over.apply(receipt)
    assert list(over.delivered(1, Lane.DATA)) == [(1, 10)]
    assert over.to_send(Lane.DATA) == []


def test_a_receipt_for_another_gateway_or_epoch_is_ignored() -> None:
    assert _delivery().claims(_receipt(3, gateway="g-bcdefghijklm"))[0] == "other_gateway"
    assert _delivery().claims(_receipt(3, epoch=b"unknown!"))[0] == "unknown_epoch"


def test_an_older_receipt_is_ignored_and_lanes_have_their_own_order() -> None:
    delivery = _delivery()
    delivery.apply(_receipt(5, serial=7))
    assert delivery.claims(_receipt(3, serial=7))[0] == "older"
    assert delivery.claims(_receipt(3, serial=6))[0] == "older"
    assert delivery.claims(_receipt(0, serial=3, lane=Lane.ALARM))[0] == "applied"


def test_ranges_and_refusals_count_as_delivered() -> None:
    delivery = _delivery()
    delivery.apply(
        _receipt(
            2,
            also=(Range(first=5, last=6, digest=_digest(6)),),
            refused=(Refused(seq=8, digest=_digest(8), code="payload"),),
        )
    )
    assert list(delivery.delivered(1, Lane.DATA)) == [(1, 2), (5, 6), (8, 8)]
    assert delivery.to_send(Lane.DATA) == [(1, [(3, 4), (7, 7), (9, 10)])]
    assert delivery.backlog().data_batches == 5
    assert list(delivery.refused) == [(1, Lane.DATA, 8, "payload")]
    assert delivery.refused_count == 1


def test_a_restored_collector_makes_everything_be_asked_for_again() -> None:
    delivery = _delivery()
    assert not delivery.apply(_receipt(9, serial=500))
    assert delivery.apply(_receipt(4, serial=1, collector=b"collect2", since=2))
    assert list(delivery.delivered(1, Lane.DATA)) == [(1, 4)]
    assert delivery.claims(_receipt(9, serial=501))[0] == "older", "the old collector epoch is over"


def test_changed_ranges_are_handed_out_once() -> None:
    delivery = _delivery()
    delivery.apply(_receipt(4))
    assert delivery.take_changed() == {(1, Lane.DATA): ((1, 4),)}
    assert delivery.take_changed() == {}
    delivery.apply(_receipt(4, serial=2))
    assert delivery.take_changed() == {}, "nothing new was receipted"


def test_what_flies_is_not_sent_again_until_it_has_waited_too_long() -> None:
    delivery = _delivery(3)
    delivery.launched((1, Lane.DATA, 2), 100, 1_000_000, is_backlog=False)
    assert delivery.to_send(Lane.DATA) == [(1, [(1, 1), (3, 3)])]
    assert delivery.expire(5_000_000) == 0
    assert delivery.expire(11_000_001) == 1
    assert delivery.to_send(Lane.DATA) == [(1, [(1, 3)])]


def test_history_gets_its_share_and_no_more() -> None:
    delivery = _delivery()
    assert delivery.room(0.5) == 500
    delivery.launched((1, Lane.DATA, 1), 450, 0, is_backlog=True)
    delivery.launched((1, Lane.DATA, 9), 300, 0, is_backlog=False)
    assert delivery.room(0.5) == 50
    delivery.apply(_receipt(1))
    assert delivery.room(0.5) == 500


def test_lost_batches_are_never_sent() -> None:
    delivery = _delivery(5)
    delivery.lost(1, Lane.DATA, 1, 3)
    assert delivery.to_send(Lane.DATA) == [(1, [(4, 5)])]
    assert delivery.unreceipted() == (EPOCH,)
    delivery.apply(_receipt(5))
    assert delivery.unreceipted() == ()


def test_released_batches_do_not_wait_again_when_the_collector_is_restored() -> None:
    delivery = _delivery()
    delivery.apply(_receipt(9, serial=5))
    delivery.released(1, Lane.DATA, 1, 6)
    assert delivery.releasable(1, Lane.DATA) == [(7, 9)]
    delivery.apply(_receipt(2, serial=1, collector=b"collect2", since=2))
    assert delivery.to_send(Lane.DATA) == [(1, [(7, 10)])], "1 to 6 are no longer here to be sent"
    assert delivery.backlog().data_batches == 4


def test_what_nobody_can_prove_releases_nothing() -> None:
    delivery = _delivery()
    delivery.apply(_receipt(3, also=(Range(first=5, last=7, digest=_digest(7)),)), {3})
    assert list(delivery.delivered(1, Lane.DATA)) == [(5, 7)]


def test_an_epoch_is_forgotten_only_when_nothing_of_it_is_left() -> None:
    delivery = _delivery(5)
    delivery.lost(1, Lane.DATA, 1, 2)
    assert not delivery.is_finished(1)
    delivery.apply(_receipt(0, also=(Range(first=3, last=5, digest=_digest(5)),)))
    delivery.released(1, Lane.DATA, 3, 5)
    assert not delivery.is_finished(1), "the record of the loss has not been receipted"
    delivery.apply(_receipt(5, serial=2))
    assert delivery.is_finished(1)
    delivery.forget_epoch(1)
    assert delivery.claims(_receipt(5, serial=3))[0] == "unknown_epoch"
    assert delivery.to_send(Lane.DATA) == []
    assert delivery.take_changed() == {}


def test_sending_again_waits_longer_while_no_receipt_comes_at_all() -> None:
    delivery = _delivery()
    now = 0
    waits = []
    for _ in range(8):
        delivery.launched((1, Lane.DATA, 1), 100, now, is_backlog=True)
        due = delivery.next_expiry_us()
        assert due is not None
        waits.append((due - now) // 1_000_000)
        now = due + 1
        assert delivery.expire(now) == 1
    assert waits == [10, 20, 40, 80, 160, 320, 320, 320]
    delivery.apply(_receipt(2))
    delivery.launched((1, Lane.DATA, 3), 100, now, is_backlog=True)
    assert delivery.next_expiry_us() == now + 10_000_000


def test_the_window_follows_the_link_and_begins_anew_with_a_connection() -> None:
    delivery = Delivery(GATEWAY)
    delivery.add_epoch(_row(1, EPOCH))
    delivery.sealed(1, Lane.DATA, Head(seq=9, digest=_digest(9)))
    first = delivery.room(1.0)
    delivery.launched((1, Lane.DATA, 1), first, 10, is_backlog=True)
    delivery.apply(_receipt(1), now_us=500_000)
    assert delivery.room(1.0) == 2 * first
    delivery.forget_flight()
    assert delivery.room(1.0) == first


def test_epochs_are_sent_by_age_and_not_by_number() -> None:
    delivery = Delivery(GATEWAY)
    for no, epoch, started in ((1 << 28, b"volatile", 5), (3, b"epoch--3", 9), (2, b"epoch--2", 1)):
        row = EpochRow(
            no=no, epoch=epoch, reason="restart", boot_id=b"b" * 16, boot_counter=1, started_us=started,
            started_uptime_s=0,
        )  # fmt: skip
        delivery.add_epoch(row)
        delivery.sealed(no, Lane.DATA, Head(seq=1, digest=_digest(1)))
    assert [no for no, _ in delivery.to_send(Lane.DATA)] == [2, 1 << 28, 3]
    assert delivery.unreceipted() == (b"epoch--2", b"volatile", b"epoch--3")


def test_what_a_receipt_names_without_proof_waits_behind_everything_else() -> None:
    """In front it would fill the window for ever: no receipt covers it before what is behind it has arrived."""
    delivery = _delivery(head=12)
    delivery.lost(1, Lane.DATA, 6, 9)
    assert delivery.to_send(Lane.DATA) == [(1, [(1, 5), (10, 12)])]
    delivery.apply(_receipt(7), {7})
    assert not delivery.is_settled((1, Lane.DATA, 1))
    assert delivery.to_send(Lane.DATA) == [(1, [(10, 12)])]
    for seq in (10, 11, 12):
        delivery.launched((1, Lane.DATA, seq), 100, 0, is_backlog=True)
    assert delivery.to_send(Lane.DATA) == [(1, [(1, 5)])]
    delivery.apply(_receipt(12, serial=2))
    assert delivery.to_send(Lane.DATA) == []
    assert delivery.is_settled((1, Lane.DATA, 1))
