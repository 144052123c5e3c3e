"""Rules that change while the collector runs: the settings file and the files of addresses are looked at.

A look every ``EVERY_S`` seconds; what is there is read when a file has changed, and has not since the look before,
so that nobody's half of a file is taken for rules.  Rules that are wrong change nothing, nor does a settings file
that is gone: the old ones go on, and the sentence is on the page of notification.
Only ``[[notify]]`` is taken; all else in the file counts at the next start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from collector.errors import CollectorError, SettingsError
from collector.settings import NotifySettings, load_settings

_LOG = logging.getLogger(__name__)
#: between two looks at the files (s)
EVERY_S = 2.0

#: what tells that a file is another one: name, size, time of change; None where it is not there
Look = tuple[str, tuple[int, int, int] | None]


class Board(Protocol):
    """Runs rules."""

    def take(self, settings: Sequence[NotifySettings]) -> None:
        """Runs these rules from now on; raises SettingsError and goes on with the old ones where one is wrong."""
        ...

    def say(self, problem: str) -> None:
        """Keeps why the newest rules are not taken, for the page; empty where they are."""
        ...


class RulesFile:
    """Looks at the files in a thread of its own; start once, stop safe twice."""

    def __init__(
        self,
        path: Path,
        data: Path,
        board: Board,
        running: Sequence[NotifySettings],
        *,
        read: Callable[[Path], Sequence[NotifySettings]] = lambda path: load_settings(path).notify,
    ) -> None:
        """Takes the settings file, the folder that files of addresses are named from, and the rules that run now."""
        self._path = path
        self._data = data
        self._board = board
        self._read = read
        #: the newest that could be read, taken or not: their files are looked at
        self._rules = tuple(running)
        self._seen = self._before = self._look()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, name="notify rules", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; safe twice."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=15)
            self._thread = None

    def look(self) -> bool:
        """Looks once; returns whether the rules were read anew, and tells the board what became of it."""
        before, seen = self._before, self._look()
        self._before = seen
        if seen == self._seen or seen != before:
            return False
        self._seen = seen
        try:
            if seen[0][1] is None:
                raise SettingsError(f"{self._path} is gone; a file without [[notify]] ends notification")
            self._rules = tuple(self._read(self._path))
            # Now with the files that the new rules name, as they are before they are read.
            self._seen = self._before = (seen[0], *self._look()[1:])
            self._board.take(self._rules)
        except CollectorError as error:
            _LOG.error("the rules of notification were changed and are not taken: %s", error)
            self._board.say(str(error))
            return True
        self._board.say("")
        _LOG.warning("the rules of notification were changed and are taken")
        return True

    def _look(self) -> tuple[Look, ...]:
        paths = [self._path, *(self._data / rule.urls_file for rule in self._rules if rule.urls_file)]
        return tuple((str(path), _stamp(path)) for path in paths)

    def _run(self) -> None:
        while not self._stopped.wait(EVERY_S):
            try:
                self.look()
            except Exception:
                # The outermost loop: a defect here must not end the looking, nor anything else.
                _LOG.exception("the rules of notification could not be looked at")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
