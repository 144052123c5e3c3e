"""What probes of silent devices may cost the others on a line: an account, pure, times come in.

A silent device is asked again so that it is found when it returns (``device_state`` says when);
each such probe that gets no answer costs the line its whole time-out.  So probes have an
account: it fills with a share of the time and every probe is charged to it.

* A probe waits *short*: twice the device's slowest answer, or ``UNKNOWN_S`` where it never answered.
* The first probe, and from the ``LONG_PROBE``-th after it on another one, waits the whole ``max_reply_s``, because the
  device may have become slow: if the account can pay that, and at most one in ``LONG_REST_S`` on
  the line.  After ``LONG_ANYWAY`` short ones a long one goes out whatever the account says.
* While the account is empty a short probe goes out only when the device has waited its longest
  back-off: that it is found within ``device_state.RETURN_S`` counts more than the share.

Figures are engineering defaults of this project; what they cost is tested on the whole engine
(``tests/edge_agent/bus/test_laws.py``).
"""

from __future__ import annotations

#: of the line's time
PROBE_SHARE = 0.03
#: short probe of a device that never answered (seconds)
UNKNOWN_S = 0.3
#: after so many short probes one may wait the whole ``max_reply_s``
LONG_PROBE = 3
#: after so many one does, whatever the account says
LONG_ANYWAY = 12
#: between two long probes on one line (seconds)
LONG_REST_S = 20
#: the account begins with, and never holds more than, one of the longest probes and this (seconds)
_SPARE_S = 0.5


class ProbeAccount:
    """The probes of one line."""

    __slots__ = ("_at_us", "_balance_us", "_long_from_us", "_most_us", "spent_us")

    def __init__(self, now_us: int, longest_s: float) -> None:
        """Begins full.

        Args:
            longest_s: largest ``max_reply_s`` on the line.
        """
        self._at_us = now_us
        self._most_us = round((longest_s + _SPARE_S) * 1_000_000)
        self._balance_us = self._most_us
        self._long_from_us = now_us
        #: line time that probes took since the start
        self.spent_us = 0

    def fit(self, longest_s: float) -> None:
        """Goes on for a line whose largest ``max_reply_s`` is another one now."""
        self._most_us = round((longest_s + _SPARE_S) * 1_000_000)
        self._balance_us = min(self._balance_us, self._most_us)

    def allows(self, now_us: int, latest_us: int) -> bool:
        """Returns whether a silent device whose back-off is over may be probed now.

        Args:
            latest_us: when it has waited its longest back-off, monotonic us.
        """
        self._fill(now_us)
        return self._balance_us > 0 or now_us >= latest_us

    def wait_s(
        self, now_us: int, *, since_long: int, slowest_us: int | None, short_s: float, max_reply_s: float
    ) -> tuple[float, bool]:
        """Returns how long the next probe waits for an answer, seconds, and whether that is long.

        Args:
            since_long: probes of the device in a row since its last long one; ``LONG_PROBE`` before the first.
            slowest_us: slowest answer of the device ever; None: it never answered.
            short_s: the time-out of an ordinary request to it.
            max_reply_s: no reply of it comes later.
        """
        self._fill(now_us)
        if slowest_us is None:
            short_s = min(short_s, UNKNOWN_S)
        if short_s >= max_reply_s:
            return max_reply_s, True
        is_payable = since_long >= LONG_PROBE and self._balance_us >= max_reply_s * 1_000_000
        if now_us < self._long_from_us or not (is_payable or since_long >= LONG_ANYWAY):
            return short_s, False
        self._long_from_us = now_us + LONG_REST_S * 1_000_000
        return max_reply_s, True

    def charge(self, took_us: int) -> None:
        """Takes what a probe without an answer cost the line."""
        self._balance_us = max(self._balance_us - took_us, -self._most_us)
        self.spent_us += took_us

    def _fill(self, now_us: int) -> None:
        gained = int((now_us - self._at_us) * PROBE_SHARE)
        if gained:
            self._balance_us = min(self._balance_us + gained, self._most_us)
            self._at_us = now_us
