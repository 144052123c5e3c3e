"""What the web side needs from the rest of the collector, besides ``collector.views.Queries``.

The collector's core implements these; tests hand in their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from collector.views import AlarmView, Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """Facts about this collector that do not change while it runs."""

    version: str
    #: UTC us
    started_us: int
    #: the collector's public key, one line, as gateways pin it
    collector_key: str
    #: whether the broker runs inside this process
    embedded_broker: bool


class Actions(Protocol):
    """What a person may do here.  Safe to call from any thread."""

    def acknowledge(self, alarm_id: str, by: str, note: str, source: str) -> AlarmView | None:
        """Adds the record that ``by`` has seen the alarm; clears and resets nothing.

        Args:
            alarm_id: hex id of the event that raised it.
            by: the name that was typed in, 1 to 64 characters, not blank.
            note: free text, 0 to 500 characters.
            source: where the words came from, such as ``page 127.0.0.1``.

        Returns:
            The alarm as it is now, or None where no such alarm is known.
        """
        ...

    def unacknowledge(self, alarm_id: str, by: str, note: str, source: str) -> AlarmView | None:
        """Adds the record that ``by`` takes the acknowledgement back; as :meth:`acknowledge`."""
        ...

    def warn(self, alarm_id: str, by: str, note: str, source: str) -> AlarmView | None:
        """Makes a trial alarm a real warning, which pages; as :meth:`acknowledge`.

        Raises:
            NotOnTrialError: it is not held back for trial.
        """
        ...

    def note_shown(self, alarm_ids: Sequence[str]) -> None:
        """Notes that alarms stand on a page that somebody has open; the first time counts.  Does not wait."""
        ...


class Changes(Protocol):
    """Tells live pages what a commit has changed."""

    def subscribe(self) -> AsyncIterator[Change]:
        """Returns changes from now on; one iterator per listener, closed by its ``aclose`` if it has one.

        An iterator that ends tells the page to come back later, so closing them all lets the
        HTTP server stop at once.
        """
        ...
