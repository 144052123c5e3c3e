"""What the pages, the API and the commands are told: plain records, and the port they come through.

Times are UTC microseconds by the best anchors known so far.  A number never travels without
its quality and its age.  Liveness is computed when asked, from declared intervals, never
stored as a flag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayView:
    """One gateway as the overview shows it."""

    id: str
    en: str
    zh: str
    #: ``never`` (nothing arrived yet), ``online``, ``degraded`` (some points silent or backlog), ``silent``
    liveness: str
    #: seconds since the newest verified thing arrived; None when nothing ever did
    silent_for_s: float | None
    #: seconds of silence after which the page, too, calls the gateway silent; None when not known
    silent_after_s: float | None = None
    points: int
    points_silent: int
    #: batches known to exist (by heads seen) and not here yet
    backlog_batches: int
    #: newest data batch: (seq, sampled-at of its newest sample UTC us)
    newest_sample_us: int | None
    clock: str
    version: str
    boot_counter: int
    alarms_active: int
    #: JSON-ready facts of the newest health records: subject -> {name: value}
    health: dict[str, dict[str, float | int | str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointView:
    """One point with its latest sample."""

    gateway: str
    key: str
    device: str
    #: name of the device
    device_en: str
    device_zh: str
    quantity: str
    #: UCUM, and as shown
    unit: str
    unit_en: str
    unit_zh: str
    en: str
    zh: str
    #: None where the latest sample has no number
    value: float | None
    #: ready to show, rounded to the point's resolution; empty where there is no number
    shown: str
    code: int
    #: ``good``, ``uncertain``, ``bad``, ``missing`` or ``unknown`` (older than its longest silence)
    quality: str
    reason_en: str
    reason_zh: str
    sampled_us: int | None
    age_s: float | None
    is_stale: bool
    #: seconds after which the page, too, calls the point unknown when it hears nothing; None when not known
    longest_silence_s: float | None = None
    #: last sample that had a number, shown only with its own age
    last_value: float | None
    last_value_us: int | None
    low: float | None
    high: float | None
    #: (value, direction, severity, en, zh)
    limits: Sequence[tuple[float, str, str, str, str]]
    #: severity of the worst alarm that is active on this point, or None
    alarm: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmView:
    """One occurrence of one alarm with its time line."""

    #: hex of the event that raised it
    id: str
    gateway: str
    point: str
    en: str
    zh: str
    rule_id: str
    rule_en: str
    rule_zh: str
    severity: str
    scheme: str
    #: ``active``, ``latched``, ``cleared``
    state: str
    #: ``active`` whose source has gone silent
    is_source_silent: bool
    #: not over here, and absent from the statement of all its alarms that the gateway made since, when it connected
    is_unstated: bool
    cause: str
    limit: float | None
    value: float | None
    shown: str
    code: int
    quantity: str
    unit: str
    unit_en: str
    unit_zh: str
    raised_us: int
    cleared_us: int | None
    #: time line, UTC us; None while unknown
    sampled_us: int
    judged_us: int
    sealed_us: int | None
    received_us: int | None
    committed_us: int | None
    #: committed minus sampled, milliseconds
    latency_ms: float | None
    #: arrived more than 10 s after it was sampled
    is_late: bool
    acknowledged_by: str | None
    acknowledged_us: int | None
    marks: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainView:
    """The proof for one lane of one epoch."""

    gateway: str
    epoch: str
    lane: str
    #: verified without a hole from batch 1 up to here, holes covered by signed loss records
    verified_to: int
    newest: int
    readings: int
    #: (first, last) not here and not declared lost
    missing: Sequence[tuple[int, int]]
    #: (first, last, cause, readings)
    lost: Sequence[tuple[int, int, str, int]]
    refused: Sequence[tuple[int, str]]
    last_receipt_us: int | None
    last_receipt_serial: int | None
    first_sample_us: int | None
    last_sample_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """One point over time, as columns; a gap is a None between two times."""

    gateway: str
    point: str
    unit: str
    #: ``raw`` (decoded from the signed batches) or ``minute`` (roll-ups)
    source: str
    times_us: Sequence[int]
    #: raw: the value; minute: the mean, None where only thinned samples of the minute are here
    values: Sequence[float | None]
    #: minute only, else empty
    low: Sequence[float | None]
    high: Sequence[float | None]
    #: per time the quality code (minute: the worst)
    codes: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineView:
    """Something that arrived and was not accepted, kept with the reason."""

    id: int
    arrived_us: int
    topic: str
    code: str
    reason: str
    size: int
    #: how often it came
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveformView:
    """That there is a waveform, and of what."""

    gateway: str
    #: hex
    id: str
    device: str
    #: a word such as ``before-alarm``
    cause: str
    #: hex id of the alarm that it is kept for; None without one
    alarm: str | None
    #: UTC us of the first sample
    begin_us: int
    span_us: int
    ticks: int
    channels: int
    #: whether its signed batch is still here
    is_kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveformChannel:
    """The samples of one channel."""

    point: str
    quantity: str
    unit: str
    en: str
    zh: str
    #: in ``unit``; None where a sample has no number
    values: Sequence[float | None]
    #: quality codes
    codes: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveformSamples:
    """A waveform, sample by sample, as it was signed."""

    waveform: WaveformView
    #: from the middle one of its steps; None with one sample
    rate_hz: float | None
    #: UTC us
    times_us: Sequence[int]
    channels: Sequence[WaveformChannel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Told to live pages after a commit."""

    #: gateways whose points changed
    gateways: frozenset[str]
    #: hex ids of alarms that changed
    alarms: frozenset[str]
    #: keys (gateway, point) whose latest sample changed
    points: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletenessView:
    """What became of the readings that were expected of one point in one hour (or day)."""

    gateway: str
    point: str
    #: UTC us of its beginning; None where the clock of the boot is not known
    begin_us: int | None
    #: hex id of a boot whose clock is not known; empty else
    boot: str
    #: ticks of the grid; the sum of the counts
    expected: int
    #: (outcome, cause, whose, ticks); the words of ``collector.outcomes``
    counts: Sequence[tuple[str, str, str, int]]


class Queries(Protocol):
    """Everything a page, the API or a command may ask; safe to call from any thread."""

    def gateways(self) -> list[GatewayView]: ...

    def points(self, gateway: str | None = None) -> list[PointView]: ...

    def point(self, gateway: str, key: str) -> PointView | None: ...

    def alarms(self, *, standing_only: bool = True, limit: int = 200) -> list[AlarmView]: ...

    def alarm(self, id: str) -> AlarmView | None: ...

    def chains(self, gateway: str | None = None) -> list[ChainView]: ...

    def trend(self, gateway: str, key: str, start_us: int, end_us: int) -> Trend | None: ...

    def quarantine(self, limit: int = 100) -> list[QuarantineView]: ...

    def waveforms(
        self, gateway: str | None = None, alarm: str | None = None, limit: int = 100
    ) -> list[WaveformView]: ...

    def waveform(self, gateway: str, id: str) -> WaveformSamples | None: ...

    def completeness(
        self, start_us: int, end_us: int, *, gateway: str | None = None, key: str | None = None, by_day: bool = False
    ) -> list[CompletenessView]: ...

    def counters(self) -> dict[str, float]: ...
