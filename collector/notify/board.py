"""All rules as they run: builds a notifier for each address, wakes them, and answers the page and the API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from pathlib import Path

from collector.database import open_reader
from collector.notify.apprise_channel import AppriseChannel, scheme_of
from collector.notify.log import NoticeLog, Row, Run, read_by_number, read_notices
from collector.notify.notifier import Channel, Notifier
from collector.notify.plan import Rule
from collector.settings import NotifySettings, read_urls
from collector.views import Change, NoticeView, NotifyRuleView, Queries

#: longest wait for the answers to a test (s)
TEST_WAIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """One rule as it runs."""

    settings: NotifySettings
    #: secret
    urls: tuple[str, ...] = field(repr=False)
    view: NotifyRuleView
    notifiers: tuple[Notifier, ...]


class NotifyBoard:
    """Every rule with its notifiers."""

    def __init__(
        self,
        settings: Sequence[NotifySettings],
        *,
        data: Path,
        path: Path,
        run: Run,
        queries: Queries,
        now_us: Callable[[], int],
        on_change: Callable[[Change], object],
        names: Callable[[str], tuple[str, str]],
        channel: Callable[[str, str], Channel] = AppriseChannel,
    ) -> None:
        """Makes what the settings ask for; no thread starts here.

        Args:
            settings: the rules.
            data: the directory that files of addresses are named from.
            path: the database.
            run: the writer's way to run a job.
            queries: what a message says of an alarm.
            now_us: UTC us.
            on_change: is told of alarms that somebody was told of.
            names: labels of a gateway, English and Chinese.
            channel: makes a channel of an address and the place to name in an error.

        Raises:
            SettingsError: a file of addresses cannot be read, or an address is none.
        """
        self._path = path
        self._data = data
        self._queries = queries
        self._now_us = now_us
        self._on_change = on_change
        self._names = names
        self._channel = channel
        self._notices = NoticeLog(run)
        self._local = threading.local()
        self._problem = ""
        #: guards the change from some rules to others, which happens in one thread at a time
        self._changing = threading.Lock()
        self._is_running = False
        self._served = self._make(settings, {})

    def _make(self, settings: Sequence[NotifySettings], old: Mapping[str, _Served]) -> dict[str, _Served]:
        """Returns what serves some rules; of what was there before stays what is the same.

        Raises:
            SettingsError: a file of addresses cannot be read, or an address is none.
        """
        made: dict[str, _Served] = {}
        for one in settings:
            urls = tuple(read_urls(one, self._data))
            before = old.get(one.name)
            if before is not None and (before.settings, before.urls) == (one, urls):
                made[one.name] = before
                continue
            rule = make_rule(one)
            notifiers = tuple(
                Notifier(
                    f"{rule.name}/{number}", rule, self._channel(url, f"notify.{rule.name}, address {number}"),
                    path=self._path, notices=self._notices, queries=self._queries, now_us=self._now_us,
                    on_change=self._on_change, names=self._names,
                )
                for number, url in enumerate(urls, 1)
            )  # fmt: skip
            targets = [(f"{rule.name}/{number}", scheme_of(url)) for number, url in enumerate(urls, 1)]
            made[one.name] = _Served(settings=one, urls=urls, view=_show(one, targets), notifiers=notifiers)
        return made

    def start(self) -> None:
        """Starts a thread for each address."""
        db = open_reader(self._path)
        self._notices.open(db)
        db.close()
        with self._changing:
            self._is_running = True
            for notifier in self._all():
                notifier.start()

    def stop(self) -> None:
        """Ends them; what is on its way is answered and recorded first; safe twice."""
        with self._changing:
            self._is_running = False
            _end(self._all())

    def take(self, settings: Sequence[NotifySettings]) -> None:
        """Runs these rules from now on; those that are the same are not interrupted.

        Raises:
            SettingsError: one of them is wrong; the old ones go on.
        """
        with self._changing:
            old = self._served
            made = self._make(settings, old)
            same = {id(served) for served in made.values()}
            # An address has one record: the old thread has ended before the new one reads what was told.
            _end([one for served in old.values() if id(served) not in same for one in served.notifiers])
            kept = {id(served) for served in old.values()}
            self._served = made
            if self._is_running:
                for served in made.values():
                    for notifier in served.notifiers if id(served) not in kept else ():
                        notifier.start()

    def say(self, problem: str) -> None:
        """Keeps why the newest rules are not taken, for the page; empty where they are."""
        self._problem = problem

    def problem(self) -> str:
        """Returns why the newest rules are not taken; empty where they are."""
        return self._problem

    def wake(self, change: Change) -> None:
        """Has every notifier look, where alarms have changed; from any thread, does not wait."""
        if change.alarms:
            for notifier in self._all():
                notifier.wake()

    def _all(self) -> list[Notifier]:
        return [notifier for served in self._served.values() for notifier in served.notifiers]

    # ---- the page and the API -----------------------------------------------------------------

    def rules(self) -> list[NotifyRuleView]:
        """Returns the rules, without a secret of their addresses."""
        return [served.view for served in self._served.values()]

    def recent(self, limit: int) -> list[NoticeView]:
        """Returns the newest attempts, newest first."""
        db = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = open_reader(self._path)
        return [_view(row) for row in read_notices(db, limit)]

    def test(self, name: str, by: str) -> list[NoticeView] | None:
        """Sends a test to every address of a rule, and waits for the answers.

        Returns:
            The attempts that have been answered within ``TEST_WAIT_S``, or None where there is no such rule.
        """
        served = self._served.get(name)
        if served is None:
            return None
        numbers = []
        for future in [notifier.test(by) for notifier in served.notifiers]:
            try:
                numbers.append(future.result(timeout=TEST_WAIT_S))
            except FutureTimeoutError:
                pass  # it goes out when its turn comes, and is in the list of attempts then
        db = open_reader(self._path)
        try:
            return [_view(row) for row in read_by_number(db, numbers)]
        finally:
            db.close()


def _end(notifiers: Sequence[Notifier]) -> None:
    for notifier in notifiers:
        notifier.halt()
    for notifier in notifiers:
        notifier.stop()


def make_rule(settings: NotifySettings) -> Rule:
    """Returns the rule of one table of the settings."""
    return Rule(
        name=settings.name,
        severities=frozenset(settings.severities),
        gateways=tuple(settings.gateways),
        points=tuple(settings.points),
        lang=settings.lang,
        repeat_s=settings.repeat_s,
        quiet_s=settings.quiet_s,
        all_clear=settings.all_clear,
    )


def _show(settings: NotifySettings, targets: Sequence[tuple[str, str]]) -> NotifyRuleView:
    return NotifyRuleView(
        name=settings.name,
        targets=tuple(targets),
        severities=tuple(settings.severities),
        gateways=tuple(settings.gateways),
        points=tuple(settings.points),
        lang=settings.lang,
        repeat_s=settings.repeat_s,
        quiet_s=settings.quiet_s,
        all_clear=settings.all_clear,
    )


def _view(row: Row) -> NoticeView:
    id, target, kind, at_us, is_repeat, by, alarms, answered_us, outcome, detail = row
    return NoticeView(
        id=id, target=target, kind=kind, at_us=at_us, is_possible_repeat=bool(is_repeat), by=by, alarms=alarms,
        answered_us=answered_us, outcome=outcome, detail=detail or "",
    )  # fmt: skip
