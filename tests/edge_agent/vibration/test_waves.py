"""Rows of a burst as waveforms: what was read comes back, and every part fits one envelope."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from contracts.batch import Batch, Lane, decode_batch, encode_batch
from contracts.envelope import MAX_ENVELOPE, Type, seal
from contracts.keys import Signer
from contracts.quality import GOOD, NO_REPLY, OVER_RANGE
from contracts.waveform import WaveChannel, Waveform
from edge_agent.vibration.burst import Tick
from edge_agent.vibration.waves import waveforms
from tests.contracts.examples import BOOT, GATEWAY, header

CHANNELS = tuple(
    WaveChannel(
        point=f"pier-3/acceleration/{axis}",
        quantity="acceleration",
        unit="[g]",
        kind="int",
        resolution=Fraction(1, 2048),
        en=axis,
        zh=axis,
    )
    for axis in "xyz"
)


def made(rows: list[Tick], channels: tuple[WaveChannel, ...] = CHANNELS) -> list[Waveform]:
    return waveforms(
        rows, channels, gateway=GATEWAY, boot_id=BOOT, device="pier-3", cause="after-alarm", event=bytes(16)
    )


def test_what_was_read_comes_back_from_a_sealed_batch() -> None:
    rows: list[Tick] = [
        (1_000, (1, 2, 3), None),
        (21_010, (None,) * 3, (NO_REPLY,) * 3),
        (41_000, (None, 5, -6), (OVER_RANGE, GOOD, GOOD)),
    ]
    (wave,) = made(rows)
    body = encode_batch(Batch(header=header(Lane.DATA, 9), waveforms=(wave,)))
    (found,) = decode_batch(body, Type.DATA_BATCH).waveforms
    assert found.columns.times == [1_000, 21_010, 41_000]
    assert found.columns.values == [[1, None, None], [2, None, 5], [3, None, -6]]
    assert found.columns.codes == [[GOOD, NO_REPLY, OVER_RANGE], [GOOD, NO_REPLY, GOOD], [GOOD, NO_REPLY, GOOD]]
    assert (found.begin_us, found.cause, found.event) == (1_000, "after-alarm", bytes(16))


@pytest.mark.parametrize("kind", ["int", "f64"])
def test_the_worst_rows_part_into_waveforms_that_each_fit_an_envelope(kind: str) -> None:
    """Counts of 62 bits that swing, every other quality another, no compression."""
    channels = tuple(
        replace(channel, kind=kind, resolution=Fraction(1) if kind == "f64" else channel.resolution)
        for channel in CHANNELS
    )
    most = (1 << 62) - 1 if kind == "int" else 1e300
    codes = ((18, 19, 18), (19, 18, 19))
    rows: list[Tick] = [(n * 4_000_000_000 // 20_000, (most * (-1) ** n,) * 3, codes[n % 2]) for n in range(20_000)]
    found = made(rows, channels)
    assert len(found) > 1
    assert [time for wave in found for time in wave.columns.times] == [row[0] for row in rows]
    assert len({wave.id for wave in found}) == len(found)
    for wave in (found[0], found[-1]):
        body = encode_batch(Batch(header=header(Lane.DATA, 9), waveforms=(wave,)))
        assert len(seal(Type.DATA_BATCH, body, Signer.from_seed(bytes(32)), level=0)[0]) < MAX_ENVELOPE


def test_no_rows_are_no_waveform() -> None:
    assert made([]) == []
