"""Watching: until when somebody wants live data of this gateway.  Pure: no clock, no link.

A command is taken when it names this gateway and this boot, has a greater serial than every one taken
before, and is not over by this gateway's own monotonic clock (``docs/wire-format.md``, Command).  Who signed it
is verified before it comes here.
"""

from __future__ import annotations

from enum import Enum

from contracts.messages import WATCH, Command

#: nobody watches for longer than this without asking again (us)
LONGEST_US = 3_600_000_000


class Heard(Enum):
    """What became of a command."""

    TAKEN = "taken"
    OTHER_GATEWAY = "it is for another gateway"
    OTHER_BOOT = "it is for another boot"
    REPEATED = "its serial is not newer"
    OVER = "its time is over"
    UNKNOWN = "its word is not known"


class Watched:
    """Remembers until when, and which serial was the last."""

    def __init__(self, gateway: str, boot_id: bytes) -> None:
        self._gateway, self._boot_id = gateway, boot_id
        self._serial = -1
        #: monotonic us; 0: nobody has watched
        self.until_us = 0
        #: who asked last
        self.by = ""

    def hear(self, command: Command, now_us: int) -> Heard:
        """Takes a verified command, or says why not."""
        if command.gateway != self._gateway:
            return Heard.OTHER_GATEWAY
        if command.boot_id != self._boot_id:
            return Heard.OTHER_BOOT
        if command.serial <= self._serial:
            return Heard.REPEATED
        if command.until_us <= now_us:
            return Heard.OVER
        self._serial = command.serial
        if command.word != WATCH:
            return Heard.UNKNOWN
        self.until_us = max(self.until_us, min(command.until_us, now_us + LONGEST_US))
        self.by = command.by
        return Heard.TAKEN

    def is_on(self, now_us: int) -> bool:
        """Whether somebody watches."""
        return now_us < self.until_us
