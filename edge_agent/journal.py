"""What persons did to instruments through this gateway (written, numbered, replaced, visited): a line each, for good.

    {"at": "2026-06-01T08:00:00Z", "kind": "written", "text": "..."}

The running agent also seals what goes through it as a note into its next batch; this file is what there is
where no agent ran.  Nothing here is ever taken out or sent.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.control import ask
from edge_agent.errors import NotRunningError, StateDirError
from edge_agent.state_dir import CONTROL, give_to_owner, unusable

FILE = "journal.jsonl"
#: kinds of entries
KINDS = ("written", "numbered", "replaced", "visited", "proof-test")
#: what fits a note of a batch
MAX_TEXT = 900


def _now() -> datetime:
    return datetime.now(UTC)


def write_journal(folder: Path, kind: str, text: str, now: Callable[[], datetime] = _now) -> None:
    """Adds a line, durably; makes the folder where there is none.

    Args:
        folder: the state directory.
        kind: one of KINDS.
        text: who did what; cut after 900 characters.

    Raises:
        StateDirError: the line cannot be written.
    """
    entry = {"at": now().strftime("%Y-%m-%dT%H:%M:%SZ"), "kind": kind, "text": text[:MAX_TEXT]}
    path = folder / FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            give_to_owner(folder, descriptor)
            line = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
            if _is_torn(descriptor):
                line = b"\n" + line
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unusable(path, error) from error


def is_in_journal(folder: Path, text: str) -> bool:
    """Returns whether some line holds a text; a file that cannot be read holds none."""
    try:
        return text.encode() in (folder / FILE).read_bytes()
    except OSError:
        return False


def _is_torn(descriptor: int) -> bool:
    """Whether the last line has no end: the power went, or the disk was full."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def keep_journal(folder: Path, kind: str, text: str, *, through_agent: bool) -> None:
    """Adds a line; where this user may not write the file, the running agent seals it instead.

    Args:
        folder: the state directory.
        kind: one of KINDS.
        text: who did what.
        through_agent: whether it is done through the running agent.

    Raises:
        StateDirError: the line cannot be written, and no agent takes it.
        ControlError: the agent refuses it.
    """
    try:
        write_journal(folder, kind, text)
    except StateDirError:
        if not (through_agent and seal_journal(folder, kind, text)):
            raise


def seal_journal(folder: Path, kind: str, text: str) -> bool:
    """Has the running agent seal a line; returns whether one runs.

    Raises:
        ControlError: it runs and refused.
    """
    try:
        ask(folder / CONTROL, "journal", kind=kind, text=text[:MAX_TEXT])
    except NotRunningError:
        return False
    return True
