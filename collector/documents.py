"""Letters that confirm limits, attached at the centre: kept under the SHA-256 of their bytes.

A gateway names the letter by which limits were confirmed, and its SHA-256; the file itself does not travel.
A person attaches it here.  What is kept is only what a gateway names, bit for bit: a file that matches none
proves nothing, and is refused with both sums.  The bytes are files of the data directory, ``documents/SUM``,
so that they never keep the writer from an alarm; who attached what when is a row, append only.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.errors import LetterError, StoreError

FOLDER = "documents"
#: a scanned letter of some pages
MOST_BYTES = 8 * 1024 * 1024
#: longest wait for the writer (s)
WAIT_S = 10.0
_MAGIC = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"PK\x03\x04", "application/zip"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A letter as it is handed out."""

    name: str
    #: media type
    kind: str
    content: bytes


def kind_of(content: bytes) -> str | None:
    """Returns the media type of a letter by its bytes; None for what is no letter."""
    for magic, kind in _MAGIC:
        if content.startswith(magic):
            return kind
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return "text/plain" if text.strip() and "\0" not in text else None


class Documents:
    """The letters of one collector; safe to call from any thread."""

    def __init__(
        self,
        data: Path,
        run: Callable[[Callable[[sqlite3.Connection], Any]], Future[Any]],
        read: Callable[[], sqlite3.Connection],
        now_us: Callable[[], int],
    ) -> None:
        """Takes the data directory, the writer's way to run a job, what opens a reader, and the clock (UTC us)."""
        self._folder = data / FOLDER
        self._run = run
        self._read = read
        self._now_us = now_us

    def attach(
        self, content: bytes, *, name: str, by: str, note: str = "", source: str = "", expected: str = ""
    ) -> str:
        """Keeps a letter that a gateway names; a second time changes nothing.

        Args:
            content: the bytes of the file, ``MOST_BYTES`` at most.
            name: of the file, for people.
            by: the name that was typed in.
            note: free text.
            source: where from.
            expected: SHA-256 (hex) of the letter that it is meant to be; empty for any that a gateway names.

        Returns:
            Its SHA-256, hex.

        Raises:
            LetterError: it is too large, no letter, or none that a gateway names; with a sentence.
            StoreError: it could not be kept.
        """
        kind = kind_of(content)
        if not content or len(content) > MOST_BYTES:
            raise LetterError(f"the file has {len(content)} bytes; a letter has 1 to {MOST_BYTES}", "size")
        if kind is None:
            raise LetterError(
                "the file is none of PDF, PNG, JPEG, plain text in UTF-8, or an office document (zip)", "kind"
            )
        digest = hashlib.sha256(content).digest()
        if expected and digest.hex() != expected:
            raise LetterError(
                f"does not match: the gateway names SHA-256 {expected}, this file has {digest.hex()}", "other"
            )
        if not self._is_named(digest):
            raise LetterError(f"does not match: no gateway names a letter with SHA-256 {digest.hex()}", "unnamed")
        self._write(digest.hex(), content)
        row = (digest, _plain(name), kind, len(content), by[:80], self._now_us(), source[:80], note[:500])
        self._keep(row)
        return digest.hex()

    def read(self, digest: str) -> Letter | None:
        """Returns a letter that was attached, or None.

        Raises:
            LetterError: its file is gone or is not what was attached.
        """
        digest = _bytes(digest).hex()
        db = self._read()
        try:
            row = db.execute("SELECT name, kind FROM document WHERE digest=?", (bytes.fromhex(digest),)).fetchone()
        finally:
            db.close()
        if row is None:
            return None
        try:
            content = (self._folder / digest).read_bytes()
        except OSError as error:
            raise LetterError(f"{FOLDER}/{digest} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise LetterError(f"{FOLDER}/{digest} is not what was attached: its SHA-256 is another one")
        return Letter(name=row[0], kind=row[1], content=content)

    def has(self, digest: str) -> bool:
        """Returns whether the file of a letter is here: a database that was restored has only who attached it."""
        name = _bytes(digest).hex()
        return bool(name) and (self._folder / name).is_file()

    def _is_named(self, digest: bytes) -> bool:
        db = self._read()
        try:
            found = db.execute("SELECT 1 FROM confirmation WHERE digest=? LIMIT 1", (digest,)).fetchone()
        finally:
            db.close()
        return found is not None

    def _write(self, name: str, content: bytes) -> None:
        """Puts the file there whole, or not at all."""
        path = self._folder / name
        part = self._folder / f"{name}.part-{os.urandom(4).hex()}"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise StoreError(f"{path}: {error.strerror or error}") from error

    def _keep(self, row: tuple[Any, ...]) -> None:
        future = self._run(lambda db: db.execute(_KEEP, row))
        try:
            future.result(timeout=WAIT_S)
        except TimeoutError:
            if future.cancel():
                raise StoreError("the store is busy; it was not recorded") from None
            future.result()


def _bytes(digest: str) -> bytes:
    try:
        return bytes.fromhex(digest)
    except ValueError:
        return b""


def _plain(name: str) -> str:
    """Returns the last part of a file's name, without what cannot be seen."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[:200] or "letter"


_KEEP = """
INSERT INTO document(digest, name, kind, size, by, at_us, source, note) VALUES(?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING
"""
