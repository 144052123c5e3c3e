"""Waveforms: identity over every kind and pattern, hostile records, limits, and their place in a batch."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import Batch, Lane, Section, decode_batch, encode_batch
from contracts.columns import MAX_SAMPLES, Columns
from contracts.envelope import Type, open_envelope, seal
from contracts.errors import ContractError, PayloadError, TooLargeError
from contracts.fields import pack, unpack
from contracts.keys import Signer, Verifier
from contracts.quality import NO_REPLY
from contracts.waveform import MAX_WAVE_SAMPLES, MAX_WAVEFORMS, Waveform, waveform_id, waveforms_from_wire
from tests.contracts import examples as ex
from tests.contracts.strategies import damaged, mutated, waveforms

RAW = ex.WAVEFORM.to_wire()
SIGNER = Signer.from_seed(bytes(32))
KEYS = {SIGNER.key_id: Verifier(SIGNER.public)}


@given(waveforms())
def test_decode_after_encode_is_identity(waveform: Waveform) -> None:
    assert Waveform.from_wire(unpack(pack(waveform.to_wire()))) == waveform


@given(st.data())
def test_a_mutated_waveform_is_one_or_a_contract_error(data: st.DataObject) -> None:
    raw = data.draw(waveforms()).to_wire()
    try:
        raw = data.draw(mutated(raw)) if data.draw(st.booleans()) else unpack(data.draw(damaged(pack(raw))))
        waveform = Waveform.from_wire(raw)
    except ContractError:
        return
    columns = waveform.columns
    assert all(len(column) == len(columns.times) for column in columns.values)
    assert columns.times == sorted(columns.times)
    assert columns.times[0] == waveform.begin_us
    assert all(math.isfinite(value) for column in columns.values for value in column if value is not None)


@given(st.data())
def test_a_flipped_bit_in_a_signed_waveform_is_refused(data: st.DataObject) -> None:
    body = encode_batch(Batch(header=ex.header(Lane.DATA, 9), waveforms=(data.draw(waveforms()),)))
    envelope = seal(Type.DATA_BATCH, body, SIGNER, level=data.draw(st.sampled_from([0, 1])))[0]
    at, bit = data.draw(st.integers(0, len(envelope) - 1)), data.draw(st.integers(0, 7))
    flipped = envelope[:at] + bytes([envelope[at] ^ 1 << bit]) + envelope[at + 1 :]
    with pytest.raises(ContractError):
        open_envelope(flipped, Type.DATA_BATCH, KEYS)


@pytest.mark.parametrize(
    ("place", "value", "error", "named"),
    [
        (0, bytes(15), PayloadError, r"waveform\.id"),
        (1, "d" * 65, PayloadError, r"waveform\.device"),
        (2, b"alarm", PayloadError, r"waveform\.cause"),
        (3, bytes(15), PayloadError, r"waveform\.event"),
        (4, -1, PayloadError, r"waveform\.begin_us"),
        (5, [], PayloadError, r"waveform\.channels"),
        (5, [RAW[5][0]] * 17, PayloadError, r"waveform\.channels"),
        (5, [["no key", *RAW[5][0][1:]]], PayloadError, r"channel\.point"),
        (5, [[*RAW[5][0][:4], "2/4", *RAW[5][0][5:]]], PayloadError, r"channel\.resolution"),
        (5, [[*RAW[5][0][:3], "f64", *RAW[5][0][4:]]], PayloadError, r"channel\.resolution"),
        (6, None, PayloadError, r"waveform\.columns"),
        (6, [[1], [1, 1], None, None, None], PayloadError, r"waveform\.columns: times"),
        (6, [[0, -1], [1] * 4, None, None, None], PayloadError, r"waveform\.columns: times"),
        (6, [[0, 3_600_000_001], [1] * 4, None, None, None], PayloadError, r"waveform\.columns: times"),
        (6, [[0] * (MAX_WAVE_SAMPLES // 2 + 1), None, None, None, None], TooLargeError, "at most"),
    ],
)
def test_a_wrong_field_is_refused_by_name(place: int, value: Any, error: type[ContractError], named: str) -> None:
    with pytest.raises(error, match=named):
        Waveform.from_wire([*RAW[:place], value, *RAW[place + 1 :]])


def test_a_bomb_of_missing_samples_is_refused_before_it_is_unpacked() -> None:
    """Runs of missing samples cost nothing on the wire: all waveforms of a batch together are bounded."""
    ticks = MAX_WAVE_SAMPLES // 2
    one = [*RAW[:6], [[0] * ticks, None, None, None, [MAX_WAVE_SAMPLES, NO_REPLY]]]
    assert waveforms_from_wire([one] * (MAX_SAMPLES // MAX_WAVE_SAMPLES))
    with pytest.raises(TooLargeError, match="together"):
        waveforms_from_wire([one] * (MAX_SAMPLES // MAX_WAVE_SAMPLES + 1))


def test_a_waveform_too_long_for_one_is_refused_when_it_is_packed() -> None:
    ticks = MAX_WAVE_SAMPLES // 2 + 1
    columns = Columns(0, [ex.WAVE_BEGIN_US] * ticks, [[0] * ticks] * 2, None)
    with pytest.raises(TooLargeError, match="at most 65536"):
        replace(ex.WAVEFORM, columns=columns).to_wire()


def test_a_batch_carries_at_most_64_waveforms_and_they_are_no_readings() -> None:
    body = unpack(encode_batch(ex.BATCHES["data-waveform"]))
    (section,) = body[1]
    assert section[0] == Section.WAVEFORMS == 7
    assert decode_batch(pack(body), Type.DATA_BATCH).header.readings == 0
    section[1] = section[1] * (MAX_WAVEFORMS + 1)
    with pytest.raises(PayloadError, match="section waveforms"):
        decode_batch(pack(body), Type.DATA_BATCH)


def test_a_channel_keeps_its_exact_step() -> None:
    assert Waveform.from_wire(unpack(pack(RAW))).channels[0].resolution == Fraction(1, 2048)


def test_the_same_stretch_sealed_again_has_the_same_id() -> None:
    one = waveform_id("g-aaaaaaaaaaaa", bytes(16), "pier-3", 5)
    others = {
        waveform_id("g-aaaaaaaaaaab", bytes(16), "pier-3", 5),
        waveform_id("g-aaaaaaaaaaaa", bytes(15) + b"\1", "pier-3", 5),
        waveform_id("g-aaaaaaaaaaaa", bytes(16), "pier-4", 5),
        waveform_id("g-aaaaaaaaaaaa", bytes(16), "pier-3", 6),
    }
    assert one == waveform_id("g-aaaaaaaaaaaa", bytes(16), "pier-3", 5)
    assert one not in others
    assert len(others) == 4


def test_ten_seconds_of_three_axes_fit_a_batch_many_times() -> None:
    """The worst noise of a 16-bit sensor, 10 s at 200 Hz with jitter in every time."""
    ticks = 2000
    times, at = [], ex.WAVE_BEGIN_US
    for tick in range(ticks):
        times.append(at)
        at += 5_000 + (tick * 7919) % 301
    values = [[(tick * 40_503 + axis * 977) % 65_536 - 32_768 for tick in range(ticks)] for axis in range(3)]
    wide = replace(
        ex.WAVEFORM, channels=(*ex.WAVEFORM.channels, ex.WAVEFORM.channels[0]), columns=Columns(0, times, values, None)
    )
    body = encode_batch(Batch(header=ex.header(Lane.DATA, 9), waveforms=(wide,)))
    assert decode_batch(body, Type.DATA_BATCH).waveforms == (wide,)
    assert len(seal(Type.DATA_BATCH, body, SIGNER)[0]) < 40_000
