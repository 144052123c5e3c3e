"""Waveforms: what a sensor showed sample by sample for some seconds, mostly around an alarm.

A waveform explains itself, like an alarm event: point keys, units and names are in it, so it
is shown whether or not the catalogue has arrived.  Its samples travel in the same columns as
those of a block (``contracts.columns``), with the time of its first sample instead of the
header's as the origin; a request that brought nothing is in it with its cause.

It is no series of readings: a waveform's samples are not counted in the header, belong to no
grid and are not judged.  Times are the batch's boot's monotonic clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from contracts.catalogue import KINDS, RESOLUTION, is_point_key
from contracts.columns import MAX_SAMPLES, Columns, decode_block, encode_block
from contracts.errors import PayloadError, TooLargeError
from contracts.fields import Fields
from contracts.quality import GOOD
from contracts.units import UNITS

WAVEFORM_ID_BYTES = 16
EVENT_ID_BYTES = 16
#: waveforms in one batch, and channels in one waveform
MAX_WAVEFORMS = 64
MAX_CHANNELS = 16
#: ticks times channels of one waveform; those of a batch together stay below ``MAX_SAMPLES``
MAX_WAVE_SAMPLES = 65_536
#: from the first sample to the last one (us)
MAX_SPAN_US = 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveChannel:
    """What one channel of a waveform measures."""

    #: key of the point whose registers were read
    point: str
    quantity: str
    #: UCUM
    unit: str
    #: ``int``: counts of ``resolution``; ``f32``/``f64``: the number itself
    kind: str
    #: 1 for floats
    resolution: Fraction
    en: str
    zh: str

    def to_wire(self) -> list[Any]:
        step = f"{self.resolution.numerator}/{self.resolution.denominator}"
        return [self.point, self.quantity, self.unit, self.kind, step, self.en, self.zh]

    @classmethod
    def from_wire(cls, value: Any) -> WaveChannel:
        f = Fields("channel", value, 7)
        point = f.text("point", 64, pattern=is_point_key)
        quantity = f.text("quantity", 64)
        unit = f.choice("unit", frozenset(UNITS))
        kind = f.choice("kind", KINDS)
        step = f.text("resolution", 40, pattern=lambda text: RESOLUTION.fullmatch(text) is not None)
        resolution = Fraction(step)
        if step != f"{resolution.numerator}/{resolution.denominator}" or (kind != "int" and resolution != 1):
            raise PayloadError(f"channel.resolution: {step}: lowest terms, and 1/1 for floats, would be right")
        return cls(
            point=point,
            quantity=quantity,
            unit=unit,
            kind=kind,
            resolution=resolution,
            en=f.text("en"),
            zh=f.text("zh"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waveform:
    """One stretch of fast samples of one device."""

    #: the same stretch sealed again has the same id
    id: bytes
    #: id of the device in the catalogue
    device: str
    #: why it was kept: a word such as ``alarm``
    cause: str
    #: id of the event that raised the alarm; None without one
    event: bytes | None
    #: of the first sample, monotonic us
    begin_us: int
    channels: tuple[WaveChannel, ...]
    #: one entry per channel and tick; ``number`` is 0, times ascend from ``begin_us``
    columns: Columns

    def to_wire(self) -> list[Any]:
        """Returns the plain form.

        Raises:
            TooLargeError: more samples than a waveform may have; part it.
        """
        ticks = len(self.columns.times)
        if ticks * len(self.channels) > MAX_WAVE_SAMPLES:
            raise TooLargeError(
                f"a waveform of {ticks} ticks of {len(self.channels)} channels; at most {MAX_WAVE_SAMPLES} samples"
            )
        codes: list[Sequence[int] | None] = [None] * ticks
        if self.columns.codes is not None:
            codes = [None if set(row) == {GOOD} else row for row in zip(*self.columns.codes, strict=True)]
        raw = encode_block(
            0,
            [channel.kind for channel in self.channels],
            self.begin_us,
            self.columns.times,
            list(zip(*self.columns.values, strict=True)),
            codes,
        )
        channels = [channel.to_wire() for channel in self.channels]
        return [self.id, self.device, self.cause, self.event, self.begin_us, channels, raw[1:]]

    @classmethod
    def from_wire(cls, value: Any) -> Waveform:
        """Reads one waveform of a verified batch.

        Raises:
            PayloadError: names record and field.
            TooLargeError: more samples than a waveform may have; nothing was unpacked.
        """
        f = Fields("waveform", value, 7)
        id = f.binary("id", WAVEFORM_ID_BYTES)
        device = f.text("device", 64)
        cause = f.text("cause", 64)
        event = f.optional_binary("event", EVENT_ID_BYTES)
        begin_us = f.integer("begin_us")
        channels = tuple(WaveChannel.from_wire(item) for item in f.items("channels", MAX_CHANNELS))
        if not channels:
            raise PayloadError("waveform.channels: expected one at least")
        return cls(
            id=id,
            device=device,
            cause=cause,
            event=event,
            begin_us=begin_us,
            channels=channels,
            columns=_columns(f.raw(), channels, begin_us),
        )

    @property
    def samples(self) -> int:
        """Ticks times channels."""
        return len(self.columns.times) * len(self.channels)


def _columns(raw: Any, channels: tuple[WaveChannel, ...], begin_us: int) -> Columns:
    if not isinstance(raw, list) or len(raw) != 5 or not isinstance(raw[0], list):
        raise PayloadError("waveform.columns: expected a list of five that begins with times")
    if len(raw[0]) * len(channels) > MAX_WAVE_SAMPLES:
        raise TooLargeError(
            f"a waveform of {len(raw[0])} ticks of {len(channels)} channels; at most {MAX_WAVE_SAMPLES} samples"
        )
    columns = decode_block([0, *raw], [channel.kind for channel in channels], begin_us)
    if raw[0][0] != 0 or min(raw[0]) < 0:
        raise PayloadError("waveform.columns: times: expected 0 and then steps of 0 or more")
    if columns.times[-1] - begin_us > MAX_SPAN_US:
        raise PayloadError(f"waveform.columns: times: more than {MAX_SPAN_US} us from the first to the last")
    return columns


def waveforms_from_wire(items: Sequence[Any]) -> tuple[Waveform, ...]:
    """Reads the section of a batch.

    Raises:
        PayloadError: names record and field.
        TooLargeError: all waveforms together have more samples than a batch may have.
    """
    found = []
    left = MAX_SAMPLES
    for item in items:
        waveform = Waveform.from_wire(item)
        left -= waveform.samples
        if left < 0:
            raise TooLargeError(f"the waveforms of one batch have more than {MAX_SAMPLES} samples together")
        found.append(waveform)
    return tuple(found)


def waveform_id(gateway: str, boot_id: bytes, device: str, begin_us: int) -> bytes:
    """Returns the id of a waveform; the same stretch sealed again has the same id."""
    text = f"{gateway}\0{device}\0{begin_us}\0".encode()
    return hashlib.sha256(text + boot_id).digest()[:WAVEFORM_ID_BYTES]
