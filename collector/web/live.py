"""The live stream: what has changed on the page since it was last told, a few times a second.

    change, change, change ...  ->  Pending  --every 0.25 s at most-->  one message of rows
                                             --nothing for 2 s------->  a heartbeat

A message is JSON: ``now_us`` (the collector's clock), ``structure`` (differs when the page has to be
loaded again because a gateway or point is new or gone), ``put`` (rows: element ``id``, the element
``into`` which it belongs, its ``html``), ``standing`` (ids of all alarms to show; others are over) and
``points`` (those with a new sample).  On connecting everything is sent once, so nothing that changed
between the page and the stream is missed.

The browser, not this stream, lets ages grow and calls silent points unknown.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from collector.views import AlarmView, Change, GatewayView, PointView, Queries
from collector.web import arrange
from collector.web.ports import Changes
from collector.web.render import Renderer

#: from here on one question for a whole gateway is cheaper than one for each point
MANY_POINTS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often an open page is told something, in seconds."""

    #: between two messages at least; four a second at most
    shortest_s: float = 0.25
    #: between two messages at most, so that a page notices when nothing comes any more
    heartbeat_s: float = 2.0
    #: between two looks at gateways and chains
    overview_s: float = 1.0


@dataclass(slots=True, kw_only=True)
class Pending:
    """Points whose change has not been sent yet; many changes become one."""

    points: set[tuple[str, str]] = field(default_factory=set)

    def add(self, change: Change) -> None:
        """Takes in one change."""
        self.points |= change.points

    def take(self) -> frozenset[tuple[str, str]]:
        """Returns the points that changed and forgets them."""
        taken = frozenset(self.points)
        self.points.clear()
        return taken


class LivePage:
    """What one open page has been told.  Synchronous; asks the queries, so it runs in a worker thread."""

    def __init__(
        self,
        *,
        queries: Queries,
        renderer: Renderer,
        now_us: Callable[[], int],
        note_shown: Callable[[Sequence[str]], None] = lambda ids: None,
    ) -> None:
        """Takes the queries, the words, the clock (UTC us), and who is told which alarms stand on the page."""
        self._note_shown = note_shown
        self._queries = queries
        self._renderer = renderer
        self._now_us = now_us
        #: element id -> hash of what was sent last
        self._told: dict[str, int] = {}
        self._known: set[tuple[str, str]] = set()
        #: points whose rows say that somebody works there; it ends with time, without a change
        self._inhibited: set[tuple[str, str]] = set()
        #: alarm -> as it was written last, and its row
        self._rows: dict[str, tuple[AlarmView, str]] = {}
        self._gateways: list[GatewayView] = []
        self._structure = ""

    def everything(self) -> str:
        """Returns the message that brings a page of any age up to date."""
        self._told.clear()
        return self._message(self._all_points(), with_overview=True)

    def changes(self, keys: frozenset[tuple[str, str]], *, with_overview: bool) -> str:
        """Returns the message after a commit.

        Args:
            keys: points that it changed, as (gateway, point).
            with_overview: also look at gateways and chains, which are dearer to ask for.
        """
        if not keys <= self._known:
            return self._message(self._all_points(), with_overview=True)
        quiet = frozenset(self._inhibited - keys) if with_overview else frozenset()
        return self._message(self._points(keys | quiet), with_overview=with_overview, quiet=quiet)

    def _all_points(self) -> list[PointView]:
        points = self._queries.points()
        self._known = {(point.gateway, point.key) for point in points}
        self._inhibited.clear()
        return points

    def _points(self, keys: frozenset[tuple[str, str]]) -> list[PointView]:
        found: list[PointView] = []
        for gateway in {gateway for gateway, _ in keys}:
            own = [key for of, key in keys if of == gateway]
            if len(own) >= MANY_POINTS:
                wanted = set(own)
                found.extend(point for point in self._queries.points(gateway) if point.key in wanted)
            else:
                found.extend(point for key in own if (point := self._queries.point(gateway, key)) is not None)
        return found

    def _message(
        self, points: list[PointView], *, with_overview: bool, quiet: frozenset[tuple[str, str]] = frozenset()
    ) -> str:
        """Returns the message with these points; ``quiet``: those of them that have no new sample."""
        put: list[dict[str, str]] = []
        render = self._renderer
        now_us = self._now_us()
        alarms = read_alarms(self._queries)
        for alarm in alarms:
            self._put(put, f"a:{alarm.id}", "alarms", self._alarm_row(alarm))
        self._rows = {alarm.id: self._rows[alarm.id] for alarm in alarms}
        for point in points:
            self._put(put, arrange.point_id(point.gateway, point.key), "", render.point(point))
            note = self._inhibited.add if point.is_inhibited else self._inhibited.discard
            note((point.gateway, point.key))
        if with_overview:
            self._gateways = self._queries.gateways()
            for gateway in self._gateways:
                self._put(put, f"g:{gateway.id}", "gateways", render.gateway(gateway, now_us))
            ids = [gateway.id for gateway in self._gateways]
            for proof in arrange.group_chains(ids, self._queries.chains(), self._queries.statements()):
                self._put(put, f"f:{proof.gateway}", "proofs", render.proof(proof))
            self._structure = arrange.structure(ids, self._known)
            counters = self._queries.counters()
            self._put(put, "trouble", "", render.trouble(arrange.Trouble.read(counters)))
            self._put(put, "quarantine", "", render.quarantine(read_quarantine(self._queries, counters)))
        summary = arrange.summarise(self._gateways, self._queries.alarm_counts(), len(alarms))
        self._put(put, "summary", "", render.summary(summary))
        self._put(put, "no-alarms", "", render.no_alarms(summary))
        content = {
            "now_us": now_us,
            "structure": self._structure,
            "put": put,
            "standing": [f"a:{alarm.id}" for alarm in alarms],
            "points": sorted(f"{p.gateway}/{p.key}" for p in points if (p.gateway, p.key) not in quiet),
        }
        self._note_shown([alarm.id for alarm in alarms if alarm.shown_us is None])
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    def _alarm_row(self, alarm: AlarmView) -> str:
        """Returns the row of an alarm; written again only when the alarm changed, for the sake of floods."""
        held = self._rows.get(alarm.id)
        if held is None or held[0] != alarm:
            held = self._rows[alarm.id] = (alarm, self._renderer.alarm(alarm))
        return held[1]

    def _put(self, put: list[dict[str, str]], element: str, into: str, html: str) -> None:
        digest = hash(html)
        if self._told.get(element) != digest:
            self._told[element] = digest
            put.append({"id": element, "into": into, "html": html})


