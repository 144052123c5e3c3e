"""Damaged spools are renamed and kept; nothing here or elsewhere removes one.

    spool.db.damaged-20261122T070312Z          with ``-wal`` and ``-shm`` where there were such files

The time is that of the wall clock, which may have been wrong.  They are not part of the spool's quota: on a disk
that they fill, the spool lives within the pages that it has, and ``edge-agent spool status`` shows them
to whoever can decide.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import SpoolError

#: a spool's own files
SUFFIXES = ("", "-wal", "-shm", "-journal")
_MARK = ".damaged-"
_DAMAGED = "the spool was damaged"
#: at most this many are kept beside the spool: the next one stays in its place, and readings stay in memory
_MOST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """One file that was put aside."""

    path: Path
    #: with its log
    bytes: int


def kept_aside(path: Path) -> tuple[Aside, ...]:
    """Returns the damaged files beside a spool, by name."""
    found: dict[Path, int] = {}
    try:
        for item in path.parent.glob(f"{path.name}{_MARK}*"):
            name = next((item.name.removesuffix(suffix) for suffix in SUFFIXES[1:] if item.name.endswith(suffix)), "")
            place = item.with_name(name or item.name)
            found[place] = found.get(place, 0) + item.stat().st_size
    except OSError:
        return ()
    return tuple(Aside(path=place, bytes=size) for place, size in sorted(found.items()))


def put_aside(path: Path) -> tuple[Path, str]:
    """Renames a damaged spool with its log.

    Returns:
        The new path, and a sentence that names it.

    Raises:
        SpoolError: it cannot be renamed, or too many lie there already; somebody should look.
    """
    aside = _free_name(path)
    try:
        # The log first: a file without its log is older, a log beside another file damages that one.
        for suffix in ("-wal", "-shm", ""):
            here = path.with_name(path.name + suffix)
            if here.exists():
                here.rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise SpoolError(f"the damaged spool {path} cannot be put aside: {error.strerror}") from error
    return aside, f"{_DAMAGED} and is kept as {aside.name}"


def reason_of(sentence: str) -> str:
    """Returns the reason on the wire (docs/wire-format.md, Genesis) for a sentence that says why a file is new."""
    return "spool_damaged" if sentence.startswith(_DAMAGED) else "spool_lost"


def put_log_aside(path: Path) -> str | None:
    """Renames a log whose file is gone or empty: SQLite would delete it.  Returns a sentence where there was one.

    Raises:
        SpoolError: it cannot be renamed.
    """
    log = path.with_name(path.name + "-wal")
    if _size(path) or not _size(log):
        return None
    aside = _free_name(path)
    try:
        log.rename(aside.with_name(aside.name + "-wal"))
    except OSError as error:
        raise SpoolError(f"the log {log} cannot be put aside: {error.strerror}") from error
    return f"its log is kept as {aside.name}-wal"


def has_lost_its_log(path: Path) -> bool:
    """Returns whether a spool lies there without the log that it always has."""
    return _size(path) > 0 and not path.with_name(path.name + "-wal").exists()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _free_name(path: Path) -> Path:
    taken = {item.path for item in kept_aside(path)}
    if len(taken) >= _MOST:
        raise SpoolError(f"{_MOST} damaged spools lie beside {path}: look at them and move them away")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = [
        path.with_name(f"{path.name}{_MARK}{stamp}{more}") for more in ("", *(f"-{n}" for n in range(2, _MOST + 2)))
    ]
    return next(name for name in names if name not in taken)
