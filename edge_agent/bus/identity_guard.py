"""Stands between a port's rows and whoever takes them: no row of another unit counts as this device's.

What a number means decides ``identity``; here is when it is asked.  The read takes a slot of the schedule
like a technician's job.  Rows that come while a unit is being checked wait for the answer, in order and
for ``HOLD_S`` at most; where there is none they are passed on, and the unit is asked again later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from contracts import quality
from contracts.batch import HealthRecord
from drivers.errors import DecodeError
from drivers.plan import read_identity
from drivers.port import BusPort, ReadRequest, ReadResult, monotonic_us
from edge_agent.bus.device_state import FAILURES, Event, event_of
from edge_agent.bus.identity import ASK_AGAIN_US, Identity, Told, codes_of_another, compare, step
from edge_agent.errors import ControlError
from edge_agent.plan import BlockPlan
from edge_agent.plan_ports import DevicePlan

_LOG = logging.getLogger(__name__)
Row = Sequence[int | float | None]
Codes = Sequence[int] | None
Take = Callable[[int, int, Row, Codes, int], None]
_Job = Callable[[BusPort], Awaitable[ReadResult]]
#: runs a job on the port within so many seconds
Borrow = Callable[[_Job, float], Awaitable[ReadResult]]

#: rows wait this long at most for the number of their unit: an alarm must not wait longer (seconds)
HOLD_S = 2.0
#: the number is read with no longer time-out than this, so that a slot is soon found for it (seconds)
_TIMEOUT_S = 0.5
#: rows of one device that wait at most; the oldest is passed on for one more
_MOST_WAITING = 64
#: a unit that gave no answer is asked again so often (us)
_AGAIN_US = 5_000_000
#: beside the unit's own time: the frames, and the line's silence (seconds)
_BESIDES_S = 0.5


class IdentityGuard:
    """The devices of one port whose serial numbers are declared and can be read."""

    def __init__(
        self,
        devices: Sequence[DevicePlan],
        blocks: Mapping[int, BlockPlan],
        take: Take,
        borrow: Borrow,
        clock: Callable[[], int] = monotonic_us,
    ) -> None:
        """Asks nothing yet.

        Args:
            devices: of the whole plan; blocks name them by position.
            blocks: of this port, by number.
            take: gets every row, those of devices that are not checked at once.
            borrow: how the port is asked.
            clock: monotonic us.
        """
        self._take = take
        self._borrow = borrow
        self._clock = clock
        watched: dict[int, _Watched] = {}
        self._by_block: dict[int, _Watched] = {}
        for number, block in blocks.items():
            device = devices[block.device]
            if device.serial and device.serial_read is not None:
                self._by_block[number] = watched.setdefault(block.device, _Watched(device))
        self._watched = tuple(watched.values())
        self._is_stopped = False

    def inherit(self, before: IdentityGuard) -> None:
        """Knows of units that did not change what an earlier guard of the port knew."""
        known = {unit.plan.id: unit for unit in before._watched}
        for unit in self._watched:
            old = known.get(unit.plan.id)
            if old is not None and replace(old.plan, port=0) == replace(unit.plan, port=0):
                unit.inherit(old)

    def take(self, block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> None:
        """Takes one row; passes it on now, or when its unit has told who it is."""
        unit = self._by_block.get(block)
        if unit is None or self._is_stopped:
            self._take(block, sampled_us, row, codes, replied_us)
            return
        unit.note(codes)
        if unit.is_asked(codes, self._clock()):
            loop = asyncio.get_running_loop()
            unit.task = loop.create_task(self._check(unit))
            if unit.state is Identity.UNCHECKED:
                unit.hold = loop.call_later(HOLD_S, self._release, unit)
        if unit.hold is not None:
            unit.waiting.append((block, sampled_us, row, codes, replied_us))
            if len(unit.waiting) > _MOST_WAITING:
                self._pass_on(unit, *unit.waiting.pop(0))
            return
        self._pass_on(unit, block, sampled_us, row, codes, replied_us)

    def stop(self) -> None:
        """Passes on what waits and asks nothing more; safe to call twice."""
        self._is_stopped = True
        for unit in self._watched:
            if unit.task is not None:
                unit.task.cancel()
            self._release(unit)

    def health(self, records: Sequence[HealthRecord]) -> list[HealthRecord]:
        """Returns the port's health records with what is known of the units."""
        more = {f"device/{unit.plan.id}": unit.facts() for unit in self._watched}
        return [
            replace(record, facts=(*record.facts, *more[record.subject])) if record.subject in more else record
            for record in records
        ]

    async def _check(self, unit: _Watched) -> None:
        try:
            unit.hear(await self._ask(unit.plan))
        except ControlError as error:
            _LOG.debug("device %s: its serial number could not be asked: %s", unit.plan.id, error)
        except Exception:
            _LOG.exception("device %s: its serial number could not be asked", unit.plan.id)
        finally:
            unit.task = None
            self._release(unit)

    async def _ask(self, device: DevicePlan) -> tuple[Told | None, str]:
        """Returns what the unit's number says beside the declared one (None: no answer), and the number."""
        read = device.serial_read
        assert read is not None  # only such devices are watched
        timeout_s = min(device.max_reply_s, _TIMEOUT_S)
        wanted = ReadRequest(
            unit_id=device.unit_id,
            table=read.table,
            address=read.address,
            count=read.count,
            timeout_s=timeout_s,
            max_reply_s=device.max_reply_s,
        )

        async def job(port: BusPort) -> ReadResult:
            return await port.read(wanted)

        result = await self._borrow(job, timeout_s + _BESIDES_S)
        if result.words is None:
            is_refused = event_of(result.code) is Event.ANSWERED and result.code != quality.DEVICE_BUSY
            return (Told.NOT_TOLD if is_refused else None), ""
        try:
            said = read_identity(read, result.words)
        except DecodeError:
            return Told.NOT_TOLD, ""
        return compare(device.serial, said), said.strip()

    def _release(self, unit: _Watched) -> None:
        if unit.hold is not None:
            unit.hold.cancel()
            unit.hold = None
        waiting, unit.waiting = unit.waiting, []
        for row in waiting:
            self._pass_on(unit, *row)

    def _pass_on(self, unit: _Watched, block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> None:
        if unit.state is Identity.OTHER:
            codes = codes_of_another(tuple(codes or (quality.GOOD,) * len(row)))
            row = tuple(value if code in quality.WITH_VALUE else None for value, code in zip(row, codes, strict=True))
        self._take(block, sampled_us, row, codes, replied_us)


class _Watched:
    """What is kept of one device."""

    __slots__ = ("_asked_us", "_lost", "_was_silent", "hold", "plan", "said", "state", "task", "waiting")

    def __init__(self, plan: DevicePlan) -> None:
        self.plan = plan
        self.state = Identity.UNCHECKED
        #: number that it told last
        self.said = ""
        self.task: asyncio.Task[None] | None = None
        #: ends the waiting of rows; None while none waits
        self.hold: asyncio.TimerHandle | None = None
        #: rows that came while it is being asked
        self.waiting: list[tuple[int, int, Row, Codes, int]] = []
        self._asked_us: int | None = None
        self._lost = 0
        self._was_silent = False

    def inherit(self, before: _Watched) -> None:
        """Goes on where the same unit stood; what was being asked is asked again."""
        self.state, self.said = before.state, before.said
        self._lost, self._was_silent = before._lost, before._was_silent
        self._asked_us = before._asked_us if before.state is not Identity.UNCHECKED else None

    def note(self, codes: Codes) -> None:
        """Notes a row: a silence, or its end."""
        if _is_answer(codes):
            self._lost = 0
            if self._was_silent:
                self._was_silent = False
                self.state = step(self.state, Told.SILENCE_OVER)
                self._asked_us = None
            return
        self._lost += 1
        self._was_silent = self._was_silent or self._lost >= FAILURES or quality.NOT_ASKED in (codes or ())

    def is_asked(self, codes: Codes, now_us: int) -> bool:
        """Whether its number is to be read now."""
        if self.task is not None or not _is_answer(codes):
            return False
        rest_us = {Identity.UNCHECKED: _AGAIN_US, Identity.OTHER: ASK_AGAIN_US}.get(self.state)
        if rest_us is None or (self._asked_us is not None and now_us - self._asked_us < rest_us):
            return False
        self._asked_us = now_us
        return True

    def hear(self, answer: tuple[Told | None, str]) -> None:
        """Takes an answer; says once in the log that another unit hangs there, and once that it does no more."""
        told, said = answer
        if told is None:
            return
        before, self.state = self.state, step(self.state, told)
        self.said = said or self.said
        if self.state is Identity.OTHER and before is not Identity.OTHER:
            _LOG.warning(
                "device %s: the unit that answers has the serial number %s, declared is %s: its values are bad; "
                "`edge-agent replace %s` accepts it",
                self.plan.id,
                said,
                self.plan.serial,
                self.plan.id,
            )
        elif before is Identity.OTHER and self.state is Identity.SAME:
            _LOG.info("device %s: the declared unit answers again", self.plan.id)

    def facts(self) -> tuple[tuple[str, float | int | str | None], ...]:
        """Returns what health shows."""
        return (
            ("identity", self.state.value),
            ("serial_declared", self.plan.serial),
            ("serial_read", self.said or None),
        )


def _is_answer(codes: Codes) -> bool:
    """Whether anything of a row came from the unit."""
    return codes is None or any(quality.quality_of(code) is not quality.Quality.MISSING for code in codes)
