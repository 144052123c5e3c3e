"""What the API answers: the views of ``collector.views`` as JSON, field for field.

A test compares the names, so that a new field of a view cannot be forgotten here.
Times are UTC microseconds.  A number is null where there is none; it is never made up.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from collector.web.visit_models import Due, LastVisit

#: turn the direction of the text around them
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_readable(text: str) -> bool:
    """Tells whether a text shows what it is: no control or half characters, nothing that turns it around."""
    return not any(character in _TURNING or unicodedata.category(character) in ("Cc", "Cs") for character in text)


class _Model(BaseModel):
    model_config = ConfigDict(from_attributes=True)


def _named(rows: Any, names: Sequence[str]) -> Any:
    """Returns plain tuples as objects with names; leaves anything else to pydantic."""
    return [dict(zip(names, row, strict=True)) if isinstance(row, tuple) else row for row in rows]


class Gateway(_Model):
    """One gateway; liveness is computed when asked."""

    id: str
    en: str
    zh: str
    liveness: str = Field(description="never, online, degraded or silent")
    silent_for_s: float | None
    silent_after_s: float | None
    points: int
    points_silent: int
    backlog_batches: int
    newest_sample_us: int | None
    clock: str
    version: str
    boot_counter: int
    alarms_active: int
    health: dict[str, dict[str, float | int | str | None]]


class Limit(_Model):
    """One limit of a point."""

    value: float
    direction: str
    severity: str
    en: str
    zh: str


class Inhibit(_Model):
    """Somebody works on a point, as its gateway signed it."""

    since_us: int
    until_us: int = Field(description="it ends by itself then")
    reason: str
    by: str


class Point(_Model):
    """One point with its latest sample, its quality and its age."""

    gateway: str
    key: str
    device: str
    device_en: str
    device_zh: str
    quantity: str
    unit: str = Field(description="UCUM")
    unit_en: str
    unit_zh: str
    en: str
    zh: str
    value: float | None
    shown: str
    code: int
    quality: str = Field(description="good, uncertain, bad, missing or unknown (older than its longest silence)")
    reason_en: str
    reason_zh: str
    sampled_us: int | None
    age_s: float | None
    is_stale: bool
    longest_silence_s: float | None
    last_value: float | None
    last_value_us: int | None
    low: float | None
    high: float | None
    limits: list[Limit]
    alarm: str | None
    visit: LastVisit | None = Field(description="the newest bump test or calibration")
    due: list[Due] = Field(description="jobs that the gateway states to be due or overdue")
    is_inhibited: bool = Field(description="a person works on it, as its gateway signed last: it raises no alarm")
    inhibit: Inhibit | None = Field(description="who works on it, why and until when")

    @field_validator("due", mode="before")
    @classmethod
    def _due(cls, rows: Any) -> Any:
        return _named(rows, ("job", "state", "due"))

    @field_validator("limits", mode="before")
    @classmethod
    def _limits(cls, rows: Any) -> Any:
        return _named(rows, ("value", "direction", "severity", "en", "zh"))


class Said(_Model):
    """What a person said about an alarm, and from where."""

    action: str = Field(description="acknowledge, unacknowledge or warn")
    by: str
    at_us: int
    note: str
    source: str


class Told(_Model):
    """One attempt to tell somebody of an alarm."""

    at_us: int
    target: str = Field(description="rule and number of the address")
    kind: str = Field(description="first, graver, repeat, cleared or given_up")
    is_possible_repeat: bool = Field(description="it may have arrived before")
    answered_us: int | None
    outcome: str | None = Field(
        description="sent (the other side took it), failed, given_up; null while no answer is known"
    )
    detail: str | None


class Notice(_Model):
    """One attempt to tell somebody of alarms, or a test."""

    id: int
    target: str = Field(description="rule and number of the address")
    kind: str = Field(description="first, graver, repeat, cleared, test or given_up")
    at_us: int
    is_possible_repeat: bool
    by: str = Field(description="who asked for a test")
    alarms: int
    answered_us: int | None
    outcome: str | None = Field(
        description="sent (the other side took it), failed, given_up; null while no answer is known"
    )
    detail: str


class NotifyTarget(_Model):
    """An address, without its secret."""

    target: str
    scheme: str


class NotifyRule(_Model):
    """Who is told of which alarms."""

    name: str
    targets: list[NotifyTarget]
    severities: list[str]
    gateways: list[str]
    points: list[str]
    lang: str
    repeat_s: int
    quiet_s: int
    all_clear: bool = Field(description="whether it is told, too, that an alarm is over")

    @field_validator("targets", mode="before")
    @classmethod
    def _targets(cls, rows: Any) -> Any:
        return _named(rows, ("target", "scheme"))


class Alarm(_Model):
    """One occurrence of one alarm with its time line."""

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
    state: str = Field(description="active, latched or cleared")
    is_source_silent: bool
    is_unstated: bool = Field(description="absent from the statement of all its alarms that the gateway made since")
    is_stated_over: bool = Field(description="over here, and named as standing in what the gateway stated afterwards")
    measurement: str = Field(description="active, source_silent (nobody says that it is over) or cleared")
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
    sampled_us: int
    judged_us: int
    sealed_us: int | None
    received_us: int | None
    committed_us: int | None
    shown_us: int | None = Field(description="first on a page that somebody had open")
    latency_ms: float | None
    is_late: bool = Field(description="word of it came more than 10 s after it was judged")
    decision: str = Field(description="what its arrival asked for: page, review or nothing")
    decision_reason: str = Field(description="new, late, over, unstated, trial, desk, test or before")
    decided_us: int | None
    stood_s: float | None = Field(description="how long it had stood when word of it came")
    acknowledged_by: str | None
    acknowledged_us: int | None
    acknowledgements: list[Said] = Field(description="all that people said, oldest first; nothing is ever removed")
    warned_by: str | None = Field(description="who made a trial alarm a real warning")
    warned_us: int | None
    marks: list[str]
    is_test: bool = Field(description="somebody sent it to see whether it arrives; it pages nobody")
    inhibit: Inhibit | None = Field(description="of one that is not over: who works on its point")
    notices: list[Told] = Field(description="whom we tried to tell of it, oldest first")

    @field_validator("acknowledgements", mode="before")
    @classmethod
    def _acknowledgements(cls, rows: Any) -> Any:
        return _named(rows, ("action", "by", "at_us", "note", "source"))

    @field_validator("notices", mode="before")
    @classmethod
    def _notices(cls, rows: Any) -> Any:
        names = ("at_us", "target", "kind", "is_possible_repeat", "answered_us", "outcome", "detail")
        return _named(rows, names)


class TrialLimit(_Model):
    """One limit of a point."""

    rule_id: str
    en: str
    zh: str
    direction: str
    value: float
    severity: str


class Trial(_Model):
    """How the limits of one point stand."""

    gateway: str
    point: str
    en: str
    zh: str
    unit: str = Field(description="UCUM")
    state: str = Field(description="trial, confirmed, or unsaid (its gateway states nothing about its limits)")
    since_us: int | None = Field(description="when the centre first knew of it, without a break")
    by: str = Field(description="who confirmed them; empty unless confirmed, as the next three")
    at: str = Field(description="day of the letter")
    document: str = Field(description="name of the letter's file at the gateway")
    digest: str = Field(description="SHA-256 of that file")
    is_attached: bool = Field(description="whether the letter is attached here")
    limits: list[TrialLimit] = Field(description="limits of the value; rates, flat lines and pairs are not listed")


class LetterName(_Model):
    """What a gateway says of a letter."""

    gateway: str
    by: str
    at: str
    document: str


class LetterNamed(_Model):
    """A letter that confirms limits."""

    digest: str = Field(description="SHA-256 of its bytes")
    named: list[LetterName]
    points: int
    name: str
    kind: str
    size: int
    attached_by: str
    attached_us: int | None = Field(description="null while it is not attached here")
    source: str
    note: str

    @field_validator("named", mode="before")
    @classmethod
    def _names(cls, rows: Any) -> Any:
        return _named(rows, ("gateway", "by", "at", "document"))


class Attached(_Model):
    """A letter that is kept now."""

    digest: str = Field(description="SHA-256 of its bytes")


class AlarmPage(_Model):
    """One page of the journal, newest first."""

    alarms: list[Alarm]
    next: str | None = Field(description="``after`` of the next page; null on the last one")


class Standing(_Model):
    """How many alarms of a severity stand."""

    severity: str
    count: int


class AlarmCounts(_Model):
    """How many alarms stand, however many a list shows."""

    standing: list[Standing]
    unacknowledged: int
    to_review: int
    on_trial: int = Field(description="points whose limits nobody has confirmed")
    trial_since_us: int | None = Field(description="since when the longest of them is, as the centre knows it")
    trial_unsaid: int = Field(description="gateways that list points and state nothing of their limits")

    @field_validator("standing", mode="before")
    @classmethod
    def _standing(cls, rows: Any) -> Any:
        return _named(rows, ("severity", "count"))


class Statement(_Model):
    """What a gateway stated last of its alarms, beside what is held here."""

    gateway: str
    stated_us: int
    stated: int
    is_surely_whole: bool
    standing: int
    unstated: list[str]
    stated_over: list[str]


class Range(_Model):
    """Batches from ``first`` to ``last``, both included."""

    first: int
    last: int


class Lost(Range):
    """Batches that the gateway has signed as lost, and why."""

    cause: str
    readings: int


class Refused(_Model):
    """A batch in quarantine: its signature was right and its content was not."""

    seq: int
    code: str


class Chain(_Model):
    """The proof for one lane of one epoch."""

    gateway: str
    epoch: str
    lane: str
    verified_to: int
    newest: int
    readings: int
    missing: list[Range]
    lost: list[Lost]
    refused: list[Refused]
    waiting: int = Field(description="here, and waiting for the catalogue that explains them")
    forks: list[int] = Field(description="seqs of which two different batches are here: a key was copied")
    breaks: list[int] = Field(description="seqs that do not continue the batch before them")
    rolled_back: int = Field(description="batches of the run before that are here and that this run did not know of")
    last_receipt_us: int | None
    last_receipt_serial: int | None
    first_sample_us: int | None
    last_sample_us: int | None

    @field_validator("missing", mode="before")
    @classmethod
    def _missing(cls, rows: Any) -> Any:
        return _named(rows, ("first", "last"))

    @field_validator("lost", mode="before")
    @classmethod
    def _lost(cls, rows: Any) -> Any:
        return _named(rows, ("first", "last", "cause", "readings"))

    @field_validator("refused", mode="before")
    @classmethod
    def _refused(cls, rows: Any) -> Any:
        return _named(rows, ("seq", "code"))


class TrendColumns(_Model):
    """One point over time, as columns of equal length; a gap is a null."""

    gateway: str
    point: str
    unit: str
    source: str = Field(description="raw (decoded from the signed batches) or minute (roll-ups)")
    times_us: list[int]
    values: list[float | None]
    low: list[float | None] = Field(description="minute only, else empty")
    high: list[float | None] = Field(description="minute only, else empty")
    codes: list[int]


class Ticks(_Model):
    """Ticks of the grid that had one outcome by one cause."""

    outcome: str = Field(
        description="good, uncertain, late, bad, missing, thinned, lost, not_arrived, quarantined, never_sent, "
        "pruned or unplaced"
    )
    cause: str = Field(description="reason of the quality code, cause of the loss, or what the chain tells")
    whose: str = Field(description="device, bus, gateway, link, collector, person, or empty")
    ticks: int


class InhibitedTicks(_Model):
    """Readings that keep their outcome and carry the mark of an inhibit."""

    outcome: str
    ticks: int


class Completeness(_Model):
    """What became of the readings that were expected of one point in one hour or day."""

    gateway: str
    point: str
    begin_us: int | None = Field(description="null where the clock of the boot is not known yet")
    boot: str = Field(description="hex id of a boot whose clock is not known; empty else")
    expected: int = Field(description="ticks of the grid: the sum of the counts")
    counts: list[Ticks]
    inhibited: list[InhibitedTicks] = Field(
        description="which of the counted readings were taken while a person worked on the point"
    )

    @field_validator("inhibited", mode="before")
    @classmethod
    def _inhibited(cls, rows: Any) -> Any:
        return _named(rows, ("outcome", "ticks"))

    @field_validator("counts", mode="before")
    @classmethod
    def _counts(cls, rows: Any) -> Any:
        return _named(rows, ("outcome", "cause", "whose", "ticks"))


class Quarantined(_Model):
    """Something that arrived and was not accepted."""

    id: int
    arrived_us: int
    topic: str
    code: str
    reason: str
    size: int
    times: int


class Waveform(_Model):
    """Samples that a gateway kept, mostly around an alarm."""

    gateway: str
    id: str
    device: str
    cause: str
    alarm: str | None = Field(description="id of the alarm that it is kept for")
    begin_us: int
    span_us: int
    ticks: int
    channels: int
    is_kept: bool = Field(description="whether its signed batch is still here")


class WaveformChannel(_Model):
    """The samples of one channel of a waveform."""

    point: str
    quantity: str
    unit: str
    en: str
    zh: str
    values: list[float | None]
    codes: list[int]


class WaveformSamples(_Model):
    """A waveform, sample by sample, as it was signed; steps need not be equal."""

    waveform: Waveform
    rate_hz: float | None = Field(description="from the middle one of its steps")
    times_us: list[int]
    channels: list[WaveformChannel]


class Acknowledgement(BaseModel):
    """Who has seen an alarm."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    by: str = Field(min_length=1, max_length=64, description="name of the person")
    note: str = Field(default="", max_length=500)

    @field_validator("by", "note")
    @classmethod
    def _readable(cls, text: str) -> str:
        if not is_readable(text):
            raise ValueError("has characters that cannot be seen or that turn the text around")
        return text


class Problem(BaseModel):
    """What was wrong, in a sentence."""

    detail: str
