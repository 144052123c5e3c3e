"""From the rows of one burst to waveforms as they are sealed.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contracts.columns import Columns
from contracts.quality import GOOD
from contracts.waveform import MAX_SPAN_US, MAX_WAVE_SAMPLES, WaveChannel, Waveform, waveform_id
from edge_agent.vibration.burst import Tick

#: a part is never larger than this once packed (bytes), so that it fits one envelope uncompressed
_MOST_BYTES = 220_000
#: most that one time, one number with its quality run may take (bytes)
_TIME_BYTES, _SAMPLE_BYTES = 5, 15


def waveforms(
    rows: Sequence[Tick],
    channels: tuple[WaveChannel, ...],
    *,
    gateway: str,
    boot_id: bytes,
    device: str,
    cause: str,
    event: bytes | None,
) -> list[Waveform]:
    """Returns the rows as waveforms, in parts where they are too long for one.

    Args:
        rows: times ascend; what was asked without an answer is among them.
        cause: a word.
        event: id of the event that raised the alarm.
    """
    found = []
    for part in _parts(rows, _most_ticks(len(channels))):
        begin_us = part[0][0]
        codes = None
        if any(row[2] is not None and any(row[2]) for row in part):
            width = len(channels)
            rows_of_codes = [row[2] if row[2] is not None else (GOOD,) * width for row in part]
            codes = [list(column) for column in zip(*rows_of_codes, strict=True)]
        found.append(
            Waveform(
                id=waveform_id(gateway, boot_id, device, begin_us),
                device=device,
                cause=cause,
                event=event,
                begin_us=begin_us,
                channels=channels,
                columns=Columns(
                    0,
                    [row[0] for row in part],
                    [list(column) for column in zip(*(row[1] for row in part), strict=True)],
                    codes,
                ),
            )
        )
    return found


def _most_ticks(channels: int) -> int:
    return min(MAX_WAVE_SAMPLES // channels, _MOST_BYTES // (_TIME_BYTES + channels * _SAMPLE_BYTES))


def _parts(rows: Sequence[Tick], most: int) -> Iterator[Sequence[Tick]]:
    start = 0
    for number in range(len(rows) + 1):
        is_end = number == len(rows)
        if number > start and (is_end or number - start >= most or rows[number][0] - rows[start][0] > MAX_SPAN_US):
            yield rows[start:number]
            start = number
