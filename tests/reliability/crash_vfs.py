"""Every file system operation of SQLite, recorded, and the states that a power cut may leave of it.

``RecordingVfs`` stands under the real spool code on real files: it passes everything on and writes
down each write, truncation, sync, creation and deletion.  ``Disk`` plays such a recording and builds, at any
moment, what a power cut there may leave:

* what was synced is there;
* of the writes since, any of their 512-byte sectors, in the order of writing, or none;
* a truncation that was not synced has happened or has not;
* a file made or removed since its directory was synced may be there or not.

After a sync that failed the kernel takes what was to be synced for clean: a later sync that succeeds does not
write it, unless something else was written to its page since.  A truncation is the file system's own record, which
the next sync writes; what was forgotten behind the new end is gone with it.

Sectors are whole: a disk that tears one, or that says it has synced and has not, is not modelled, nor is
damage to what was synced before.  When the directory is synced follows SQLite's unix VFS (os_unix.c:
the first sync of a journal or log that was opened to be made, and a deletion that asks for it).
The index of the log (``-shm``) is left out: it is memory, and made anew from the log.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512
#: of the kernel's cache
_PAGE = 4096
_SYNCS_DIRECTORY = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
_numbers = itertools.count(1)


class Does(Enum):
    """What an operation does."""

    CREATE = "create"
    WRITE = "write"
    TRUNCATE = "truncate"
    SYNC = "sync"
    #: a sync that returned an error: Linux calls the pages clean and forgets them (fsync(2), section Errors)
    FAILED_SYNC = "failed sync"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Op:
    """One operation on one file."""

    does: Does
    #: tells files apart that had the same name one after the other
    file: int
    name: str
    #: of a write; of a truncation the new length
    offset: int = 0
    data: bytes = b""
    #: whether the directory is synced with it
    with_directory: bool = False


@dataclass(slots=True)
class Recording:
    """Operations in order."""

    ops: list[Op] = field(default_factory=list)
    #: name -> file, as running programs see it
    names: dict[str, int] = field(default_factory=dict)
    #: asked before each sync of a file; True: it fails
    fails: Callable[[str], bool] = lambda name: False

    def add(self, op: Op) -> None:
        """Takes the next operation."""
        self.ops.append(op)

    def file(self, name: str) -> int:
        """Returns the file that has a name now; makes it where there is none."""
        if name not in self.names:
            self.names[name] = next(_numbers)
            self.add(Op(Does.CREATE, self.names[name], name))
        return self.names[name]


class _File(apsw.VFSFile):
    def __init__(self, recording: Recording, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._recording = recording
        self._name = os.path.basename(path) if path else ""
        self._syncs_directory = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & _SYNCS_DIRECTORY)
        # A file without a name is scratch space: nobody finds it after a cut.
        self._file = recording.file(self._name) if self._name else 0
        super().__init__("", name, flags)

    def _note(self, does: Does, **more: Any) -> None:
        if self._file:
            self._recording.add(Op(does, self._file, self._name, **more))

    def xWrite(self, data: Any, offset: int) -> None:
        self._note(Does.WRITE, offset=offset, data=bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self._note(Does.TRUNCATE, offset=newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        if self._file and self._recording.fails(self._name):
            self._note(Does.FAILED_SYNC)
            raise apsw.IOError("the disk of this test does not sync")
        self._note(Does.SYNC, with_directory=self._syncs_directory)
        self._syncs_directory = False
        super().xSync(flags)


class RecordingVfs(apsw.VFS):
    """The machine's own VFS, with everything written down."""

    def __init__(self, recording: Recording) -> None:
        """Registers it under a name of its own; it goes when nobody holds it any more."""
        self._recording = recording
        self.vfs_name = f"recording-{next(_numbers)}"
        super().__init__(self.vfs_name, "")

    def xOpen(self, name: Any, flags: list[int]) -> _File:
        return _File(self._recording, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        name = os.path.basename(filename)
        super().xDelete(filename, syncdir)
        if name in self._recording.names:
            file = self._recording.names.pop(name)
            self._recording.add(Op(Does.DELETE, file, name, with_directory=syncdir))

    def connect(self, path: Path) -> Callable[[], apsw.Connection]:
        """Returns a function that opens a database here."""
        return lambda: apsw.Connection(str(path), vfs=self.vfs_name)


#: a part of what is not synced: number of its operation, and of the sector in it
Unit = tuple[int, int]


@dataclass(slots=True)
class _Waiting:
    """An operation that is not synced."""

    number: int
    op: Op
    #: those of its sectors that are not on the disk for certain
    sectors: list[int]
    #: whether a sync of it has failed: the next one does not write it, unless its page was written to again
    is_forgotten: bool = False

    def cut_at(self, end: int) -> bool:
        """Leaves out the sectors that lie behind a new end of the file; returns whether any is left."""
        first = self.op.offset // SECTOR
        self.sectors = [sector for sector in self.sectors if (first + sector) * SECTOR < end]
        return bool(self.sectors)


@dataclass(slots=True)
class _Content:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[_Waiting] = field(default_factory=list)

    def sync(self) -> None:
        """Makes durable what the kernel still knows as written."""
        dirty = {page for item in self.pending if not item.is_forgotten for page in _pages(item.op, item.sectors)}
        left: list[_Waiting] = []
        for item in self.pending:
            here = item.sectors
            if item.is_forgotten:
                here = [sector for sector in here if not dirty.isdisjoint(_pages(item.op, [sector]))]
            if here:
                _apply(self.durable, item.op, here)
                if item.op.does is Does.TRUNCATE:
                    left = [kept for kept in left if kept.cut_at(item.op.offset)]
            if len(here) < len(item.sectors):
                item.sectors = [sector for sector in item.sectors if sector not in here]
                left.append(item)
        self.pending = left


class Disk:
    """Plays a recording, operation by operation."""

    def __init__(self) -> None:
        """Is empty."""
        self._files: dict[int, _Content] = {}
        self._names: dict[str, int] = {}
        self._directory: list[tuple[int, Op]] = []
        self._count = 0
        #: grows whenever something becomes durable
        self.synced = 0

    def play(self, op: Op) -> None:
        """Does one operation."""
        self._count += 1
        numbered = (self._count, op)
        if op.does is Does.CREATE:
            self._files[op.file] = _Content()
            self._directory.append(numbered)
        elif op.does is Does.DELETE:
            self._directory.append(numbered)
        elif op.does is Does.SYNC:
            self._files[op.file].sync()
            self.synced += 1
        elif op.does is Does.FAILED_SYNC:
            for item in self._files[op.file].pending:
                item.is_forgotten = item.op.does is Does.WRITE
        else:
            self._files[op.file].pending.append(_Waiting(self._count, op, list(range(_sectors(op)))))
        if op.with_directory:
            self._names = self._entries(None)
            self._directory.clear()
            self.synced += 1

    def units(self) -> list[Unit]:
        """Returns what is not synced, in the order of the operations."""
        found: list[Unit] = [(number, 0) for number, _ in self._directory]
        for content in self._files.values():
            for item in content.pending:
                found += [(item.number, sector) for sector in item.sectors]
        found.sort()
        return found

    def _entries(self, chosen: frozenset[Unit] | None) -> dict[str, int]:
        names = dict(self._names)
        for number, op in self._directory:
            if chosen is not None and (number, 0) not in chosen:
                continue
            if op.does is Does.CREATE:
                names[op.name] = op.file
            elif names.get(op.name) == op.file:
                del names[op.name]
        return names

    def after_cut(self, chosen: frozenset[Unit]) -> dict[str, bytes]:
        """Returns name -> bytes of the files when of what is not synced only these units have reached the disk."""
        return {name: self._bytes(file, chosen) for name, file in self._entries(chosen).items()}

    def now(self) -> dict[str, bytes]:
        """Returns name -> bytes of the files as running programs see them."""
        return self.after_cut(frozenset(self.units()))

    def _bytes(self, file: int, chosen: frozenset[Unit]) -> bytes:
        content = self._files[file]
        data: bytearray | None = None
        for item in content.pending:
            here = [sector for sector in item.sectors if (item.number, sector) in chosen]
            if here:
                data = bytearray(content.durable) if data is None else data
                _apply(data, item.op, here)
        return bytes(content.durable if data is None else data)


def _sectors(op: Op) -> int:
    """Returns on how many sectors an operation lies."""
    if op.does is not Does.WRITE or not op.data:
        return 1
    return (op.offset + len(op.data) - 1) // SECTOR - op.offset // SECTOR + 1


def _pages(op: Op, sectors: list[int]) -> set[int]:
    """Returns the pages of the kernel's cache on which sectors of a write lie; a truncation has none."""
    if op.does is not Does.WRITE:
        return set()
    first = op.offset // SECTOR
    return {(first + sector) * SECTOR // _PAGE for sector in sectors}


def _apply(data: bytearray, op: Op, sectors: list[int]) -> None:
    if op.does is Does.TRUNCATE:
        del data[op.offset :]
        data.extend(bytes(op.offset - len(data)))
        return
    if len(sectors) == _sectors(op):
        _put(data, op.offset, op.data)
        return
    first = op.offset // SECTOR
    for sector in sectors:
        start = max(op.offset, (first + sector) * SECTOR)
        end = min(op.offset + len(op.data), (first + sector + 1) * SECTOR)
        _put(data, start, op.data[start - op.offset : end - op.offset])


def _put(data: bytearray, offset: int, piece: bytes) -> None:
    if offset > len(data):
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(piece)] = piece


def choose(units: list[Unit], chance: random.Random) -> frozenset[Unit]:
    """Returns some of the units; the ways of choosing are those in which disks and caches go wrong.

    None, all, a beginning, an end, all but one, one alone, each with some probability; by whole
    operations or torn into sectors.
    """
    if not units:
        return frozenset()
    way = chance.randrange(8)
    if way == 0:
        return frozenset(units) if chance.random() < 0.5 else frozenset()
    if way == 1:
        return frozenset(units[: chance.randrange(len(units) + 1)])
    if way == 2:
        return frozenset(units[chance.randrange(len(units)) :])
    if way == 3:
        return frozenset(units) - {chance.choice(units)}
    if way == 4:
        return frozenset({chance.choice(units)})
    likely = 0.5 if way == 5 else chance.random()
    if way == 7:
        whole = {number for number in dict.fromkeys(number for number, _ in units) if chance.random() < likely}
        return frozenset(unit for unit in units if unit[0] in whole)
    return frozenset(unit for unit in units if chance.random() < likely)
