"""Figures: what was measured, beside a floor where there is one and a target where one was set."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import apsw


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number."""

    name: str
    #: None where it could not be measured
    value: float | None
    unit: str
    #: of the bare client on the same work
    floor: float | None = None
    #: the most it may be; with ``is_least`` the least
    target: float | None = None
    is_least: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value to floor."""
        return None if self.value is None or not self.floor else self.value / self.floor

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None or self.value is None:
            return None
        return self.value >= self.target if self.is_least else self.value <= self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one benchmark found."""

    title: str
    #: how it was measured: runs, windows, what is not in the numbers
    method: str
    figures: tuple[Figure, ...]


def middle(values: Iterable[float | None]) -> float | None:
    """Returns the median of those that there are; None without any."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def lines_of(result: Result) -> list[str]:
    """Returns a result as a table for a terminal."""
    heads = ("", "agent", "floor", "ratio", "target", "")
    rows = [heads, *(_row(figure) for figure in result.figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    text = [result.title, f"  {result.method}"]
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:5], widths[1:5], strict=True)),
        ]
        text.append(f"  {'  '.join(cells)}  {row[5]}".rstrip())
    return text


def _row(figure: Figure) -> Sequence[str]:
    name = f"{figure.name}, {figure.unit}" if figure.unit else figure.name
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}x"
    target = "" if figure.target is None else f"{'>=' if figure.is_least else '<='} {_number(figure.target)}"
    verdict = {None: "", True: "met", False: "MISSED"}[figure.is_met]
    note = f"({figure.note})" if figure.note else ""
    return (name, _number(figure.value), _number(figure.floor) if figure.floor is not None else "", ratio, target,
            " ".join(filter(None, (verdict, note))))  # fmt: skip


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine() -> dict[str, str]:
    """Returns what the numbers depend on: processor, kernel, Python, SQLite, disk."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in _text("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": f"{len(os.sched_getaffinity(0))} x {cpu}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "load before": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }


def to_json(results: Sequence[Result]) -> str:
    """Returns machine and results for programs."""
    return json.dumps({"machine": machine(), "results": [asdict(result) for result in results]}, indent=2) + "\n"


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def say(text: str) -> None:
    """Prints progress to stderr, so that tables on stdout stay clean."""
    print(text, file=sys.stderr, flush=True)