def read_alarms(queries: Queries) -> list[AlarmView]:
    """Returns the alarms that the page shows, in its order: what stands, and what is to be reviewed."""
    standing = queries.alarms(standing_only=True, limit=arrange.ALARMS_SHOWN)
    return sorted([*standing, *queries.reviews(arrange.REVIEWS_SHOWN)], key=arrange.alarm_order)


def read_quarantine(queries: Queries, counters: Mapping[str, float]) -> arrange.Quarantine:
    """Returns what the page shows of the quarantine."""
    count = int(counters.get("quarantined", 0))
    newest = tuple(queries.quarantine(arrange.QUARANTINE_SHOWN)) if count else ()
    return arrange.Quarantine(count=count, newest=newest)


_PACE = Pace()


async def _collect(changes: Changes, pending: Pending, touched: asyncio.Event) -> None:
    """Takes changes in until there are no more, then says so by returning."""
    source = changes.subscribe()
    try:
        async for change in source:
            pending.add(change)
            touched.set()
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


async def stream(changes: Changes, page: LivePage, pace: Pace = _PACE) -> AsyncIterator[str]:
    """Yields server-sent events for one page until it goes away or the collector stops.

    The first event is there at once, the others at the given pace.
    """
    pending, touched = Pending(), asyncio.Event()
    loop = asyncio.get_running_loop()
    collecting = asyncio.create_task(_collect(changes, pending, touched))
    collecting.add_done_callback(lambda _: touched.set())
    try:
        # Let the listener register before the state is read: what changes from now on is sent as a change.
        await asyncio.sleep(0)
        yield _event(await asyncio.to_thread(page.everything))
        overview_due, is_owed = loop.time() + pace.overview_s, False
        while True:
            await asyncio.sleep(pace.shortest_s)
            wait_s = pace.heartbeat_s - pace.shortest_s
            if is_owed:  # gateways may have changed with the points that were told: not later than they are due
                wait_s = max(0.0, min(wait_s, overview_due - loop.time()))
            with suppress(TimeoutError):
                await asyncio.wait_for(touched.wait(), wait_s)
            if collecting.done():
                break
            touched.clear()
            is_due = loop.time() >= overview_due
            is_owed = not is_due
            if is_due:
                overview_due = loop.time() + pace.overview_s
            yield _event(await asyncio.to_thread(page.changes, pending.take(), with_overview=is_due))
        collecting.result()
    finally:
        collecting.cancel()


def _event(message: str) -> str:
    return f"retry: 1000\ndata: {message}\n\n"
