"""A small city for the tests of the web side: hands in ``Queries``, ``Actions`` and ``Changes`` from memory.

Nothing here is a reading of anything; the numbers are chosen to show every state once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from collector.errors import NotOnTrialError
from collector.upkeep import check
from collector.views import (
    AlarmCounts,
    AlarmFilter,
    AlarmPage,
    AlarmView,
    ChainView,
    Change,
    CompletenessView,
    GatewayView,
    LetterView,
    PointView,
    QuarantineView,
    StatementView,
    Trend,
    TrialView,
    WaveformChannel,
    WaveformSamples,
    WaveformView,
)
from collector.visit_views import ErrandView, GatewayName, UpkeepView, VisitFilter, VisitPage
from collector.web.ports import Info
from contracts.quality import CODES, GOOD, NO_REPLY, quality_of
from contracts.units import UNITS
from tests.collector.web.fake_visits import make_errands, make_upkeep, make_visits

#: 2026-11-22 04:00:00 UTC
START_US = 1_795_320_000_000_000
GATEWAY = "g-abcdefghijkl"
SECOND = "g-mnopqrstuvwx"
INFO = Info(
    version="0.1.0",
    started_us=START_US - 86_400_000_000,
    collector_key="ed25519:Zm9yLXRlc3RzLW9ubHktbm8tcmVhbC1rZXk=",
    embedded_broker=True,
)
LIMITS_CH4 = (
    (20.0, "high", "blue", "first limit", "一级限值"),
    (50.0, "high", "red", "second limit", "二级限值"),
)


def make_point(
    key: str,
    en: str,
    zh: str,
    unit: str,
    value: float | None,
    *,
    now_us: int = START_US,
    gateway: str = GATEWAY,
    code: int = GOOD,
    age_s: float = 1.0,
    silence_s: float = 10.0,
    **fields: Any,
) -> PointView:
    """Returns a point whose words fit its code, unit and age."""
    known, measure = CODES[code], UNITS[unit]
    is_stale = age_s > silence_s
    base = PointView(
        gateway=gateway,
        key=key,
        device=key.split("/", maxsplit=1)[0],
        device_en=en.split(" · ", maxsplit=1)[0] if " · " in en else "",
        device_zh=zh.split(" · ", maxsplit=1)[0] if " · " in zh else "",
        quantity=key.split("/")[1],
        unit=unit,
        unit_en=measure.en,
        unit_zh=measure.zh,
        en=en,
        zh=zh,
        value=value,
        shown="" if value is None else f"{value:g}",
        code=code,
        quality="unknown" if is_stale else quality_of(code).value,
        reason_en=known.en,
        reason_zh=known.zh,
        sampled_us=now_us - round(age_s * 1_000_000),
        age_s=age_s,
        is_stale=is_stale,
        longest_silence_s=silence_s,
        last_value=value,
        last_value_us=None if value is None else now_us - round(age_s * 1_000_000),
        low=None,
        high=None,
        limits=(),
        alarm=None,
    )
    return replace(base, **fields)


def make_gateway(id: str = GATEWAY, **fields: Any) -> GatewayView:
    """Returns a gateway that is live."""
    base = GatewayView(
        id=id,
        en="North district",
        zh="城北片区",
        liveness="online",
        silent_for_s=0.8,
        silent_after_s=8.0,
        points=6,
        points_silent=1,
        backlog_batches=0,
        newest_sample_us=START_US - 1_000_000,
        clock="ntp",
        version="0.1.0",
        boot_counter=3,
        alarms_active=2,
        health={"agent": {"cpu_percent": 2.4, "memory_mb": 36.2}, "port/bus-1": {"load_percent": 41}},
    )
    return replace(base, **fields)


def make_alarm(id: str = "a1" * 16, **fields: Any) -> AlarmView:
    """Returns an active red methane alarm."""
    base = AlarmView(
        id=id,
        gateway=GATEWAY,
        point="well-1/ch4",
        en="Gas well 1 methane",
        zh="1号燃气井甲烷",
        rule_id="gas.ch4.adjacent.v1/L2",
        rule_en="second limit",
        rule_zh="二级限值",
        severity="red",
        scheme="emergency-warning",
        state="active",
        is_source_silent=False,
        is_unstated=False,
        is_stated_over=False,
        measurement="active",
        cause="limit",
        limit=50.0,
        value=52.5,
        shown="52.5",
        code=GOOD,
        quantity="ch4",
        unit="%{LEL}",
        unit_en="%LEL",
        unit_zh="%LEL",
        raised_us=START_US - 42_000_000,
        cleared_us=None,
        sampled_us=START_US - 42_000_000,
        judged_us=START_US - 41_990_000,
        sealed_us=START_US - 41_985_000,
        received_us=START_US - 41_940_000,
        committed_us=START_US - 41_920_000,
        shown_us=START_US - 41_900_000,
        latency_ms=80.0,
        is_late=False,
        decision="page",
        decision_reason="new",
        decided_us=START_US - 41_940_000,
        stood_s=0.06,
        acknowledged_by=None,
        acknowledged_us=None,
        acknowledgements=(),
        marks=(),
    )
    return replace(base, **fields)


def make_chain(lane: str = "data", **fields: Any) -> ChainView:
    """Returns a chain without a hole."""
    base = ChainView(
        gateway=GATEWAY,
        epoch="5f3c9a1200b7e846",
        lane=lane,
        verified_to=1204,
        newest=1204,
        readings=48_160,
        missing=(),
        lost=(),
        refused=(),
        waiting=0,
        forks=(),
        breaks=(),
        rolled_back=0,
        last_receipt_us=START_US - 1_200_000,
        last_receipt_serial=2210,
        first_sample_us=START_US - 2_400_000_000,
        last_sample_us=START_US - 2_000_000,
    )
    return replace(base, **fields)


_View = TypeVar("_View", AlarmView, ChainView, GatewayView)


def _shift(view: _View, by_us: int) -> _View:
    """Returns a view with all its times moved."""
    times = {f.name: getattr(view, f.name) for f in fields(view) if f.name.endswith("_us")}
    return replace(view, **{name: us + by_us for name, us in times.items() if us is not None})


class FakeChanges:
    """Tells every listener what a test says."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Change | None]] = set()
        self.has_listener = asyncio.Event()

    @property
    def listeners(self) -> int:
        """How many are listening now."""
        return len(self._queues)

    async def subscribe(self) -> AsyncIterator[Change]:
        """Yields changes until ``close``."""
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._queues.add(queue)
        self.has_listener.set()
        try:
            while (change := await queue.get()) is not None:
                yield change
        finally:
            self._queues.discard(queue)

    def tell(self, *points: tuple[str, str], alarms: Sequence[str] = ()) -> None:
        """Says that points and alarms have changed; call it in the loop's thread."""
        change = Change(
            gateways=frozenset(gateway for gateway, _ in points), alarms=frozenset(alarms), points=frozenset(points)
        )
        for queue in self._queues:
            queue.put_nowait(change)

    def close(self) -> None:
        """Ends every listener's iterator."""
        for queue in self._queues:
            queue.put_nowait(None)


