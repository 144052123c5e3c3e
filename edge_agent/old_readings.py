"""Readings of the past from a file, as samples of one point: CSV, or what ``spool export`` wrote.

Everything wrong with a file is said at once, with its lines.  A CSV has the columns ``time``,
``value`` and ``quality``, in any order after a line that names them, in this order without one.
Time is seconds or ISO 8601; quality is a word of the four (``good`` where it is empty beside a
number, ``missing`` without one), or a reason such as ``no_reply``.  A number beside a quality that
has none is refused: it would be made up.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from contracts.quality import BY_REASON, GOOD, INSTRUMENT_WARNING, INVALID, NO_REPLY
from edge_agent.errors import ConfigError
from rules.errors import RulesError
from rules.state import Sample

#: the reason that a bare word of the four stands for
_WORDS = {"good": GOOD, "uncertain": INSTRUMENT_WARNING, "bad": INVALID, "missing": NO_REPLY}
_MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What a file holds of one point."""

    #: in the order of their times
    samples: tuple[Sample, ...]
    #: time of the first, us of the file's clock
    begin_us: int


def read_readings(path: Path, point: str | None) -> Readings:
    """Reads a file.

    Args:
        point: key, for a file with readings of many points; None: there may be only one.

    Raises:
        ConfigError: lists what is wrong, line by line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: not UTF-8; save the file as UTF-8"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    problems: list[str] = []
    rows = _json_lines(text, point, problems) if text.lstrip().startswith("{") else _csv_rows(text, problems)
    samples: list[Sample] = []
    for line, time, value, quality in rows:
        sample = _sample(line, time, value, quality, problems)
        if sample is not None and samples and sample.at_us < samples[-1].at_us:
            problems.append(f"line {line}: its time is before that of the line before; sort the file by time")
        elif sample is not None:
            samples.append(sample)
    if not samples and not problems:
        problems.append("there is no reading" + (f" of {point}" if point else ""))
    if problems:
        more = [f"and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
        raise ConfigError([f"{path}: {problem}" for problem in (*problems[:_MOST_PROBLEMS], *more)])
    return Readings(samples=tuple(samples), begin_us=samples[0].at_us)


_Row = tuple[int, str, str, str]


def _csv_rows(text: str, problems: list[str]) -> Iterator[_Row]:
    names = ["time", "value", "quality"]
    for line, cells in enumerate(csv.reader(text.splitlines()), 1):
        stripped = [cell.strip() for cell in cells]
        if not any(stripped) or stripped[0].startswith("#"):
            continue
        if line == 1 and "time" in stripped:
            names = stripped
            if "value" not in names:
                problems.append("line 1: names no column value")
            continue
        row = dict(zip(names, stripped, strict=False))
        yield line, row.get("time", ""), row.get("value", ""), row.get("quality", "")


def _json_lines(text: str, point: str | None, problems: list[str]) -> Iterator[_Row]:
    seen: dict[str, None] = {}
    boots: dict[object, None] = {}
    for line, item in enumerate(text.splitlines(), 1):
        try:
            record = json.loads(item)
        except ValueError:
            problems.append(f"line {line}: is no JSON")
            continue
        if not isinstance(record, dict) or record.get("kind") != "reading":
            continue
        seen[str(record.get("point"))] = None
        if point is not None and record.get("point") != point:
            continue
        boots[record.get("boot")] = None
        value = record.get("value")
        time = record.get("mono_us")
        shown = "" if not isinstance(time, int) else repr(time / 1e6)
        yield line, shown, "" if value is None else str(value), str(record.get("reason") or record.get("quality") or "")
    if point is None and len(seen) > 1:
        problems.append(f"holds readings of {len(seen)} points; name one with --point: {', '.join(list(seen)[:10])}")
    if len(boots) > 1:
        problems.append("holds readings of more than one boot, whose clocks do not compare; keep those of one")


def _sample(line: int, time: str, value: str, quality: str, problems: list[str]) -> Sample | None:
    at_us = _time_us(time)
    if at_us is None:
        problems.append(f"line {line}: {time!r} is no time; give seconds, or a time such as 2026-11-30T08:00:00Z")
    try:
        number = float(value) if value else None
    except ValueError:
        problems.append(f"line {line}: {value!r} is no number; leave it empty where there is none")
        return None
    word = quality or ("good" if number is not None else "missing")
    code = _WORDS.get(word, BY_REASON.get(word))
    if code is None:
        known = ", ".join((*_WORDS, *BY_REASON))
        problems.append(f"line {line}: {word!r} is no quality; known are {known}")
    if at_us is None or code is None:
        return None
    try:
        return Sample(value=number, code=code, at_us=at_us)
    except RulesError as error:
        problems.append(
            f"line {line}: {error}; a {word} reading {'has no' if number is not None else 'needs a'} number"
        )
        return None


def _time_us(text: str) -> int | None:
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = datetime.fromisoformat(text).timestamp()
        except ValueError:
            return None
    return round(seconds * 1e6) if abs(seconds) < 1e12 else None
