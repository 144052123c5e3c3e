"""Which boot this is: the kernel's boot id, and a counter of ours kept beside the key.

The counter is not in the spool, so that it goes on when the spool is lost.  It orders
boots that had no wall clock.  A file that cannot be read starts the counter again at 1 and
says so; the collector then orders by first arrival.
"""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path

from contracts.keys import write_atomically
from edge_agent.seal import Boot

_LOG = logging.getLogger(__name__)
#: the wire carries no larger one
_MOST = (1 << 32) - 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_boot_id(path: Path = _BOOT_ID) -> bytes:
    """Returns the 16 bytes of the kernel's boot id; random ones where there is none."""
    try:
        return uuid.UUID(path.read_text().strip()).bytes
    except (OSError, ValueError):
        return uuid.uuid4().bytes


def count_boot(path: Path, boot_id: bytes) -> Boot:
    """Returns this boot with its number; a boot not seen before gets the next one.

    A counter that cannot be written (disk full or read-only) is used all the same: the next boot
    may then have the same number, which the collector settles by first arrival.
    """
    known, counter = "", 0
    try:
        document = json.loads(path.read_text())
        known, counter = str(document["boot_id"]), max(0, min(int(document["counter"]), _MOST))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        _LOG.warning("boot counter %s cannot be read (%s): counting from 1 again", path, error)
    if known != boot_id.hex() or counter < 1:
        counter = min(counter + 1, _MOST)
        text = json.dumps({"boot_id": boot_id.hex(), "counter": counter}) + "\n"
        try:
            write_atomically(path, text.encode(), mode=0o600)
        except OSError as error:
            _LOG.error("boot counter %d cannot be kept: %s: %s", counter, path, error.strerror or error)
    return Boot(boot_id=boot_id, counter=counter)
