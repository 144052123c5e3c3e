"""What the agent tells systemd: ready, alive, stopping, and one line of status.

The protocol is one datagram per message to the socket named by ``NOTIFY_SOCKET`` (see
sd_notify(3)); without that variable nothing is sent.  A failed send is no failure of the
agent, so nothing here raises after construction.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends state lines to the service manager, if there is one."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL byte of an abstract socket name.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._watchdog_us = _positive(environment.get("WATCHDOG_USEC", ""))
        pid = environment.get("WATCHDOG_PID", "")
        if pid and pid != str(os.getpid()):
            self._watchdog_us = None

    @property
    def is_active(self) -> bool:
        """Whether a service manager listens."""
        return bool(self._address)

    @property
    def watchdog_interval_s(self) -> float | None:
        """Half of the time after which systemd would kill us, or None when it does not watch."""
        return None if self._watchdog_us is None else self._watchdog_us / 2_000_000

    def ready(self) -> None:
        """The spool is open, the plan is loaded, polling has begun."""
        self._send("READY=1")

    def reloading(self, mono_us: int) -> None:
        """A reload has begun; ``ready`` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={mono_us}")

    def alive(self) -> None:
        """The loops move."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send("STATUS=" + text.replace("\n", " "))

    def stopping(self) -> None:
        """The last seal and the last goodbye are under way."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            ) as sender:
                sender.sendto(message.encode(), self._address)
        except OSError:
            # The manager has gone, or its queue is full; the next message says the same or newer.
            return


def _positive(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else None
