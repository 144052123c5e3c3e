"""Rows of a damaged spool, read from its pages one by one, without SQLite.

A walk down a b-tree ends at the first page that is damaged, and everything below it is out of reach.
So nobody walks here: every page that looks like a leaf is read for itself, in the file and in its log,
and a row counts when its own bytes are all there and its checksum is right.  That a row is signed is
for ``salvage.py`` to find out; without that nothing read here proves anything.  Rows that were deleted
and not yet written over are found as well.

The layout is that of SQLite's "Database File Format" (fileformat2.html: sections 1.3 header,
1.6 b-tree pages, 1.7 overflow pages, 2.1 records, 4.1 the log).  Nothing is written.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from edge_agent.errors import SpoolError
from edge_agent.spool_open import PAGE_BYTES
from edge_agent.spool_records import is_whole_row

_MAGIC = b"SQLite format 3\0"
_FILE_HEADER = 100
_LOG_HEADER, _FRAME_HEADER = 32, 24
_INDEX_INTERIOR, _INDEX_LEAF, _TABLE_LEAF = 0x02, 0x0A, 0x0D
#: bytes of the values of serial types 0 to 9
_SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
#: page sizes of spools; files that were made with 1024 are still in use
_EVER = (PAGE_BYTES, 1024)
#: so many rows tell the size of the pages that they lie on
_ENOUGH_ROWS = 1000
#: no row of a spool is longer: an envelope of 256 kB, and what stands beside it
_LONGEST_ROW = 300_000
#: columns of tables ``batch`` and ``catalogue`` (spool_schema.sql)
_BATCH, _CATALOGUE = 7, 2

Place = tuple[int, int, int]


class _Bytes(Protocol):
    """What is read of a file: ``bytes`` or a map of it."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A row of table ``batch`` whose checksum is right."""

    #: for :meth:`SpoolPages.read`
    place: Place
    id: int
    digest: bytes
    first_us: int | None
    last_us: int | None
    envelope: bytes


