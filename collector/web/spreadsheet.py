"""Rows as CSV for spreadsheets: UTF-8 with a byte order mark, times in UTC, and no cell that is a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

#: before the first row: by it a spreadsheet knows the encoding
BYTE_ORDER_MARK = "\ufeff"


def csv_text(rows: Iterable[Sequence[str]]) -> str:
    """Returns rows of cells as lines of CSV."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def cell(value: object) -> str:
    """Returns a value as a cell; empty for None."""
    if value is None:
        return ""
    # A spreadsheet takes a text that begins so for a formula; names come from the edge.
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else str(value)


def utc(us: int | None) -> str:
    """Returns UTC microseconds as a time to the millisecond; empty for None and for no time of any calendar."""
    if us is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(us / 1e6, UTC):%Y-%m-%dT%H:%M:%S}.{us // 1000 % 1000:03d}Z"
    except (OverflowError, ValueError, OSError):
        return ""
