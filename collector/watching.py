"""Watching: asks a gateway for ten minutes of live data, because somebody looks at it.

A gateway on a link that is paid by volume sends ordinary data once a minute; while it is watched it sends them
as on a LAN.  The collector says so in a signed command with an end by the gateway's own monotonic clock
(docs/wire-format.md, Command), which it reckons from what it heard: the least delayed batch or ask of the
newest boot.  Nothing is kept: a broker keeps no command for a gateway that is away, so it is said again when the
gateway asks, and after a restart of the collector whoever still looks asks again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from contracts.envelope import Type, seal
from contracts.keys import Signer
from contracts.messages import WATCH, Command
from contracts.topics import Channel, topic

#: how long a gateway is asked for live data (s)
WATCH_S = 600
#: somebody who looks again is asked for anew only where it adds this much (s)
_WORTH_S = 60
#: boots of a gateway that are remembered, so that an old ask that comes again is not taken for a new boot
_PAST = 32


def monotonic_us() -> int:
    """Returns this machine's monotonic clock, us."""
    return time.monotonic_ns() // 1000


@dataclass(slots=True, kw_only=True)
class _Gateway:
    """What is known of one gateway's clock, and who looks."""

    boot_id: bytes = b""
    boot_counter: int = -1
    #: its clock minus ours, at least (us); None before anything was heard
    offset_us: int | None = None
    #: our clock, us
    until_us: int = 0
    said_until_us: int = 0
    #: boots before that one, newest last
    past: tuple[bytes, ...] = ()
    by: str = ""


class Watching:
    """Remembers who looks and says so to gateways; safe to call from any thread."""

    def __init__(
        self,
        signer: Signer,
        publish: Callable[[str, bytes], None],
        *,
        now_us: Callable[[], int] = monotonic_us,
        wall_us: Callable[[], int],
    ) -> None:
        """Takes what it needs.

        Args:
            publish: topic and payload.
            now_us: our monotonic clock.
            wall_us: UTC us; serials begin at it, so that they grow over restarts.
        """
        self._signer, self._publish = signer, publish
        self._now_us, self._wall_us = now_us, wall_us
        self._gateways: dict[str, _Gateway] = {}
        self._serial = 0
        self._lock = threading.Lock()

    def watch(self, gateway: str, by: str) -> int:
        """Asks for live data; returns for how many seconds from now they are asked for.

        Args:
            gateway: id of one that is known.
            by: who asked, and from where; at most 128 bytes travel.
        """
        with self._lock:
            now = self._now_us()
            known = self._gateways.setdefault(gateway, _Gateway())
            until_us = now + WATCH_S * 1_000_000
            if until_us - known.until_us >= _WORTH_S * 1_000_000:
                known.until_us = until_us
                known.by = by.encode()[:128].decode(errors="ignore")
            said = self._say(gateway, known, now)
            left_s = (known.until_us - now) // 1_000_000
        self._send(said)
        return left_s

    def heard(self, gateway: str, *, boot_id: bytes, boot_counter: int, mono_us: int, has_asked: bool = False) -> None:
        """Learns a gateway's clock from something verified that has just come.

        Args:
            mono_us: its monotonic time when that was made.
            has_asked: whether it was an ask: the gateway has just connected.
        """
        with self._lock:
            now = self._now_us()
            known = self._gateways.setdefault(gateway, _Gateway())
            offset_us = mono_us - now
            # A machine whose store was made anew counts its boots from 1 again: its ask is of a boot never heard.
            is_later = boot_counter > known.boot_counter or has_asked
            if is_later and boot_id not in known.past:
                if known.boot_id != boot_id:
                    known.past = (*known.past[1 - _PAST :], known.boot_id)
                    known.offset_us = None
                    known.said_until_us = 0
                known.boot_id, known.boot_counter = boot_id, boot_counter
            if boot_id != known.boot_id:
                return
            if known.offset_us is None or offset_us > known.offset_us:
                known.offset_us = offset_us
            if has_asked:
                known.said_until_us = 0
            said = self._say(gateway, known, now)
        self._send(said)

    def _say(self, gateway: str, known: _Gateway, now_us: int) -> tuple[str, bytes] | None:
        """Returns a command where there is something new to say that the gateway can understand."""
        if known.offset_us is None or known.until_us <= now_us or known.until_us == known.said_until_us:
            return None
        known.said_until_us = known.until_us
        self._serial = max(self._serial + 1, self._wall_us())
        command = Command(
            gateway=gateway,
            boot_id=known.boot_id,
            serial=self._serial,
            until_us=known.until_us + known.offset_us,
            word=WATCH,
            by=known.by,
        )
        return topic(gateway, Channel.COMMAND), seal(Type.COMMAND, command.to_body(), self._signer)[0]

    def _send(self, said: tuple[str, bytes] | None) -> None:
        if said is not None:
            self._publish(*said)
