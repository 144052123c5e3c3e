"""How what the queries return is put in order for the page: groups, order, counts.  Pure.

No words and no HTML; those are ``render``'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from collector.views import (
    AlarmCounts,
    AlarmView,
    ChainView,
    GatewayView,
    PointView,
    QuarantineView,
    StatementView,
    Trend,
)
from collector.web.words import SEVERITY_RANK, SPANS

#: no more standing alarms than this on one page; in a flood the gravest and newest ones, and the page says so
ALARMS_SHOWN = 200
#: of those to review, the newest
REVIEWS_SHOWN = 50
#: of what is in quarantine, the newest
QUARANTINE_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The counts at the top of the page."""

    gateways: int
    gateways_live: int
    #: degraded: heard, with silent points or a backlog
    gateways_degraded: int
    points: int
    points_unknown: int
    backlog_batches: int
    #: (severity, how many are standing), graver first, none left out that stands
    alarms: tuple[tuple[str, int], ...]
    unacknowledged: int
    #: over before word of them came
    to_review: int
    #: how many more there are than the page shows
    hidden: int
    #: points whose limits nobody has confirmed, and since when the longest of them is (UTC us)
    on_trial: int = 0
    trial_since_us: int | None = None
    #: gateways that state nothing of it
    trial_unsaid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceGroup:
    """The points of one device of one gateway."""

    gateway: str
    device: str
    en: str
    zh: str
    points: tuple[PointView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayGroup:
    """One gateway with its devices; ``view`` is None where only points are known."""

    gateway: str
    view: GatewayView | None
    devices: tuple[DeviceGroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All chains of one gateway: those of its newest run, and those of earlier ones."""

    gateway: str
    current: tuple[ChainView, ...]
    earlier: tuple[ChainView, ...]
    #: batches that are neither here nor declared lost, over all chains
    missing: int
    #: batches whose loss the gateway has signed for
    lost: int
    #: batches whose signature was right and whose content was not
    refused: int
    #: batches that wait for their catalogue
    waiting: int
    #: two different batches for one number: a key was copied
    forks: int
    #: batches that do not continue the one before them
    breaks: int
    #: batches that are here and that a later run did not know of
    rolled_back: int
    #: what the gateway stated last of its alarms; None before it has
    statement: StatementView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendFigures:
    """A trend in a few numbers, for those who cannot see the chart."""

    samples: int
    #: samples without a number
    without_number: int
    low: float | None
    high: float | None
    last: float | None
    last_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The point whose trend is shown, and over how long."""

    gateway: str
    key: str
    span_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What keeps the collector itself from its work: silence that is ours and not the gateways'."""

    #: the store takes no commit
    is_store_failing: bool = False
    #: there is no broker to hear anything from
    is_broker_gone: bool = False
    #: how far our clock is behind (negative: ahead of) those of gateways that NTP keeps, s; 0: they agree with it
    clock_behind_s: float = 0.0
    #: how many gateways say so
    clock_doubted_by: int = 0

    @classmethod
    def read(cls, counters: Mapping[str, float]) -> Trouble:
        """Reads it from the counters; what no counter tells is no trouble."""
        return cls(
            is_store_failing=counters.get("ingest_failing", 0) > 0,
            is_broker_gone=counters.get("broker_connected", 1) == 0,
            clock_behind_s=counters.get("clock_behind_s", 0.0),
            clock_doubted_by=int(counters.get("clock_doubted_by", 0)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """What arrived and was not accepted."""

    #: messages, repetitions counted
    count: int
    #: the newest of them
    newest: tuple[QuarantineView, ...]


def point_id(gateway: str, key: str) -> str:
    """Returns the id of a point's row, ``p:GATEWAY/KEY``."""
    return f"p:{gateway}/{key}"


def short_name(name: str, device: str) -> str:
    """Returns a point's name without the device's before it, for places where the device is named already."""
    before = f"{device} · "
    return name[len(before) :] if device and name.startswith(before) and len(name) > len(before) else name


def alarm_order(alarm: AlarmView) -> str:
    """Returns a text by which alarms sort: not acknowledged, active, grave and new ones first."""
    unseen = 0 if alarm.acknowledged_us is None else 1
    over = 1 if alarm.state == "cleared" else 0
    rank = SEVERITY_RANK.get(alarm.severity, len(SEVERITY_RANK))
    return f"{unseen}{over}{rank}{2**60 - alarm.raised_us:020d}{alarm.id}"


def summarise(gateways: Sequence[GatewayView], counts: AlarmCounts, shown: int) -> Summary:
    """Returns the counts at the top of the page; ``shown`` is how many alarms stand on it."""
    standing = sorted(counts.standing, key=lambda item: SEVERITY_RANK.get(item[0], 9))
    return Summary(
        gateways=len(gateways),
        gateways_live=sum(gateway.liveness == "online" for gateway in gateways),
        gateways_degraded=sum(gateway.liveness == "degraded" for gateway in gateways),
        points=sum(gateway.points for gateway in gateways),
        points_unknown=sum(gateway.points_silent for gateway in gateways),
        backlog_batches=sum(gateway.backlog_batches for gateway in gateways),
        alarms=tuple(standing),
        unacknowledged=counts.unacknowledged,
        to_review=counts.to_review,
        on_trial=counts.on_trial,
        trial_since_us=counts.trial_since_us,
        trial_unsaid=counts.trial_unsaid,
        hidden=max(0, sum(count for _, count in standing) + counts.to_review - shown),
    )


def group_points(gateways: Sequence[GatewayView], points: Iterable[PointView]) -> tuple[GatewayGroup, ...]:
    """Returns points under device and gateway; gateways in the order given, points by key."""
    views = {gateway.id: gateway for gateway in gateways}
    ranks = {gateway.id: number for number, gateway in enumerate(gateways)}
    ordered = sorted(points, key=lambda p: (ranks.get(p.gateway, len(ranks)), p.gateway, p.device, p.key))
    found: list[GatewayGroup] = []
    for gateway, of_gateway in groupby(ordered, key=lambda p: p.gateway):
        devices = tuple(
            DeviceGroup(gateway=gateway, device=device, en=own[0].device_en, zh=own[0].device_zh, points=own)
            for device, of_device in groupby(of_gateway, key=lambda p: p.device)
            for own in [tuple(of_device)]
        )
        found.append(GatewayGroup(gateway=gateway, view=views.get(gateway), devices=devices))
    return tuple(found)


def _newest(chain: ChainView) -> int:
    return max(chain.last_sample_us or 0, chain.last_receipt_us or 0)


def group_chains(
    gateways: Sequence[str], chains: Sequence[ChainView], statements: Iterable[StatementView] = ()
) -> tuple[Proof, ...]:
    """Returns the chains of each gateway, its newest run first, and its last statement."""
    stated = {view.gateway: view for view in statements}
    found = []
    for gateway in gateways:
        own = [chain for chain in chains if chain.gateway == gateway]
        newest: dict[str, int] = {}
        for chain in own:
            newest[chain.epoch] = max(newest.get(chain.epoch, 0), _newest(chain))
        own.sort(key=lambda chain: (-newest[chain.epoch], chain.epoch, chain.lane))
        current = own[0].epoch if own else ""
        found.append(
            Proof(
                gateway=gateway,
                current=tuple(chain for chain in own if chain.epoch == current),
                earlier=tuple(chain for chain in own if chain.epoch != current),
                missing=sum(last - first + 1 for chain in own for first, last in chain.missing),
                lost=sum(item[1] - item[0] + 1 for chain in own for item in chain.lost),
                refused=sum(len(chain.refused) for chain in own),
                waiting=sum(chain.waiting for chain in own),
                forks=sum(len(chain.forks) for chain in own),
                breaks=sum(len(chain.breaks) for chain in own),
                rolled_back=sum(chain.rolled_back for chain in own),
                statement=stated.get(gateway),
            )
        )
    return tuple(found)


def structure(gateways: Iterable[str], points: Iterable[tuple[str, str]]) -> str:
    """Returns a short text that changes when a gateway or point is added or taken away."""
    digest = hashlib.sha256()
    for gateway in sorted(gateways):
        digest.update(f"{gateway}\n".encode())
    for gateway, key in sorted(points):
        digest.update(f"{gateway}/{key}\n".encode())
    return digest.hexdigest()[:16]


def choose_point(
    asked: str | None, span: int | None, points: Sequence[PointView], alarms: Sequence[AlarmView]
) -> Chosen | None:
    """Returns the point to show: the one asked for (``GATEWAY/KEY``), else the one with the gravest alarm, else any.

    A span that is not offered becomes the shortest one.
    """
    spans = [seconds for seconds, _ in SPANS]
    span_s = span if span in spans else spans[0]
    known = {(point.gateway, point.key) for point in points}
    gateway, _, key = (asked or "").partition("/")
    if (gateway, key) in known:
        return Chosen(gateway=gateway, key=key, span_s=span_s)
    for alarm in sorted(alarms, key=alarm_order):
        if (alarm.gateway, alarm.point) in known:
            return Chosen(gateway=alarm.gateway, key=alarm.point, span_s=span_s)
    for point in points:
        return Chosen(gateway=point.gateway, key=point.key, span_s=span_s)
    return None


def trend_figures(trend: Trend) -> TrendFigures:
    """Returns a trend in a few numbers; of minutes, low and high are those of the samples in them."""
    numbers = [value for value in trend.values if value is not None]
    lows = [value for value in (trend.low or trend.values) if value is not None]
    highs = [value for value in (trend.high or trend.values) if value is not None]
    last = next((i for i in range(len(trend.values) - 1, -1, -1) if trend.values[i] is not None), None)
    # A thinned minute has no mean, and a low and a high.
    numbered = len(lows) if trend.low else len(numbers)
    return TrendFigures(
        samples=len(trend.times_us),
        without_number=len(trend.times_us) - numbered,
        low=min(lows, default=None),
        high=max(highs, default=None),
        last=None if last is None else trend.values[last],
        last_us=None if last is None else trend.times_us[last],
    )
