"""Waveforms: where they lie in the evidence, and their samples read from the signed bytes when asked.

The table only says that there is one, when it began and in which batch; samples are never copied
out of the evidence, so what is shown is what was signed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import median

from collector.evidence import read_batch
from collector.trend import scaled
from collector.views import WaveformChannel, WaveformSamples, WaveformView
from contracts.quality import GOOD
from contracts.waveform import Waveform


def apply_waveform(
    db: sqlite3.Connection, waveform: Waveform, *, gateway_no: int, boot_no: int, offset_us: int, evidence_id: int
) -> None:
    """Notes where a waveform lies; the same one again, in another batch, changes nothing."""
    times = waveform.columns.times
    db.execute(
        _WAVEFORM,
        (
            gateway_no,
            waveform.id,
            waveform.device,
            waveform.cause,
            waveform.event,
            boot_no,
            waveform.begin_us,
            waveform.begin_us + offset_us,
            times[-1] - times[0],
            len(times),
            len(waveform.channels),
            evidence_id,
        ),
    )


def read_waveforms(db: sqlite3.Connection, gateway: str | None, alarm: str | None, limit: int) -> list[WaveformView]:
    """Returns the newest waveforms.

    Args:
        gateway: None for all.
        alarm: hex id of the alarm that they are kept for; None for all.
        limit: at most so many.
    """
    rows = db.execute(_LISTED, (gateway, gateway, alarm, alarm and _bytes(alarm), limit)).fetchall()
    return [_view(row) for row in rows]


def read_waveform(db: sqlite3.Connection, gateway: str, id: str) -> WaveformSamples | None:
    """Returns one waveform with its samples; None where there is none, or its batch was pruned."""
    row = db.execute(_ONE, (gateway, _bytes(id))).fetchone()
    if row is None or row[-1] is None:
        return None
    view = _view(row)
    found = next((item for item in read_batch(row[-1], row[-2]).waveforms if item.id == _bytes(id)), None)
    return None if found is None else _samples(view, found)


def _bytes(text: str) -> bytes:
    """The bytes of a hex id; none where it is not one, which no row has."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _view(row: Sequence[object]) -> WaveformView:
    gateway, id, device, cause, alarm_id, wall_us, span_us, ticks, channels, lane, envelope = row
    assert isinstance(id, bytes)
    return WaveformView(
        gateway=str(gateway),
        id=id.hex(),
        device=str(device),
        cause=str(cause),
        alarm=alarm_id.hex() if isinstance(alarm_id, bytes) else None,
        begin_us=_int(wall_us),
        span_us=_int(span_us),
        ticks=_int(ticks),
        channels=_int(channels),
        is_kept=lane is not None and envelope is not None,
    )


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _samples(view: WaveformView, waveform: Waveform) -> WaveformSamples:
    columns = waveform.columns
    offset_us = view.begin_us - waveform.begin_us
    steps = [after - before for before, after in pairwise(columns.times) if after > before]
    return WaveformSamples(
        waveform=view,
        rate_hz=1e6 / median(steps) if steps else None,
        times_us=[at + offset_us for at in columns.times],
        channels=[
            WaveformChannel(
                point=channel.point,
                quantity=channel.quantity,
                unit=channel.unit,
                en=channel.en,
                zh=channel.zh,
                values=[_value(value, channel.kind, channel.resolution) for value in columns.values[number]],
                codes=[GOOD] * len(columns.times) if columns.codes is None else columns.codes[number],
            )
            for number, channel in enumerate(waveform.channels)
        ],
    )


def _value(value: int | float | None, kind: str, resolution: Fraction) -> float | None:
    return None if value is None else scaled(value, resolution if kind == "int" else None)


_WAVEFORM = """
INSERT INTO waveform(gateway_no, id, device, cause, alarm_id, boot_no, mono_us, wall_us, span_us, ticks, channels,
                     evidence_id)
VALUES(?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT(gateway_no, id) DO UPDATE SET wall_us=excluded.wall_us WHERE waveform.evidence_id=excluded.evidence_id
"""

_COLUMNS = "g.id, w.id, w.device, w.cause, w.alarm_id, w.wall_us, w.span_us, w.ticks, w.channels, e.lane"
_FROM = "FROM waveform w JOIN gateway g ON g.no=w.gateway_no LEFT JOIN evidence e ON e.id=w.evidence_id"
# The newest by the time it began; the envelope itself is not read for a list.
_LISTED = f"""
SELECT {_COLUMNS}, e.id {_FROM} WHERE (? IS NULL OR g.id=?) AND (? IS NULL OR w.alarm_id=?)
ORDER BY w.wall_us DESC, w.id LIMIT ?
"""
_ONE = f"SELECT {_COLUMNS}, e.envelope {_FROM} WHERE g.id=? AND w.id=?"
