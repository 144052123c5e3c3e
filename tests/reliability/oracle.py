"""The oracle: what was attempted, stored, acknowledged and read, written down outside the fault domain.

One line per fact in a file that is only ever appended to, so that several processes may write to one
oracle and a killed one leaves whole lines.  It lies where no fault of the test reaches: not on the
disk that is cut, not behind the link that is lost.  It judges nothing; ``checker.py`` does.

A fact names things by a series and a number in it: a batch by its chain and seq, a reading by its point's
series and the time it was sampled.  Its mark is what it must look like again: a digest, or value and code.

Three traps (each has shown losses that were none): read the oracle *before* the power is cut, since a
process that lives some microseconds longer goes on writing here; stop a process before its disk is
copied; and never judge by a wall clock that the test itself moves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from contracts.batch import Lane


class Kind(Enum):
    """What a line says."""

    #: made, and about to be kept
    ATTEMPT = "attempt"
    #: whoever keeps it has promised that it is durable
    STORED = "stored"
    #: a receipt was believed that covers ``first`` to ``last``; the mark is that of ``last``
    ACKED = "acked"
    #: found by the final query
    READ = "read"
    #: a signed record says why ``first`` to ``last`` are not there; the mark is the cause
    GAP = "gap"
    #: the grid says that there is to be one
    EXPECT = "expect"
    #: a final query begins: what was read before does not count
    READING = "reading"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line."""

    kind: Kind
    #: see ``batch_series`` and ``reading_series``
    series: str
    first: int
    last: int
    mark: str = ""


def batch_series(gateway: str, epoch: bytes, lane: Lane) -> str:
    """Returns the series of a chain; the number of a batch in it is its seq, and no seq is left out."""
    return f"batch/{gateway}/{epoch.hex()}/{lane.name.lower()}"


def reading_series(gateway: str, boot_id: bytes, point: str) -> str:
    """Returns the series of a point; the number of a reading in it is ``sampled_us``."""
    return f"reading/{gateway}/{boot_id.hex()}/{point}"


def value_mark(value: Any, code: int) -> str:
    """Returns the mark of a reading: value and quality code."""
    return f"{value!r}@{code}"


class Oracle:
    """Writes facts; every call is one write."""

    def __init__(self, path: Path) -> None:
        """Opens the file to append to it, and makes it where there is none."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, fact: Fact) -> None:
        """Appends one fact.

        Raises:
            ValueError: a series or mark that would break its line.
        """
        line = f"{fact.kind.value}\t{fact.series}\t{fact.first}\t{fact.last}\t{fact.mark}\n"
        if line.count("\t") != 4 or line.count("\n") != 1:
            raise ValueError(f"a tab or newline in {line!r}: series and marks have neither")
        os.write(self._file, line.encode())

    def attempt(self, series: str, number: int, mark: str) -> None:
        """Something was made; written before anybody is asked to keep it."""
        self.write(Fact(Kind.ATTEMPT, series, number, number, mark))

    def stored(self, series: str, number: int, mark: str) -> None:
        """It is durable, as whoever keeps it says; written after that."""
        self.write(Fact(Kind.STORED, series, number, number, mark))

    def acked(self, series: str, first: int, last: int, mark: str = "") -> None:
        """A receipt for a range was believed; ``mark`` is that of ``last``, or empty."""
        self.write(Fact(Kind.ACKED, series, first, last, mark))

    def reading(self) -> None:
        """The final query begins; an earlier one no longer counts."""
        self.write(Fact(Kind.READING, "", 0, 0))

    def read(self, series: str, number: int, mark: str) -> None:
        """The final query has found it."""
        self.write(Fact(Kind.READ, series, number, number, mark))

    def gap(self, series: str, first: int, last: int, cause: str) -> None:
        """A signed record says why a range is not there, or that its place holds a reading without a value."""
        self.write(Fact(Kind.GAP, series, first, last, cause))

    def expect(self, series: str, number: int) -> None:
        """The grid says that this is to be there, or a cause why not."""
        self.write(Fact(Kind.EXPECT, series, number, number))

    def close(self) -> None:
        """Closes the file; may be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_facts(path: Path) -> Iterator[Fact]:
    """Yields the facts of a file in the order of writing; a last line without its end is left out.

    Raises:
        ValueError: a line that no oracle wrote.
    """
    with path.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith("\n"):
                break
            parts = line[:-1].split("\t")
            if len(parts) != 5:
                raise ValueError(f"{path.name}, line {number}: {line!r} has {len(parts)} parts and not 5")
            kind, series, first, last, mark = parts
            yield Fact(Kind(kind), series, int(first), int(last), mark)
