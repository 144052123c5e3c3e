"""The sealer: when what was sampled and judged is sealed, and what goes into one batch.

Alarm events are sealed at once, those of one tick together; readings every interval of the pace, with the
statement of all standing alarms once a minute and health as often as the pace says.  Where the pace changes,
what waits is sealed at once, with health, which tells the new pace.  It does not know what becomes of a seal:
the keeper does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from contracts.batch import AlarmEvent, HealthRecord, Note
from contracts.errors import ContractError
from contracts.upkeep import Upkeep
from contracts.visit import Visit
from contracts.waveform import Waveform
from edge_agent.clock import monotonic_us
from edge_agent.collect import CAP, Collector
from edge_agent.confirmed_limits import ConfirmedLimits
from edge_agent.judge import Judge
from edge_agent.keeper import Content, Keeper
from edge_agent.logged_once import LoggedOnce
from edge_agent.plan import Plan

_LOG = logging.getLogger(__name__)
#: health travels this often on a LAN, and the statement of active alarms on any link (seconds)
HEALTH_EVERY_S = 60.0
STATEMENT_EVERY_S = 60.0
#: seals come a little early or late; what is due within this is due (seconds)
_DUE_S = 1.0
#: silent points are looked for this often (seconds), whatever the seal interval is
_SILENCE_EVERY_S = 2.0
#: events of one tick share a seal; no more than 50 alarm seals a second over any longer time
_ALARM_SEAL_GAP_S = 0.02
#: seals that may follow each other without that gap: devices polled in the same tick answer one by one
_ALARM_SEAL_BURST = 5
#: readings in one batch; at eight bytes each it stays under the envelope's limit
_BATCH_LIMIT = 20_000
#: notes that wait while there is no keeper, at most
_MOST_NOTES = 1000
#: and waveforms; the newest stay
_MOST_WAVEFORMS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SealPace:
    """How often ordinary readings and health are sealed."""

    interval_s: float
    health_every_s: float = HEALTH_EVERY_S


class Sealer:
    """Collects events, notes and rows until their seal is due."""

    def __init__(
        self,
        *,
        judge: Judge,
        columns: Collector,
        plan: Callable[[], Plan],
        catalogue: Callable[[], tuple[bytes, bytes]],
        health: Callable[[], tuple[HealthRecord, ...]],
        pace: Callable[[], SealPace] | None = None,
    ) -> None:
        """Takes what it needs; seals nothing before it has a keeper.

        Args:
            pace: how often to seal now; without one the plan's seal interval, for ever.
        """
        self._judge = judge
        self._columns = columns
        self._plan = plan
        self._catalogue = catalogue
        self._health = health
        self._pace = pace or (lambda: SealPace(interval_s=self._plan().uplink.seal_interval_s))
        #: takes events in the step in which they were judged, before anything is sealed; it never raises
        self.on_events: Callable[[Sequence[AlarmEvent]], None] | None = None
        #: set when the store has been asked; events wait until then
        self.keeper: Keeper | None = None
        self.readings_lost = 0
        self._said = LoggedOnce(_LOG)
        #: when an alarm was raised or changed last (monotonic us); None: not in this run
        self.events_us: int | None = None
        self._kept_catalogue = b""
        self._events: list[AlarmEvent] = []
        self._notes: list[Note] = []
        self._waveforms: list[Waveform] = []
        self._visits: list[Visit] = []
        self._confirmed = ConfirmedLimits()
        #: what is to be stated of tests and calibrations in a batch sealed at this moment (monotonic us)
        self.upkeep_due: Callable[[int], Sequence[Upkeep]] = lambda now_us: ()
        self._is_alarm_seal_due = False
        #: when the pace of one seal per gap would have reached the last seal
        self._alarm_pace_s = 0.0
        self._health_due_s = 0.0
        self._statement_due_s = 0.0

    # -- alarms ----------------------------------------------------------------------

    def take_events(self, events: Sequence[AlarmEvent]) -> None:
        """Takes alarm events and has them sealed at once."""
        if self.on_events is not None:
            self.on_events(events)
        self._events.extend(events)
        self.events_us = monotonic_us()
        if self._is_alarm_seal_due or self.keeper is None:
            return
        self._is_alarm_seal_due = True
        loop = asyncio.get_running_loop()
        wait = self._alarm_pace_s - _ALARM_SEAL_BURST * _ALARM_SEAL_GAP_S - loop.time()
        if wait <= 0:
            loop.call_soon(self.seal_alarms)
        else:
            loop.call_later(wait, self.seal_alarms)

    def seal_alarms(self) -> None:
        """Seals the events that wait."""
        self._is_alarm_seal_due = False
        if not self._events or self.keeper is None:
            return
        events, self._events = self._events, []
        self._alarm_pace_s = max(self._alarm_pace_s, asyncio.get_running_loop().time()) + _ALARM_SEAL_GAP_S
        self.keeper.seal_alarms(events)

    # -- readings --------------------------------------------------------------------

    async def run(self) -> None:
        """Seals until it is cancelled."""
        loop = asyncio.get_running_loop()
        self.seal_alarms()
        pace = self._pace()
        next_s = loop.time() + seal_interval_s(self._plan(), pace)
        while True:
            # Silence is looked for more often than a metered link is sealed for.
            await asyncio.sleep(max(0.0, min(next_s - loop.time(), _SILENCE_EVERY_S)))
            try:
                events = self._judge.check_silence(monotonic_us())
                if events:
                    self.take_events(events)
                before, pace = pace, self._pace()
                if pace != before:
                    self._health_due_s, next_s = 0.0, loop.time()
                if loop.time() >= next_s:
                    next_s = max(next_s + seal_interval_s(self._plan(), pace), loop.time())
                    self.seal_data()
            except Exception as error:
                # The outermost loop of sealing: a defect in one step must not end it unseen.
                self._said.fault("step", error, "a step of sealing failed; the next one comes")

    def seal_now(self) -> None:
        """Seals what waits, out of turn; a defect is told and ends nothing."""
        try:
            self.seal_data()
        except Exception as error:
            self._said.fault("out of turn", error, "a seal out of turn failed; the next one comes")

    def seal_data(self) -> None:
        """Seals the rows that wait, and what else is due."""
        if self.keeper is None:
            return
        # A data batch carries the alarm state too: no event may be left behind by the state it made.
        self.seal_alarms()
        self.keep_catalogue()
        loop = asyncio.get_running_loop()
        health: tuple[HealthRecord, ...] = ()
        statement = None
        if loop.time() + _DUE_S >= self._health_due_s:
            self._health_due_s = loop.time() + self._pace().health_every_s
            health = self._health()
        if health or loop.time() + _DUE_S >= self._statement_due_s:
            self._statement_due_s = loop.time() + STATEMENT_EVERY_S
            statement = self._judge.statement(monotonic_us())
        inhibits = self._judge.inhibits.due(monotonic_us())
        confirmed = self._confirmed.due(self._plan().points, monotonic_us())
        upkeep = self.upkeep_due(monotonic_us())
        is_owed = (
            bool(inhibits) or bool(confirmed) or bool(upkeep) or (statement is not None and bool(statement.events))
        )
        while self._columns.readings or health or is_owed or self._notes or self._waveforms or self._visits:
            sealed_us = monotonic_us()
            part = self._columns.take(sealed_us, limit=_BATCH_LIMIT)
            notes, self._notes = tuple(self._notes), []
            visits, self._visits = tuple(self._visits), []
            # One for each batch: a waveform alone may fill a good part of it.
            waveforms, self._waveforms = tuple(self._waveforms[:1]), self._waveforms[1:]
            self._seal(
                Content(
                    sealed_us=sealed_us,
                    catalogue=self._catalogue()[0],
                    blocks=part.blocks,
                    readings=part.readings,
                    first_us=part.first_us,
                    last_us=part.last_us,
                    statement=statement,
                    health=health,
                    notes=notes,
                    waveforms=waveforms,
                    inhibits=inhibits,
                    visits=visits,
                    upkeep=upkeep,
                    confirmed=confirmed,
                )
            )
            health, statement, inhibits, upkeep, confirmed, is_owed = (), None, (), (), (), False

    def _seal(self, content: Content) -> None:
        """Seals it, in parts where it is too large for one batch."""
        assert self.keeper is not None
        try:
            self.keeper.seal_data(content)
            return
        except ContractError as error:
            parts = parted(content)
            if not parts:
                self.readings_lost += content.readings
                _LOG.error("%d readings could not be sealed: %s", content.readings, error)
        for part in parts:
            self._seal(part)

    def keep_catalogue(self) -> None:
        """Makes the catalogue durable before the first batch that uses it."""
        hash, envelope = self._catalogue()
        if self.keeper is not None and self._kept_catalogue != hash:
            self.keeper.keep_catalogue(hash, envelope)
            self._kept_catalogue = hash

    def store_is_new(self, sentence: str) -> None:
        """A new file took the place of the spool: it is told, and catalogue and alarm state are kept again."""
        self._kept_catalogue = b""
        self._judge.mark_changed()
        self.note("spool", sentence)

    @property
    def rows_lost(self) -> int:
        """Readings that no seal took before there was no more room for them."""
        return self._columns.lost_readings

    def note(self, kind: str, text: str) -> None:
        """Puts a line into the next data batch."""
        self._notes.append(Note(mono_us=monotonic_us(), kind=kind, text=text.encode()[:1000].decode(errors="ignore")))
        del self._notes[:-_MOST_NOTES]

    def take_visit(self, visit: Visit) -> None:
        """Puts the record of a visit into the next data batch."""
        self._visits.append(visit)

    def take_waveforms(self, waveforms: Sequence[Waveform]) -> None:
        """Puts waveforms into the next data batches."""
        self._waveforms.extend(waveforms)
        for waveform in self._waveforms[:-_MOST_WAVEFORMS]:
            self.note("waveform", f"one of {waveform.device} could not be kept: too many waited for a seal")
        del self._waveforms[:-_MOST_WAVEFORMS]


def parted(content: Content) -> list[Content]:
    """Returns smaller contents with the same in them, or none where it cannot be parted further.

    Of a statement the gravest half stays: the newest statement replaces the one before, so two would not add up.
    """
    bare = Content(sealed_us=content.sealed_us)
    parts = []
    if content.blocks:
        parts.append(
            replace(
                content,
                statement=None,
                health=(),
                notes=(),
                waveforms=(),
                inhibits=(),
                visits=(),
                upkeep=(),
                confirmed=(),
            )
        )
    if content.statement is not None:
        parts.append(replace(bare, statement=content.statement))
    parts += [replace(bare, health=content.health)] if content.health else []
    parts += [replace(bare, notes=content.notes)] if content.notes else []
    parts += [replace(bare, inhibits=content.inhibits)] if content.inhibits else []
    parts += [replace(bare, visits=(visit,)) for visit in content.visits]
    parts += [replace(bare, upkeep=content.upkeep)] if content.upkeep else []
    parts += [replace(bare, confirmed=content.confirmed)] if content.confirmed else []
    parts += [replace(bare, waveforms=(waveform,)) for waveform in content.waveforms]
    if len(parts) > 1:
        return parts
    if content.statement is not None and len(content.statement.events) > 1:
        kept = content.statement.events[: len(content.statement.events) // 2]
        return [replace(content, statement=replace(content.statement, events=kept))]
    if len(content.health) > 1:
        half = len(content.health) // 2
        return [replace(content, health=content.health[:half]), replace(content, health=content.health[half:])]
    if len(content.inhibits) > 1:
        half = len(content.inhibits) // 2
        return [replace(content, inhibits=content.inhibits[:half]), replace(content, inhibits=content.inhibits[half:])]
    if len(content.upkeep) > 1:
        half = len(content.upkeep) // 2
        return [replace(content, upkeep=content.upkeep[:half]), replace(content, upkeep=content.upkeep[half:])]
    if len(content.confirmed) > 1:
        half = len(content.confirmed) // 2
        head, tail = content.confirmed[:half], content.confirmed[half:]
        return [replace(content, confirmed=head), replace(content, confirmed=tail)]
    if len(content.notes) > 1:
        half = len(content.notes) // 2
        return [replace(content, notes=content.notes[:half]), replace(content, notes=content.notes[half:])]
    return []


def seal_interval_s(plan: Plan, pace: SealPace) -> float:
    """Returns the interval of the pace, or less where a fast block would fill its memory before it."""
    fastest_s = min((block.interval_ms for block in plan.blocks), default=1000) / 1000
    return min(pace.interval_s, max(0.2, fastest_s * CAP / 2))
