"""One reading of a real unit through a profile that somebody is writing: what ``edge-agent profile test`` does.

It asks every default point once and keeps nothing.  Where a register tells the unit of
measurement, the number is shown in the unit that the instrument is set to.  A point that
needs a trigger is only read where the person allows that write.  For commands, not for the
daemon: it needs the profile model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from contracts.quality import GOOD, ILLEGAL_ADDRESS, INVALID, UNIT_MISMATCH, WITH_VALUE
from drivers.build import plan_device, point_step, point_units, serial_read
from drivers.errors import DecodeError
from drivers.matching import Match, match_profile, recognition_reads
from drivers.plan import BlockRead, IdentityRead, TriggerStep, compile_block, read_identity
from drivers.port import BusPort, ReadRequest, ReadResult, WriteRequest
from drivers.profile import PointProfile, Profile
from edge_agent.bus.block import split
from edge_agent.readings import number_text

_Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One point as the unit shows it now."""

    name: str
    en: str
    zh: str
    #: decimal text; empty where there is no number
    text: str
    #: UCUM unit that the instrument is set to, where a register tells; else the profile's
    unit: str
    #: quality code
    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one reading gave."""

    rows: tuple[TrialRow, ...]
    #: points that were not read because they need a write first
    untriggered: tuple[str, ...]
    match: Match
    #: None where the profile knows no register of it, or the unit did not answer
    serial_number: str | None
    #: longest time from a request to its whole reply; None where nothing was answered
    slowest_s: float | None
    #: what the line said of reads that failed, each once
    details: tuple[str, ...]


class UnitTrial:
    """Reads one unit once."""

    def __init__(
        self, port: BusPort, profile: Profile, unit_id: int, *, may_trigger: bool, sleep: _Sleep = asyncio.sleep
    ) -> None:
        """Takes an open port; ``may_trigger`` allows the writes of the profile's triggers."""
        self._port = port
        self._profile = profile
        self._points = profile.all_points
        self._unit_id = unit_id
        self._may_trigger = may_trigger
        self._sleep = sleep
        self._slowest_s: float | None = None
        self._details: dict[str, None] = {}
        self._is_first = True

    async def run(self) -> Trial:
        """Asks for what tells the device, then for every default point."""
        readings = {read.name: await self._field(read) for read in recognition_reads(self._profile)}
        serial = serial_read(self._profile)
        serial_number = None if serial is None else await self._field(serial)
        rows: list[TrialRow] = []
        untriggered: list[str] = []
        for block in plan_device(self._profile):
            if block.trigger is not None and not self._may_trigger:
                untriggered.extend(step.name for step in block.points)
            else:
                rows.extend(await self._block(block))
        return Trial(
            rows=tuple(rows),
            untriggered=tuple(untriggered),
            match=match_profile(self._profile, readings, self._unit_id),
            serial_number=serial_number,
            slowest_s=self._slowest_s,
            details=tuple(self._details),
        )

    async def _field(self, read: IdentityRead) -> str | None:
        result = await self._read(read.table, read.address, read.count)
        if result.words is None:
            return None
        try:
            return read_identity(read, result.words)
        except DecodeError:
            return None

    async def _block(self, block: BlockRead) -> list[TrialRow]:
        code = GOOD if block.trigger is None else await self._pull(block.trigger)
        if code != GOOD:
            return [self._row(step.name, None, code) for step in block.points]
        result = await self._read(block.table, block.address, block.count)
        parts = split(block) if result.code == ILLEGAL_ADDRESS else ()
        if not parts:
            return self._rows(block, result)
        rows: list[TrialRow] = []
        for part in parts:
            own = part.read
            rows.extend(self._rows(own, await self._read(own.table, own.address, own.count)))
        return rows

    async def _pull(self, trigger: TriggerStep) -> int:
        limits = self._profile.limits
        await self._pause()
        result = await self._port.write(
            WriteRequest(
                unit_id=self._unit_id,
                function=trigger.function,
                address=trigger.address,
                values=trigger.values,
                timeout_s=limits.max_reply_s,
                max_reply_s=limits.max_reply_s,
                answered_by=(self._unit_id,) if trigger.answered else (),
            )
        )
        await self._sleep(trigger.wait_ms / 1000)
        return result.code

    async def _read(self, table: str, address: int, count: int) -> ReadResult:
        limits = self._profile.limits
        await self._pause()
        result = await self._port.read(
            ReadRequest(
                unit_id=self._unit_id,
                table=table,
                address=address,
                count=count,
                timeout_s=limits.max_reply_s,
                max_reply_s=limits.max_reply_s,
            )
        )
        if result.words is not None:
            took_s = (result.replied_us - result.requested_us) / 1e6
            self._slowest_s = max(took_s, self._slowest_s or 0.0)
        elif result.detail:
            self._details.setdefault(result.detail)
        return result

    async def _pause(self) -> None:
        """Keeps the silence that the device wants between two requests."""
        if not self._is_first and self._profile.limits.min_request_gap_ms:
            await self._sleep(self._profile.limits.min_request_gap_ms / 1000)
        self._is_first = False

    def _rows(self, block: BlockRead, result: ReadResult) -> list[TrialRow]:
        return [self._row(step.name, block, result.code, result.words or ()) for step in block.points]

    def _row(self, name: str, block: BlockRead | None, code: int, words: Sequence[int] = ()) -> TrialRow:
        point = self._points[name]
        if block is None or code != GOOD:
            names = point.names
            return TrialRow(name=name, en=names.en, zh=names.zh, text="", unit=point.unit, code=code)
        return decode_row(self._profile, name, point, block, words)


def decode_row(profile: Profile, name: str, point: PointProfile, block: BlockRead, words: Sequence[int]) -> TrialRow:
    """Returns one point of a reply, in the unit that the instrument is set to.

    Args:
        profile: of the device.
        name: of the point.
        point: the point itself.
        block: what was asked.
        words: what came, as many as were asked.
    """
    found: TrialRow | None = None
    for unit in point_units(point):
        step = point_step(profile, name, unit=unit)
        try:
            values, codes = compile_block(replace(block, points=(step.moved(-block.address),)))(words)
        except DecodeError:
            values, codes = (None,), (INVALID,)
        code = GOOD if codes is None else codes[0]
        value = values[0] if code in WITH_VALUE else None
        text = number_text(step.kind, step.resolution or Fraction(1), value)
        row = TrialRow(name=name, en=point.names.en, zh=point.names.zh, text=text, unit=unit, code=code)
        if found is None or found.code == UNIT_MISMATCH:
            found = row
        if code != UNIT_MISMATCH:
            break
    assert found is not None  # a point has at least the profile's unit
    return found
