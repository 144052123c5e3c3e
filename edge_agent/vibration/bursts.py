"""The bursts of a running plan: when each is taken, what becomes of its rows, and what an alarm keeps.

    wait -> capture (reads between ordinary polls) -> compute (in a thread) -> row of features
                                                   -> waveform, when an alarm of the device was raised

A burst's middle lies on the grid of its block, so its row has the time of its tick.  Nothing of this
runs without a configured burst, and numpy is imported in the thread, once, before the first one.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from contracts.batch import AlarmEvent, HealthRecord
from contracts.quality import MISSED_TICK, NOT_COMPUTABLE
from contracts.waveform import WaveChannel, Waveform
from drivers.plan import BlockDecoder
from drivers.port import ReadRequest, ReadResult
from edge_agent.bus.block import decoder
from edge_agent.bus.request_time import read_bytes, wire_s
from edge_agent.plan import Plan
from edge_agent.vibration.burst import Tick
from edge_agent.vibration.capture import MOST_UNANSWERED, capture
from edge_agent.vibration.records import BurstPlan
from edge_agent.vibration.waves import waveforms

if TYPE_CHECKING:
    from edge_agent.vibration.features import Computed

_LOG = logging.getLogger(__name__)
#: a device that is read so fast answers within this, or it is a gap (seconds)
TIMEOUT_S = 0.2
#: what a read may take besides: a port that opens, this machine (seconds)
_BESIDES_S = 0.15
#: a burst that would begin later than this much of its length counts as missed
_LATE_SHARE = 0.25
#: after a burst for an alarm the next one for an alarm waits so long (seconds)
_ALARM_REST_S = 60.0
#: unanswered reads that end a burst when the one before ended so
_STILL_SILENT = 1

#: block number, monotonic us, values, codes (None: all good), monotonic us when it was known
Take = Callable[[int, int, Sequence[float | None], Sequence[int] | None, int], None]
#: port id, request and the seconds it takes at most in, result out; raises nothing that a bus has every day
Read = Callable[[str, ReadRequest, float], Awaitable[ReadResult]]
Compute = Callable[[BurstPlan, Plan, Sequence[Tick]], Awaitable["Computed"]]


@dataclass(slots=True, kw_only=True)
class _Own:
    """What is kept of one device's bursts."""

    plan: BurstPlan
    #: number of its block of features
    block: int
    device: str
    port: str
    request: ReadRequest
    #: that it takes at most
    seconds: float
    decode: BlockDecoder
    channels: tuple[WaveChannel, ...]
    #: keys of all points of the device
    keys: frozenset[str]
    #: an alarm was raised and its burst is not taken yet
    alarm: asyncio.Event
    task: asyncio.Task[None] | None = None
    #: rows of the newest burst, and whether they are sealed
    rows: list[Tick] = field(default_factory=list)
    is_kept: bool = True
    #: of the newest alarm
    event: bytes | None = None
    rest_until_us: int = 0
    is_silent: bool = False
    taken: int = 0
    kept: int = 0
    facts: tuple[tuple[str, float | int | str | None], ...] = ()


