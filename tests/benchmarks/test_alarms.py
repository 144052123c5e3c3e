"""How the alarm benchmark counts: moments, steps, bursts, and the record against the recorder."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgpack
import pytest

from benchmarks.alarm_steps import STEPS, Taps, Told, raised, read_taps, step_figures, step_lines, told
from benchmarks.alarms import burst_figures, moments
from benchmarks.arrivals import Message
from benchmarks.record import figures_of
from benchmarks.report import Figure
from benchmarks.tapped_agent import Stamps
from contracts.batch import NO_HEAD, AlarmEvent, Anchor, Batch, ClockState, Genesis, Header, Lane, Origin, encode_batch
from contracts.envelope import Type, seal
from contracts.keys import Signer
from contracts.quality import GOOD
from contracts.receipt import Receipt
from contracts.topics import Channel, topic

SIGNER = Signer.from_seed(b"b" * 32)
GATEWAY = SIGNER.public.gateway_id
EPOCH = b"epoch--1"
SAMPLED_US = 9_000_000


def _event(number: int, *, point: str = "", raised_by: int | None = None, judged_us: int = 9_002_000) -> AlarmEvent:
    return AlarmEvent(
        id=number.to_bytes(16),
        raised_by=(number if raised_by is None else raised_by).to_bytes(16),
        boot_id=bytes(16),
        point=point or f"d{number:02}/raw/7",
        quantity="raw",
        unit="1",
        en="one",
        zh="一",
        rule_id="bench.slow/high",
        rule_hash=bytes(8),
        rule_en="high",
        rule_zh="高",
        severity="orange",
        scheme="benchmark",
        state="active" if raised_by is None else "cleared",
        cause="limit",
        limit=1000.0,
        value=5000.0,
        code=GOOD,
        sampled_us=SAMPLED_US,
        judged_us=judged_us,
    )


def _batch(at_us: int, seq: int, *events: AlarmEvent) -> Message:
    header = Header(
        gateway=GATEWAY,
        epoch=EPOCH,
        lane=Lane.ALARM,
        seq=seq,
        previous=b"" if seq == 1 else bytes(32),
        other=NO_HEAD,
        boot_id=bytes(16),
        boot_counter=1,
        sealed_us=9_003_000,
        anchors=(Anchor(mono_us=1, wall_us=2, state=ClockState.UNSET, uncertainty_ms=None),),
        catalogue=bytes(32),
        origin=Origin.LIVE,
        readings=0,
        genesis=Genesis(version="0", reason="first", parent=None) if seq == 1 else None,
    )
    envelope = seal(Type.ALARM_BATCH, encode_batch(Batch(header=header, events=events)), SIGNER)[0]
    return Message(at_us=at_us, topic=topic(GATEWAY, Channel.ALARM), payload=envelope)


def _receipt(at_us: int, contiguous: int) -> Message:
    receipt = Receipt(
        gateway=GATEWAY,
        collector_epoch=bytes(8),
        collector_since_us=1,
        serial=1,
        epoch=EPOCH,
        lane=Lane.ALARM,
        contiguous=contiguous,
        digest=bytes(32),
    )
    envelope = seal(Type.RECEIPT, receipt.to_body(), SIGNER)[0]
    return Message(at_us=at_us, topic=topic(GATEWAY, Channel.RECEIPT), payload=envelope)


def _taps(message: Message, **replied_us: int) -> Taps:
    mark = zlib.crc32(message.payload)
    replied = {int(name[1:]).to_bytes(16): at for name, at in replied_us.items()}
    return Taps(replied=replied, durable={mark: 9_006_000}, socket={mark: 9_007_000})


def _told(number: int, *, judged_us: int, receipt_us: int | None, copies: int = 1, point: str = "") -> Told:
    at_us = (judged_us, judged_us, judged_us, judged_us, judged_us, receipt_us)
    event = _event(number, judged_us=judged_us, point=point)
    return Told(event=event, replied_us=judged_us - 1000, at_us=at_us, copies=copies)


def _values(figures: Sequence[Figure]) -> dict[str, float | None]:
    return {figure.name: figure.value for figure in figures}


def test_every_step_of_an_alarm_is_counted_from_the_reply() -> None:
    message = _batch(9_008_000, 1, _event(1))
    (one,) = told([message, _receipt(9_011_000, 1)], _taps(message, e1=9_001_000))
    assert [one.since_reply_ms(step) for step in STEPS] == [1.0, 2.0, 5.0, 6.0, 7.0, 10.0]
    assert one.copies == 1


def test_what_was_not_seen_has_no_time() -> None:
    (one,) = told([_batch(9_008_000, 1, _event(1))], Taps(replied={}, durable={}, socket={}))
    assert one.at_us == (9_002_000, 9_003_000, None, None, 9_008_000, None)
    assert one.since_reply_ms("broker") is None


def test_an_event_that_was_sealed_twice_counts_when_it_came_first() -> None:
    first, again = _batch(9_008_000, 1, _event(1)), _batch(9_009_000, 2, _event(1))
    (one,) = told([first, again, first], _taps(first, e1=9_001_000))
    assert (one.at_us[STEPS.index("broker")], one.copies) == (9_008_000, 2)


def test_only_what_began_an_alarm_of_a_wanted_point_is_taken() -> None:
    message = _batch(9_008_000, 1, _event(1), _event(2, raised_by=1, point="d01/raw/7"), _event(3))
    found = raised(told([message], _taps(message)), ["d01/raw/7"])
    assert [one.event.id for one in found] == [(1).to_bytes(16)]


def test_the_steps_as_figures_and_as_a_table() -> None:
    message = _batch(9_008_000, 1, _event(1))
    figures = step_figures(told([message], _taps(message, e1=9_001_000)), {("socket", "p50"): 10.0})
    values = _values(figures)
    assert (values["reply -> socket, p50"], values["reply -> socket, worst"]) == (6.0, 6.0)
    assert values["reply -> receipt, p99"] is None
    assert [figure.name for figure in figures if figure.target is not None] == ["reply -> socket, p50"]
    lines = step_lines(figures)
    assert len(lines) == 1 + len(STEPS)
    assert lines[-1].split() == ["receipt", "-", "-", "-", "-"]


def test_taps_are_read_as_they_are_written(tmp_path: Path) -> None:
    stamps = Stamps()
    stamps.replied[b"i" * 16], stamps.durable[7], stamps.socket[7] = 1, 2, 3
    stamps.write(tmp_path / "taps")
    assert read_taps(tmp_path / "taps") == Taps(replied={b"i" * 16: 1}, durable={7: 2}, socket={7: 3})


def test_taps_of_nothing_are_cut_off_nowhere(tmp_path: Path) -> None:
    (tmp_path / "taps").write_bytes(msgpack.packb([{}, {}, {}]))
    assert read_taps(tmp_path / "taps") == Taps(replied={}, durable={}, socket={})


@pytest.mark.parametrize(("targets", "every_s"), [(50, 0.4), (10, 0.45), (1, 0.1)])
def test_no_register_goes_past_its_limit_before_it_was_back_for_a_while(targets: int, every_s: float) -> None:
    found = moments(targets=targets, count=60, every_s=every_s, hold_s=1.3)
    assert found == moments(targets=targets, count=60, every_s=every_s, hold_s=1.3)
    assert found == sorted(found)
    for number in range(targets):
        own = [(at_s, is_past) for at_s, which, is_past in found if which == number]
        assert [is_past for _, is_past in own] == [True, False] * (len(own) // 2)
        assert all(after - before >= 1.3 - 1e-9 for (before, _), (after, _) in pairwise(own))


def test_a_burst_counts_what_is_missing_and_what_came_twice() -> None:
    points = ["d01/raw/7", "d02/raw/7", "d03/raw/7"]
    events = [
        _told(1, judged_us=1_500_000, receipt_us=1_900_000),
        _told(2, judged_us=1_510_000, receipt_us=2_000_000, copies=2),
        _told(3, judged_us=1_510_000, receipt_us=None),
        _told(4, judged_us=9_100_000, receipt_us=9_200_000, point="d01/raw/7"),
        _told(5, judged_us=9_100_000, receipt_us=9_200_000, point="d01/raw/7"),
    ]
    values = _values(burst_figures(events, points, written_us=[1_100_000, 9_010_000], begun_us=[1_000_000, 9_000_000]))
    assert values["points in alarm each time, fewest"] == 1
    assert values["events without a receipt"] == 1
    assert values["points that raised twice"] == 1
    assert values["events sealed a second time"] == 1
    assert values["last register written -> last receipt, worst"] == 900.0
    assert values["first reply -> last receipt, worst"] == 501.0
    assert values["alarm batches each time, most"] == 2


def test_the_record_is_compared_with_what_the_recorder_saw() -> None:
    message = _batch(9_008_000, 1, _event(1), _event(2), _event(3), _event(4))
    names = ("sampled_us", "judged_us", "sealed_us", "received_us", "committed_us")
    lines = [
        (100_000, 102_000, 103_000, 108_500, 109_000),
        (100_000, 102_000, 103_000, 101_000, 109_000),
        (100_000, 102_000, None, 108_000, 109_000),
        (100_000, 104_000, 103_000, 108_000, 109_000),
    ]
    alarms = told([message], _taps(message))
    rows = {one.event.id.hex(): dict(zip(names, line, strict=True)) for one, line in zip(alarms, lines, strict=True)}
    values = _values(figures_of(alarms, rows))
    assert values["on the record, whole"] == 3
    assert values["on the record, each side in order"] == 2
    assert values["received before it was sealed, by at most"] == 2.0
    assert values["sealed -> received, record against recorder, worst"] == 7.0