class FakeCity:
    """Queries and Actions over plain lists that a test changes."""

    def __init__(self, *, now_us: int = START_US) -> None:
        self.now_us = now_us
        self.gateway_views = [
            make_gateway(),
            make_gateway(
                SECOND,
                en="River bank",
                zh="沿江片区",
                liveness="silent",
                silent_for_s=75.0,
                points=1,
                points_silent=1,
                backlog_batches=37,
                newest_sample_us=now_us - 75_000_000,
                clock="free",
                boot_counter=11,
                alarms_active=0,
                health={},
            ),
        ]
        alarmed: dict[str, Any] = {"limits": LIMITS_CH4, "alarm": "red"}
        self.point_views = {
            (point.gateway, point.key): point
            for point in (
                make_point(
                    "well-1/ch4", "Gas well 1 methane", "1号燃气井甲烷", "%{LEL}", 52.5, now_us=now_us, **alarmed
                ),
                make_point("well-1/o2", "Gas well 1 oxygen", "1号燃气井氧气", "%{vol}", 20.7, now_us=now_us, code=18),
                make_point(
                    "well-2/ch4",
                    "Gas well 2 methane",
                    "2号燃气井甲烷",
                    "%{LEL}",
                    None,
                    now_us=now_us,
                    code=NO_REPLY,
                    limits=LIMITS_CH4,
                    last_value=3.2,
                    last_value_us=now_us - 41_000_000,
                ),
                make_point("main-1/pressure", "Water main pressure", "供水主管压力", "MPa", 0.312, now_us=now_us),
                make_point(
                    "underpass-1/ponding", "Underpass ponding", "下穿通道积水", "cm", None, now_us=now_us, code=16
                ),
                make_point(
                    "bridge-1/tilt/1", "Bridge 1 · pier tilt X", "1号桥 · 桥墩倾角 X", "deg", -0.041, now_us=now_us
                ),
                make_point(
                    "river-1/level",
                    "River level",
                    "河道水位",
                    "m",
                    4.18,
                    now_us=now_us,
                    gateway=SECOND,
                    age_s=75.0,
                ),
            )
        }
        late: dict[str, Any] = {
            "severity": "yellow",
            "point": "underpass-1/ponding",
            "is_late": True,
            "latency_ms": 95_000.0,
            "decision_reason": "late",
            "measurement": "source_silent",
            "stood_s": 95.0,
        }
        self.alarm_views = [
            make_alarm(),
            make_alarm(
                "b2" * 16,
                en="Underpass ponding",
                zh="下穿通道积水",
                rule_en="over the gauge",
                rule_zh="超出量程",
                cause="over_range",
                state="latched",
                value=None,
                shown="",
                code=16,
                quantity="ponding",
                unit="cm",
                unit_en="cm",
                unit_zh="cm",
                limit=40.0,
                is_source_silent=True,
                raised_us=now_us - 400_000_000,
                **late,
            ),
            make_alarm(
                "c3" * 16,
                en="Gas well 2 methane",
                zh="2号燃气井甲烷",
                point="well-2/ch4",
                rule_en="silence",
                rule_zh="无数据",
                cause="silence",
                severity="info",
                limit=None,
                value=None,
                shown="",
                code=NO_REPLY,
                acknowledged_by="李明",
                acknowledged_us=now_us - 10_000_000,
                raised_us=now_us - 30_000_000,
            ),
        ]
        over: dict[str, Any] = {"state": "cleared", "measurement": "cleared", "severity": "orange", "value": 26.0}
        self.review_views = [
            make_alarm(
                "e7" * 16,
                en="Gas well 2 methane",
                zh="2号燃气井甲烷",
                point="well-2/ch4",
                rule_en="first limit",
                rule_zh="一级限值",
                shown="26",
                limit=20.0,
                is_late=True,
                decision="review",
                decision_reason="over",
                stood_s=1800.0,
                raised_us=now_us - 1_900_000_000,
                cleared_us=now_us - 1_700_000_000,
                **over,
            )
        ]
        self.statement_views = [
            StatementView(
                gateway=GATEWAY,
                stated_us=now_us - 20_000_000,
                stated=3,
                is_surely_whole=True,
                standing=3,
                unstated=(),
                stated_over=(),
            )
        ]
        self.shown: list[str] = []
        self.chain_views = [
            make_chain("data"),
            make_chain("alarm", verified_to=17, newest=17, readings=0, last_sample_us=None),
            make_chain(
                "data",
                epoch="0011aabbccddeeff",
                lost=((101, 120, "disk_full", 4000),),
                rolled_back=6,
                forks=(90,),
                waiting=2,
                refused=((55, "payload"),),
                last_receipt_us=now_us - 9_000_000_000,
                last_sample_us=now_us - 9_000_000_000,
            ),
            make_chain("data", gateway=SECOND, verified_to=803, newest=840, missing=((804, 840),)),
        ]
        if now_us != START_US:
            by = now_us - START_US
            self.gateway_views[0] = _shift(self.gateway_views[0], by)
            self.alarm_views[0] = _shift(self.alarm_views[0], by)
            self.chain_views = [_shift(chain, by) if chain.epoch[0] == "5" else chain for chain in self.chain_views]
        self.waveform_samples = [
            WaveformSamples(
                waveform=WaveformView(
                    gateway=GATEWAY,
                    id="0f" * 16,
                    device="pier-3",
                    cause="after-alarm",
                    alarm="ab" * 16,
                    begin_us=START_US,
                    span_us=40_000,
                    ticks=3,
                    channels=1,
                    is_kept=True,
                ),
                rate_hz=50.0,
                times_us=[START_US, START_US + 20_000, START_US + 40_000],
                channels=[
                    WaveformChannel(
                        point="pier-3/acceleration/x",
                        quantity="acceleration",
                        unit="[g]",
                        en="Pier 3 · acceleration X",
                        zh="3号墩 · X 轴加速度",
                        values=[0.5, None, 0.25],
                        codes=[GOOD, NO_REPLY, GOOD],
                    )
                ],
            )
        ]
        self.visit_views = make_visits(now_us)
        self.upkeep_views = make_upkeep(now_us)
        self.errand_views = make_errands(now_us)
        self.quarantine_views = [
            QuarantineView(
                id=1,
                arrived_us=now_us,
                topic="qianshao/v1/0/x",
                code="signature",
                reason="does not fit",
                size=99,
                times=2,
            )
        ]
        #: further counters, for what goes wrong in the collector itself
        self.troubles: dict[str, float] = {}
        self.acknowledged: list[tuple[str, str, str, str]] = []
        self.unacknowledged: list[tuple[str, str, str, str]] = []
        self.warned: list[tuple[str, str, str, str]] = []
        self.trial_views: list[TrialView] = []
        self.letter_views: list[LetterView] = []

    def gateways(self) -> list[GatewayView]:
        return list(self.gateway_views)

    def gateway_names(self) -> list[GatewayName]:
        return [GatewayName(id=view.id, en=view.en, zh=view.zh) for view in self.gateway_views]

    def points(self, gateway: str | None = None) -> list[PointView]:
        return [point for point in self.point_views.values() if gateway in (None, point.gateway)]

    def point(self, gateway: str, key: str) -> PointView | None:
        return self.point_views.get((gateway, key))

    def alarms(self, *, standing_only: bool = True, limit: int = 200) -> list[AlarmView]:
        return self.alarm_views[:limit]

    def alarms_by_id(self, ids: Sequence[str]) -> list[AlarmView]:
        return [alarm for id in ids if (alarm := self.alarm(id)) is not None]

    def reviews(self, limit: int = 200) -> list[AlarmView]:
        return self.review_views[:limit]

    def alarm_counts(self) -> AlarmCounts:
        standing = [alarm for alarm in self.alarm_views if alarm.state != "cleared"]
        counts: dict[str, int] = {}
        for alarm in standing:
            counts[alarm.severity] = counts.get(alarm.severity, 0) + 1
        unseen = sum(alarm.acknowledged_us is None for alarm in standing)
        return AlarmCounts(standing=list(counts.items()), unacknowledged=unseen, to_review=len(self.review_views))

    def journal(self, filter: AlarmFilter, *, limit: int = 100, after: str | None = None) -> AlarmPage:
        if filter.state == "nonsense":
            raise ValueError("state: 'nonsense' is none of active, cleared, source_silent, standing")
        found = [
            alarm
            for alarm in sorted([*self.alarm_views, *self.review_views], key=lambda item: -item.raised_us)
            if filter.severity in (None, alarm.severity)
            and filter.gateway in (None, alarm.gateway)
            and filter.state in (None, alarm.measurement)
        ]
        start = int(after or 0)
        is_more = len(found) > start + limit
        return AlarmPage(alarms=found[start : start + limit], next=str(start + limit) if is_more else None)

    def statements(self, gateway: str | None = None) -> list[StatementView]:
        return [view for view in self.statement_views if gateway in (None, view.gateway)]

    def alarm(self, id: str) -> AlarmView | None:
        return next((alarm for alarm in self.alarm_views if alarm.id == id), None)

    def chains(self, gateway: str | None = None) -> list[ChainView]:
        return [chain for chain in self.chain_views if gateway in (None, chain.gateway)]

    def trend(self, gateway: str, key: str, start_us: int, end_us: int) -> Trend | None:
        """A wave every two seconds with a hole of one minute, or minutes where the span is long."""
        point = self.point(gateway, key)
        if point is None:
            return None
        is_minute = end_us - start_us > 7_200_000_000
        step = 60_000_000 if is_minute else 2_000_000
        times = list(range(start_us + step, end_us + 1, step))
        middle = start_us + (end_us - start_us) // 2
        base = point.value if point.value is not None else 10.0
        values: list[float | None] = [
            None if abs(at - middle) < max(30_000_000, step * 30) else base * (1 + 0.06 * math.sin(at / 4e7))
            for at in times
        ]
        spread = [None if value is None else abs(value) * 0.03 for value in values]
        pairs = list(zip(values, spread, strict=True))
        return Trend(
            gateway=gateway,
            point=key,
            unit=point.unit,
            source="minute" if is_minute else "raw",
            times_us=times,
            values=values,
            low=[None if v is None or s is None else v - s for v, s in pairs] if is_minute else (),
            high=[None if v is None or s is None else v + s for v, s in pairs] if is_minute else (),
            codes=[GOOD if value is not None else NO_REPLY for value in values],
        )

    def quarantine(self, limit: int = 100) -> list[QuarantineView]:
        return self.quarantine_views[:limit]

    def waveforms(self, gateway: str | None = None, alarm: str | None = None, limit: int = 100) -> list[WaveformView]:
        found = [samples.waveform for samples in self.waveform_samples]
        return [view for view in found if gateway in (None, view.gateway) and alarm in (None, view.alarm)][:limit]

    def waveform(self, gateway: str, id: str) -> WaveformSamples | None:
        found = (item for item in self.waveform_samples if (item.waveform.gateway, item.waveform.id) == (gateway, id))
        return next(found, None)

    def visits(self, filter: VisitFilter, *, limit: int = 100, after: str | None = None) -> VisitPage:
        check(filter)
        found = [
            view
            for view in self.visit_views
            if filter.gateway in (None, view.gateway)
            and filter.point in (None, view.point)
            and filter.job in (None, view.job)
            and filter.result in (None, view.result)
        ]
        start = int(after or 0)
        is_more = len(found) > start + limit
        return VisitPage(visits=found[start : start + limit], next=str(start + limit) if is_more else None)

    def upkeep(self, gateway: str | None = None) -> list[UpkeepView]:
        return [view for view in self.upkeep_views if gateway in (None, view.gateway)]

    def errands(self, gateway: str | None = None) -> list[ErrandView]:
        return [view for view in self.errand_views if gateway in (None, view.gateway)]

    def completeness(
        self, start_us: int, end_us: int, *, gateway: str | None = None, key: str | None = None, by_day: bool = False
    ) -> list[CompletenessView]:
        step = 86_400_000_000 if by_day else 3_600_000_000
        counts = [("good", "", "", 3590), ("missing", "no_reply", "device", 10)]
        return [
            CompletenessView(gateway=at[0], point=at[1], begin_us=begin, boot="", expected=3600, counts=counts)
            for begin in range(start_us // step * step, end_us, step)
            for at in self.point_views
            if gateway in (None, at[0]) and key in (None, at[1])
        ]

    def counters(self) -> dict[str, float]:
        return {"batches_total": 1204.0, "readings_total": 48_160.0, "queue.depth": 0.0} | self.troubles

    def acknowledge(self, alarm_id: str, by: str, note: str, source: str) -> AlarmView | None:
        for number, alarm in enumerate(self.alarm_views):
            if alarm.id == alarm_id:
                self.acknowledged.append((alarm_id, by, note, source))
                seen = replace(alarm, acknowledged_by=by, acknowledged_us=self.now_us)
                self.alarm_views[number] = seen
                return seen
        return None

    def unacknowledge(self, alarm_id: str, by: str, note: str, source: str) -> AlarmView | None:
        for number, alarm in enumerate(self.alarm_views):
            if alarm.id == alarm_id:
                self.unacknowledged.append((alarm_id, by, note, source))
                taken_back = replace(alarm, acknowledged_by=None, acknowledged_us=None)
                self.alarm_views[number] = taken_back
                return taken_back
        return None

    def warn(self, alarm_id: str, by: str, note: str, source: str) -> AlarmView | None:
        for number, alarm in enumerate(self.alarm_views):
            if alarm.id == alarm_id:
                if alarm.decision_reason != "trial":
                    raise NotOnTrialError("only an alarm held back for trial can be made a real warning")
                self.warned.append((alarm_id, by, note, source))
                real = replace(
                    alarm, decision="page", decision_reason="desk", warned_by=by, warned_us=self.now_us,
                    acknowledgements=[*alarm.acknowledgements, ("warn", by, self.now_us, note, source)],
                )  # fmt: skip
                self.alarm_views[number] = real
                return real
        return None

    def trial(self, gateway: str | None = None, state: str | None = None) -> list[TrialView]:
        return [view for view in self.trial_views if gateway in (None, view.gateway) and state in (None, view.state)]

    def letters(self) -> list[LetterView]:
        return self.letter_views

    def note_shown(self, alarm_ids: Sequence[str]) -> None:
        self.shown.extend(alarm_ids)

    def set_value(self, key: str, value: float | None, *, gateway: str = GATEWAY, **fields: Any) -> None:
        """Gives a point a new sample, taken now."""
        old = self.point_views[(gateway, key)]
        fresh = {
            "value": value,
            "shown": "" if value is None else f"{value:g}",
            "sampled_us": self.now_us,
            "age_s": 0.0,
        }
        self.point_views[(gateway, key)] = replace(old, **{**fresh, **fields})
