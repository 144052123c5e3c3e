"""The last known good time: what it was, at least, when something last vouched for this gateway's clock.

One small file in the state directory, written seldom (every six hours at most, 4 kB each), so that the
card does not notice.  A gateway whose clock forgot everything still knows that it is not earlier than
this; the dates of the broker's certificate are judged by it (``tls.py``).  It is never used to set
a clock.  A time that is vouched for and lies before the kept one replaces it: what was kept was wrong.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from contracts.batch import Anchor, ClockState
from contracts.keys import write_atomically
from edge_agent.clock import NEVER_BEFORE_US

_LOG = logging.getLogger(__name__)
FILE_NAME = "last_good_time.json"
#: the file is written when the time has moved on by this much (us)
_EVERY_US = 6 * 3_600_000_000
#: the kept time is corrected when a vouched one lies this much before it (us)
_BACK_US = 60_000_000
_VOUCHED = frozenset({ClockState.SYNCHRONISED, ClockState.COLLECTOR})


class LastGoodTime:
    """Reads the file when first asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept_us: int | None = None
        self._said = False

    def us(self) -> int:
        """Returns the last known good time, UTC us; at least when this program was made."""
        if self._kept_us is None:
            self._kept_us = max(NEVER_BEFORE_US, _read(self._path))
        return self._kept_us

    def offer(self, anchor: Anchor) -> bool:
        """Keeps the time of an anchor that something vouches for, when it is worth a write; returns whether it did.

        Writes to the disk and may wait for it.  A disk that takes nothing is said once.
        """
        if anchor.state not in _VOUCHED:
            return False
        sure_us = anchor.wall_us - (anchor.uncertainty_ms or 0) * 1000
        before_us = self.us()
        if before_us - _BACK_US <= sure_us < before_us + _EVERY_US or sure_us < NEVER_BEFORE_US:
            return False
        if sure_us < before_us:
            _LOG.warning("the last known good time was %d s ahead of the clock that is vouched for now: corrected",
                         (before_us - sure_us) // 1_000_000)  # fmt: skip
        self._kept_us = sure_us
        try:
            write_atomically(self._path, (json.dumps({"utc_us": sure_us}) + "\n").encode(), mode=0o600)
            self._said = False
        except OSError as error:
            if not self._said:
                _LOG.warning("the time cannot be kept for the next start: %s: %s", self._path, error.strerror or error)
            self._said = True
        return True


def _read(path: Path) -> int:
    try:
        kept = json.loads(path.read_text())["utc_us"]
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        _LOG.warning("%s cannot be read (%s): the last known good time is when this program was made", path, error)
        return 0
    # A file that claims the year 3000 would lock the broker out for ever.
    return kept if type(kept) is int and 0 <= kept < 7_258_118_400_000_000 else 0