class Bursts:
    """One task for each device with bursts."""

    def __init__(
        self,
        *,
        gateway: str,
        boot_id: bytes,
        read: Read,
        take: Take,
        keep: Callable[[Sequence[Waveform]], None],
        clock: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        compute: Compute | None = None,
    ) -> None:
        """Takes what it needs and starts nothing.

        Args:
            read: makes one read between two ordinary requests of a port.
            take: gets one row for each tick of a block of features.
            keep: gets the waveforms around an alarm.
            clock: monotonic us.
            compute: computes features; default: in a thread.
        """
        self._gateway = gateway
        self._boot = boot_id
        self._read = read
        self._take = take
        self._keep = keep
        self._clock = clock
        self._sleep = sleep
        self._compute = compute or compute_in_thread
        self._plan: Plan | None = None
        self._own: list[_Own] = []

    def __len__(self) -> int:
        return len(self._own)

    def start(self, plan: Plan) -> None:
        """Starts the bursts of a plan; nothing of another plan may run."""
        self._plan = plan
        self._own = [self._make(plan, number, burst) for number, burst in enumerate(plan.bursts)]
        for own in self._own:
            own.task = asyncio.get_running_loop().create_task(self._run(own))

    async def stop(self) -> None:
        """Stops all; a burst under way gives no row.  Safe to call twice."""
        tasks = [own.task for own in self._own if own.task is not None]
        self._own = []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def take_events(self, events: Sequence[AlarmEvent]) -> None:
        """Keeps the waveform around every alarm that was raised on a device with bursts."""
        for event in events:
            if event.state != "active" or event.id != event.raised_by:
                continue
            for own in self._own:
                if event.point in own.keys and own.plan.keeps_waveform:
                    own.event = event.raised_by
                    self._keep_rows(own, "before-alarm")
                    if self._clock() >= own.rest_until_us:
                        own.rest_until_us = self._clock() + round(_ALARM_REST_S * 1_000_000)
                        own.alarm.set()

    def health(self) -> tuple[HealthRecord, ...]:
        """Returns rate, jitter and gaps of each device's newest burst, or why it gave no features."""
        now = self._clock()
        return tuple(
            HealthRecord(
                subject=f"burst/{own.device}",
                mono_us=now,
                facts=(("bursts", own.taken), ("waveforms", own.kept), *own.facts),
            )
            for own in self._own
        )

    def _make(self, plan: Plan, number: int, burst: BurstPlan) -> _Own:
        device = plan.devices[burst.device]
        port = plan.ports[device.port]
        points = [plan.points[channel] for channel in burst.channels]
        return _Own(
            plan=burst,
            block=len(plan.blocks) + number,
            device=device.id,
            port=port.id,
            request=ReadRequest(
                unit_id=device.unit_id,
                table=burst.read.table,
                address=burst.read.address,
                count=burst.read.count,
                timeout_s=TIMEOUT_S,
                max_reply_s=device.max_reply_s,
            ),
            seconds=TIMEOUT_S + _BESIDES_S + port.network_delay_s + wire_s(port, read_bytes(burst.read)),
            decode=decoder(burst.read),
            channels=tuple(
                WaveChannel(
                    point=point.key,
                    quantity=point.quantity,
                    unit=point.unit,
                    kind=point.kind,
                    resolution=point.resolution,
                    en=point.en,
                    zh=point.zh,
                )
                for point in points
            ),
            keys=frozenset(point.key for point in plan.points if point.device == burst.device),
            alarm=asyncio.Event(),
        )

    # -- one device ------------------------------------------------------------------

    async def _run(self, own: _Own) -> None:
        block, length_us = own.plan.block, own.plan.length_ms * 1000
        half_us = length_us // 2
        tick_us = self._next_tick(own, self._clock() + half_us)
        while True:
            try:
                if await self._wait(own, tick_us - half_us):
                    own.alarm.clear()
                    await self._capture(own, self._clock(), "after-alarm")
                    continue
                now = self._clock()
                while now > tick_us - half_us + round(_LATE_SHARE * length_us):
                    self._take_nothing(own, tick_us, MISSED_TICK)
                    tick_us += block.interval_ms * 1000
                if now < tick_us - half_us:
                    continue
                await self._capture(own, now, "")
                await self._take_features(own, tick_us)
                tick_us += block.interval_ms * 1000
            except Exception:
                # The outermost loop of one device's bursts: a defect must not end it unseen.
                _LOG.exception("device %s: a burst failed", own.device)
                self._take_nothing(own, tick_us, NOT_COMPUTABLE)
                tick_us = self._next_tick(own, max(tick_us, self._clock() + half_us))

    def _next_tick(self, own: _Own, after_us: int) -> int:
        """Returns the first tick of its block after a time, monotonic us."""
        interval_us, phase_us = own.plan.block.interval_ms * 1000, own.plan.block.phase_ms * 1000
        return after_us + 1 + (phase_us - after_us - 1) % interval_us

    async def _wait(self, own: _Own, until_us: int) -> bool:
        """Returns whether an alarm came first."""
        wait_s = (until_us - self._clock()) / 1_000_000
        if own.alarm.is_set() or wait_s <= 0:
            return own.alarm.is_set()
        sleeper = asyncio.ensure_future(self._sleep(wait_s))
        alarm = asyncio.ensure_future(own.alarm.wait())
        try:
            await asyncio.wait((sleeper, alarm), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            alarm.cancel()
        return own.alarm.is_set()

    async def _capture(self, own: _Own, begin_us: int, cause: str) -> None:
        rows = await capture(
            own.request,
            own.decode,
            width=len(own.channels),
            step_us=own.plan.step_us,
            begin_us=begin_us,
            length_us=own.plan.length_ms * 1000,
            ask=lambda request: self._read(own.port, request, own.seconds),
            clock=self._clock,
            sleep=self._sleep,
            most_unanswered=_STILL_SILENT if own.is_silent else MOST_UNANSWERED,
        )
        own.taken += 1
        own.is_silent = bool(rows) and rows[-1][1].count(None) == len(own.channels)
        own.rows, own.is_kept = rows, False
        if cause or own.alarm.is_set():
            own.alarm.clear()
            self._keep_rows(own, cause or "during-alarm")

    def _keep_rows(self, own: _Own, cause: str) -> None:
        if own.is_kept or not any(value is not None for row in own.rows for value in row[1]):
            return
        own.is_kept = True
        found = waveforms(
            own.rows,
            own.channels,
            gateway=self._gateway,
            boot_id=self._boot,
            device=own.device,
            cause=cause,
            event=own.event,
        )
        own.kept += len(found)
        self._keep(found)

    async def _take_features(self, own: _Own, tick_us: int) -> None:
        assert self._plan is not None
        computed = await self._compute(own.plan, self._plan, own.rows)
        own.facts = computed.facts
        if computed.refused is not None:
            _LOG.debug("device %s: a burst gave no features: %s", own.device, computed.refused.detail)
        self._take(own.block, tick_us, computed.row, computed.codes, self._clock())

    def _take_nothing(self, own: _Own, tick_us: int, code: int) -> None:
        width = len(own.plan.features)
        self._take(own.block, tick_us, (None,) * width, (code,) * width, self._clock())


async def compute_in_thread(burst: BurstPlan, plan: Plan, rows: Sequence[Tick]) -> Computed:
    """Computes features beside the event loop; imports numpy when it is called first."""
    return await asyncio.get_running_loop().run_in_executor(None, _compute, burst, plan, rows)


def _compute(burst: BurstPlan, plan: Plan, rows: Sequence[Tick]) -> Any:
    # numpy's linear algebra would start a thread for each core, with memory for each; nothing here uses it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from edge_agent.vibration.features import Scale, compute

    points = [plan.points[number] for number in burst.channels]
    return compute(burst, [Scale(resolution=point.resolution, unit=point.unit) for point in points], rows)