class SpoolPages:
    """The pages of one spool file and its log; a context manager."""

    def __init__(self, path: Path) -> None:
        """Opens nothing yet."""
        self._path = path
        self._stack = ExitStack()
        self._file: _Bytes = b""
        self._log: _Bytes = b""
        self._page = PAGE_BYTES
        #: page number -> place of its newest copy in the log; only of frames that belong together, and of all
        self._current: dict[int, int] = {}
        self._any: dict[int, int] = {}

    def __enter__(self) -> SpoolPages:
        """Maps the files.

        Raises:
            SpoolError: there is no such file, or it cannot be read.
        """
        try:
            log = self._path.with_name(self._path.name + "-wal")
            self._log = self._map(log) if log.exists() else b""
            # A log alone is what is left of a spool that was removed.
            self._file = self._map(self._path) if self._path.exists() or not self._log else b""
        except OSError as error:
            self._stack.close()
            raise SpoolError(f"{error.filename or self._path}: {error.strerror}") from error
        self._page = self._page_size()
        self._read_log()
        return self

    def __exit__(self, *exc: object) -> None:
        self._file = self._log = b""
        self._stack.close()

    def _map(self, path: Path) -> _Bytes:
        file = self._stack.enter_context(path.open("rb"))
        if path.stat().st_size == 0:
            return b""
        return self._stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    @property
    def size(self) -> int:
        """Bytes of the file and its log."""
        return len(self._file) + len(self._log)

    def _page_size(self) -> int:
        head = self._file[0:18]
        told = [int.from_bytes(head[16:18], "big")] if head.startswith(_MAGIC) else []
        told.append(int.from_bytes(self._log[8:12], "big"))
        plausible = (size for size in told if 512 <= size <= 32768 and size & (size - 1) == 0)
        return next(plausible, None) or max(_EVER, key=self._rows_with)

    def _rows_with(self, page: int) -> int:
        """Returns how many rows there are if pages have this size; no more than tell it."""
        self._page = page
        return sum(1 for _ in islice(self.batches(), _ENOUGH_ROWS))

    def _read_log(self) -> None:
        salts = self._log[16:24]
        newest = int.from_bytes(salts[:4], "big")
        ages: dict[int, int] = {}
        for at in self._frames():
            head = self._log[at - _FRAME_HEADER : at]
            number = int.from_bytes(head[:4], "big")
            # The first salt grows by one each time the log begins anew: behind its end lie older and older frames.
            age = (newest - int.from_bytes(head[8:12], "big")) & 0xFFFFFFFF
            if age <= ages.get(number, age):
                ages[number], self._any[number] = age, at
            if head[8:16] == salts:
                self._current[number] = at

    def _frames(self) -> range:
        first = _LOG_HEADER + _FRAME_HEADER
        return range(first, len(self._log) - self._page + 1, _FRAME_HEADER + self._page)

    # -- pages -----------------------------------------------------------------------

    def _from_file(self, number: int) -> bytes:
        return self._file[(number - 1) * self._page : number * self._page]

    def _page_in(self, view: int, number: int) -> bytes:
        """Returns a page: 0 as the file has it, 1 as the log's own frames have it, 2 as any frame has it."""
        at = None if view == 0 else (self._current if view == 1 else self._any).get(number)
        return self._from_file(number) if at is None else self._log[at : at + self._page]

    def _images(self) -> Iterator[tuple[int, bytes]]:
        """Yields (place, bytes) of every page of the file, then of the log; places of the log are negative."""
        for at in range(0, len(self._file) - self._page + 1, self._page):
            yield at, self._file[at : at + self._page]
        for at in self._frames():
            yield -at, self._log[at : at + self._page]

    def _image(self, place: int) -> bytes:
        return self._log[-place : self._page - place] if place < 0 else bytes(self._file[place : place + self._page])

    # -- rows ------------------------------------------------------------------------

    def batches(self) -> Iterator[BatchRow]:
        """Yields the rows of table ``batch`` that are whole, in no order; one may come several times."""
        for place, page in self._images():
            for cell in _cells(page, _TABLE_LEAF, 0):
                row = self._batch(place, page, cell)
                if row is not None:
                    yield row

    def read(self, place: Place) -> BatchRow | None:
        """Returns a row that was found before."""
        return self._batch(place[0], self._image(place[0]), place[1], (place[2],))

    def catalogues(self) -> Iterator[tuple[bytes, bytes]]:
        """Yields (hash, envelope) of what looks like a row of table ``catalogue``; nothing says that it is whole."""
        for _, page in self._images():
            for kind, skipped in ((_INDEX_LEAF, 0), (_INDEX_INTERIOR, 4)):
                for cell in _cells(page, kind, 0):
                    for view in (1, 0, 2):
                        values = self._record(page, cell + skipped, view, is_index=True, columns=_CATALOGUE)
                        if values is not None and _are(values, bytes, bytes) and len(values[0]) == 32:
                            yield values[0], values[1]

    def _batch(self, place: int, page: bytes, cell: int, views: tuple[int, ...] = (1, 0, 2)) -> BatchRow | None:
        id = _varint(page, _varint(page, cell)[1])[0]
        for view in views:
            values = self._record(page, cell, view, is_index=False, columns=_BATCH)
            if values is None or not _are(values[1:3] + values[5:], bytes, int, int, bytes):
                continue
            _, digest, _, first_us, last_us, checksum, envelope = values
            if is_whole_row(digest, checksum, envelope):
                return BatchRow(
                    place=(place, cell, view),
                    id=id,
                    digest=digest,
                    first_us=first_us if type(first_us) is int else None,
                    last_us=last_us if type(last_us) is int else None,
                    envelope=envelope,
                )
        return None

    def _record(self, page: bytes, at: int, view: int, *, is_index: bool, columns: int) -> list[Any] | None:
        size, at = _varint(page, at)
        if not is_index:
            _, at = _varint(page, at)
        if not 0 < size <= _LONGEST_ROW or at >= len(page):
            return None
        # What of a cell lies on its own page (fileformat2.html, section 1.6).
        usable = self._page
        most = ((usable - 12) * 64 // 255) - 23 if is_index else usable - 35
        least = ((usable - 12) * 32 // 255) - 23
        if size <= most:
            return _values(page[at : at + size], size, columns)
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
        payload = bytearray(page[at : at + local])
        number = int.from_bytes(page[at + local : at + local + 4], "big")
        # Asked before the whole chain is followed: most leaves of a foreign file are none of ours.
        if _types(payload, columns) is None:
            return None
        while number and len(payload) < size:
            piece = self._page_in(view, number)
            if len(piece) < usable:
                return None
            number = int.from_bytes(piece[:4], "big")
            payload += piece[4 : 4 + size - len(payload)]
        return _values(bytes(payload), size, columns)


def _cells(page: bytes, kind: int, start: int) -> list[int]:
    """Returns where the cells of a b-tree page begin; none where it is no page of this kind."""
    if len(page) < 512 or page[start] != kind:
        return []
    count = int.from_bytes(page[start + 3 : start + 5], "big")
    first = start + (12 if kind == _INDEX_INTERIOR else 8)
    if not 0 < count <= (len(page) - first) // 2:
        return []
    places = [int.from_bytes(page[at : at + 2], "big") for at in range(first, first + 2 * count, 2)]
    # A damaged pointer spoils its own cell, not its neighbours.
    return [place for place in places if first <= place < len(page) - 4]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns a variable-length integer and the place behind it; beyond the end it is 0."""
    value = 0
    for place in range(at, at + 8):
        if place >= len(data):
            return 0, place
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    last = data[at + 8] if at + 8 < len(data) else 0
    return value << 8 | last, at + 9


def _types(payload: bytes | bytearray, columns: int) -> tuple[list[int], int] | None:
    """Returns the serial types of a record and where its values begin, or None where it has other columns."""
    length, at = _varint(bytes(payload[:9]), 0)
    if not columns < length <= 9 * (columns + 1) or length > len(payload):
        return None
    head, types = bytes(payload[:length]), []
    while at < length:
        serial, at = _varint(head, at)
        types.append(serial)
    return (types, length) if len(types) == columns and at == length else None


def _values(payload: bytes, size: int, columns: int) -> list[Any] | None:
    """Returns the values of a record; None where it is short, or has other columns."""
    found = _types(payload, columns) if len(payload) == size else None
    if found is None:
        return None
    types, at = found
    values: list[Any] = []
    for serial in types:
        length = _SIZES[serial] if serial < 10 else (serial - 12) // 2
        piece = payload[at : at + length]
        if length < 0 or len(piece) < length:
            return None
        at += length
        if serial == 0:
            values.append(None)
        elif serial in (8, 9):
            values.append(serial - 8)
        elif serial < 7:
            values.append(int.from_bytes(piece, "big", signed=True))
        elif serial >= 12 and serial % 2 == 0:
            values.append(piece)
        else:
            # Text, floats and what is set aside: no column that is read here has one.
            values.append("")
    return values if at == size else None


def _are(values: list[Any], *types: type) -> bool:
    return [type(value) for value in values] == list(types)
