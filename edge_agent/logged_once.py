"""Says once in the log that something is wrong, and once that it is over, however often it happens in between.

A line a second for weeks wears the card and hides all else.  What is counted is in health; this is only for
what would else be said again and again.
"""

from __future__ import annotations

import logging

#: kinds that are remembered; when there are more, all may be said again
_MOST = 64


class LoggedOnce:
    """What stands in the log and is not over."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._standing: set[str] = set()

    def fault(self, kind: str, error: BaseException, message: str, *arguments: object) -> None:
        """Says a defect with its traceback, unless the same one of this kind stands."""
        key = f"{kind}\0{type(error).__name__}: {error}"
        if self._is_new(key):
            self._log.error(message, *arguments, exc_info=error)

    def gone(self, kind: str, message: str, *arguments: object, level: int = logging.ERROR) -> None:
        """Says that something went wrong, unless that stands."""
        if self._is_new(kind):
            self._log.log(level, message, *arguments)

    def back(self, kind: str, message: str, *arguments: object) -> None:
        """Says that it is over, where it stood."""
        standing = {key for key in self._standing if key.partition("\0")[0] == kind}
        if standing:
            self._standing -= standing
            self._log.info(message, *arguments)

    def _is_new(self, key: str) -> bool:
        if key in self._standing:
            return False
        if len(self._standing) >= _MOST:
            self._standing.clear()
        self._standing.add(key)
        return True
