"""All rules as they run: builds a notifier for each address, wakes them, and answers the page and the API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
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
        self._notices = NoticeLog(run)
        self._local = threading.local()
        self._rules: list[NotifyRuleView] = []
        self._notifiers: dict[str, list[Notifier]] = {}
        for one in settings:
            rule = make_rule(one)
            targets: list[tuple[str, str]] = []
            notifiers: list[Notifier] = []
            for number, url in enumerate(read_urls(one, data), 1):
                target = f"{rule.name}/{number}"
                made = channel(url, f"notify.{rule.name}, address {number}")
                targets.append((target, scheme_of(url)))
                notifiers.append(
                    Notifier(
                        target, rule, made, path=path, notices=self._notices, queries=queries, now_us=now_us,
                        on_change=on_change, names=names,
                    )
                )  # fmt: skip
            self._notifiers[rule.name] = notifiers
            self._rules.append(_show(one, targets))

    def start(self) -> None:
        """Starts a thread for each address."""
        db = open_reader(self._path)
        self._notices.open(db)
        db.close()
        for notifier in self._all():
            notifier.start()

    def stop(self) -> None:
        """Ends them; what is on its way is answered and recorded first; safe twice."""
        for notifier in self._all():
            notifier.halt()
        for notifier in self._all():
            notifier.stop()

    def wake(self, change: Change) -> None:
        """Has every notifier look, where alarms have changed; from any thread, does not wait."""
        if change.alarms:
            for notifier in self._all():
                notifier.wake()

    def _all(self) -> list[Notifier]:
        return [notifier for notifiers in self._notifiers.values() for notifier in notifiers]

    # ---- the page and the API -----------------------------------------------------------------

    def rules(self) -> list[NotifyRuleView]:
        """Returns the rules, without a secret of their addresses."""
        return list(self._rules)

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
        notifiers = self._notifiers.get(name)
        if notifiers is None:
            return None
        numbers = []
        for future in [notifier.test(by) for notifier in notifiers]:
            try:
                numbers.append(future.result(timeout=TEST_WAIT_S))
            except FutureTimeoutError:
                pass  # it goes out when its turn comes, and is in the list of attempts then
        db = open_reader(self._path)
        try:
            return [_view(row) for row in read_by_number(db, numbers)]
        finally:
            db.close()


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
    )


def _view(row: Row) -> NoticeView:
    id, target, kind, at_us, is_repeat, by, alarms, answered_us, outcome, detail = row
    return NoticeView(
        id=id, target=target, kind=kind, at_us=at_us, is_possible_repeat=bool(is_repeat), by=by, alarms=alarms,
        answered_us=answered_us, outcome=outcome, detail=detail or "",
    )  # fmt: skip
