"""What the pages, the API and the commands are told: plain records, and the port they come through.

Times are UTC microseconds by the best anchors known so far.  A number never travels without
its quality and its age.  Liveness is computed when asked, from declared intervals, never
stored as a flag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from collector.inhibit_views import InhibitView
from collector.visit_views import ErrandView, GatewayName, LastVisit, UpkeepView, VisitFilter, VisitPage


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
    #: the newest bump test or calibration
    visit: LastVisit | None = None
    #: (job, ``due`` or ``overdue``, day), as the gateway states it
    due: Sequence[tuple[str, str, str]] = ()
    #: a person works on it, as its gateway signed last: its samples raise no alarm; who, why and until when
    is_inhibited: bool = False
    inhibit: InhibitView | None = None


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
    #: over here by a newer event, and named as standing in what the gateway stated after it
    is_stated_over: bool
    #: ``active``, ``source_silent`` or ``cleared`` (``collector.measurement``)
    measurement: str
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
    #: first on a page that somebody had open
    shown_us: int | None
    #: committed minus sampled, milliseconds
    latency_ms: float | None
    #: word of it came more than 10 s after it was judged
    is_late: bool
    #: what its arrival asked for: ``page``, ``review`` or ``nothing``; and why (``collector.measurement``)
    decision: str
    decision_reason: str
    #: when word of it came that was decided upon
    decided_us: int | None
    #: how long it had stood by then, s
    stood_s: float | None
    #: None while nobody has, or after it was taken back
    acknowledged_by: str | None
    acknowledged_us: int | None
    #: all that people said, oldest first: (``acknowledge``, ``unacknowledge`` or ``warn``, by, at UTC us, note, from
    #: where)
    acknowledgements: Sequence[tuple[str, str, int, str, str]]
    #: who made a trial alarm a real warning, and when (UTC us); None where nobody has
    warned_by: str | None = None
    warned_us: int | None = None
    marks: Sequence[str]
    #: somebody sent it to see whether it arrives
    is_test: bool = False
    #: not over, and somebody works on its point: its state does not change meanwhile
    inhibit: InhibitView | None = None
    #: whom we tried to tell, oldest first: (at UTC us, target, kind, 1 for a possible repeat, answered UTC us or None,
    #: ``sent``, ``failed``, ``given_up`` or None where no answer is known, in words)
    notices: Sequence[tuple[int, str, str, int, int | None, str | None, str | None]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmCounts:
    """How many alarms stand, however many a page shows."""

    #: (severity, how many)
    standing: Sequence[tuple[str, int]]
    #: of these, not acknowledged
    unacknowledged: int
    #: over before word of them came, and not acknowledged
    to_review: int
    #: points whose limits nobody has confirmed
    on_trial: int = 0
    #: since when the longest of them is, as the centre knows it (UTC us); None without any
    trial_since_us: int | None = None
    #: gateways that list points and state nothing of their limits: those of an older agent may be on trial too
    trial_unsaid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmFilter:
    """Which alarms of the journal; None for all."""

    gateway: str | None = None
    #: key, or the beginning of one that ends in ``/`` (a device)
    point: str | None = None
    severity: str | None = None
    #: ``active``, ``source_silent``, ``cleared``, or ``standing`` for the first two
    state: str | None = None
    #: ``only`` test alarms, or all ``without`` them
    test: str | None = None
    #: raised in [start_us, end_us), UTC us
    start_us: int | None = None
    end_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmPage:
    """One page of the journal, newest first."""

    alarms: Sequence[AlarmView]
    #: where the next page begins; None where this is the last one
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLimit:
    """One limit of a point, as its gateway's catalogue lists it."""

    rule_id: str
    en: str
    zh: str
    #: ``high`` or ``low``
    direction: str
    value: float
    severity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialView:
    """How the limits of one point stand."""

    gateway: str
    point: str
    en: str
    zh: str
    #: UCUM; empty where the catalogue does not list the point
    unit: str
    #: ``trial``, ``confirmed``, or ``unsaid``: it has limits, and its gateway states nothing about them
    state: str
    #: when the centre first knew of it, without a break (UTC us); None where it is unsaid
    since_us: int | None
    #: who confirmed them, the day of the letter, its name at the gateway and its SHA-256 (hex); empty unless confirmed
    by: str
    at: str
    document: str
    digest: str
    #: whether that letter is attached here
    is_attached: bool
    #: rules that look at more than the value (rate, flat line, pairs) have limits that no catalogue lists
    limits: Sequence[TrialLimit]


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterView:
    """A letter that confirms limits: who names it, and what is attached here."""

    #: SHA-256, hex
    digest: str
    #: (gateway, by, day, name of its file there)
    named: Sequence[tuple[str, str, str, str]]
    #: that it confirms
    points: int
    #: name under which it was attached; empty where it is not, as the next ones
    name: str
    #: media type
    kind: str
    size: int
    attached_by: str
    #: UTC us; None where it is not attached
    attached_us: int | None
    source: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementView:
    """What a gateway stated last of its alarms, beside what is held here."""

    gateway: str
    #: UTC us of its arrival
    stated_us: int
    #: alarms that it names
    stated: int
    #: whether it cannot have left any out for want of room
    is_surely_whole: bool
    #: alarms of this gateway that are not over here
    standing: int
    #: hex ids of alarms that stand here and that it does not name though it would
    unstated: Sequence[str]
    #: hex ids of alarms that are over here by a newer event, and that it names
    stated_over: Sequence[str]


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
    #: here, and waiting for the catalogue that explains them
    waiting: int
    #: seqs of which two different batches are here: somebody else signs with the same key
    forks: Sequence[int]
    #: seqs that do not continue the batch before them
    breaks: Sequence[int]
    #: how many batches of the run before this one are here that this run's gateway did not know of
    rolled_back: int
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
class NoticeView:
    """One attempt to tell somebody of alarms, or a test."""

    id: int
    #: rule and number of the address, such as ``duty/1``
    target: str
    #: ``first``, ``graver``, ``repeat``, ``cleared``, ``test`` or ``given_up``
    kind: str
    at_us: int
    #: it may have arrived before
    is_possible_repeat: bool
    #: who asked for a test
    by: str
    #: how many it is about
    alarms: int
    #: None while no answer is known
    answered_us: int | None
    #: ``sent`` (the other side took it), ``failed``, ``given_up``; None while no answer is known
    outcome: str | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyRuleView:
    """A rule as it runs; an address is told by its scheme only."""

    name: str
    #: (name in the record, scheme)
    targets: Sequence[tuple[str, str]]
    severities: Sequence[str]
    gateways: Sequence[str]
    points: Sequence[str]
    lang: str
    repeat_s: int
    quiet_s: int
    #: whether it is told, too, that an alarm is over
    all_clear: bool = True


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
    #: (outcome, ticks): which of the counted readings were taken while a person worked on the point
    inhibited: Sequence[tuple[str, int]] = ()


class Queries(Protocol):
    """Everything a page, the API or a command may ask; safe to call from any thread."""

    def gateways(self) -> list[GatewayView]: ...

    def gateway_names(self) -> list[GatewayName]:
        """Returns every gateway in the order of ``gateways``, and nothing that has to be computed."""
        ...

    def points(self, gateway: str | None = None) -> list[PointView]: ...

    def point(self, gateway: str, key: str) -> PointView | None: ...

    def alarms(self, *, standing_only: bool = True, limit: int = 200) -> list[AlarmView]: ...

    def alarm(self, id: str) -> AlarmView | None: ...

    def alarms_by_id(self, ids: Sequence[str]) -> list[AlarmView]:
        """Returns those that are known, in the order given."""
        ...

    def reviews(self, limit: int = 200) -> list[AlarmView]:
        """Returns alarms that were over before word of them came and that nobody has acknowledged."""
        ...

    def alarm_counts(self) -> AlarmCounts: ...

    def journal(self, filter: AlarmFilter, *, limit: int = 100, after: str | None = None) -> AlarmPage:
        """Returns alarms, newest first.

        Args:
            filter: which ones.
            limit: at most so many.
            after: where the page before ended (its ``next``).

        Raises:
            ValueError: ``after`` is no such place, or the filter has a word that is not one of its words.
        """
        ...

    def trial(self, gateway: str | None = None, state: str | None = None) -> list[TrialView]:
        """Returns every point that has limits, with how they stand: ``trial``, ``confirmed`` or ``unsaid``."""
        ...

    def letters(self) -> list[LetterView]:
        """Returns the letters that gateways name or that are attached here."""
        ...

    def statements(self, gateway: str | None = None) -> list[StatementView]: ...

    def chains(self, gateway: str | None = None) -> list[ChainView]: ...

    def trend(self, gateway: str, key: str, start_us: int, end_us: int) -> Trend | None: ...

    def quarantine(self, limit: int = 100) -> list[QuarantineView]: ...

    def waveforms(
        self, gateway: str | None = None, alarm: str | None = None, limit: int = 100
    ) -> list[WaveformView]: ...

    def waveform(self, gateway: str, id: str) -> WaveformSamples | None: ...

    def visits(self, filter: VisitFilter, *, limit: int = 100, after: str | None = None) -> VisitPage:
        """Returns visits, newest first; as :meth:`journal`."""
        ...

    def upkeep(self, gateway: str | None = None) -> list[UpkeepView]: ...

    def errands(self, gateway: str | None = None) -> list[ErrandView]:
        """Returns where somebody has to go and why, street by street."""
        ...

    def completeness(
        self, start_us: int, end_us: int, *, gateway: str | None = None, key: str | None = None, by_day: bool = False
    ) -> list[CompletenessView]: ...

    def counters(self) -> dict[str, float]: ...
