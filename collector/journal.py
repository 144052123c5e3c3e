"""The alarm journal: every alarm there ever was, newest first, a page at a time.

Pages are found by key and not by number: a page begins where the one before ended, so the
thousandth is as quick as the first and new alarms shift nothing.  The most telling filter chooses
the index; a test asks SQLite that it is used.  Whether a source is silent is known only now, so
that state is sifted from the alarms that stand, by their points alone.  The collector's own alarms
are few and lie in a table of their own; they are laid between the others by their place.

Pure: text of a query and its values.  ``collector.alarm_views`` asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from collector.measurement import TEST, Measurement
from collector.statements import gravity
from collector.views import AlarmFilter

#: words of the filter ``state``
STANDING = "standing"
STATES = frozenset({STANDING, *Measurement})
#: words of the filter ``test``
TESTS = ("only", "without")

#: (raised us, gateway, id): the order of the journal, and a place in it
Key = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The rows of table ``alarm`` of one page, newest first; the last value is how many."""

    sql: str
    values: tuple[Any, ...]


def select(filter: AlarmFilter, gateway_no: int | None, after: Key | None, limit: int) -> Selection:
    """Returns the query for one page.

    Args:
        filter: checked by :func:`check`.
        gateway_no: number of the filter's gateway.
        after: the last row of the page before.
        limit: at most so many rows.
    """
    where: list[tuple[str, tuple[Any, ...]]] = []
    index = "ix_alarm_raised"
    if filter.test == "only":
        where.append((f"rule_id='{TEST}'", ()))  # as the index is written
    elif filter.test is not None:
        where.append((f"rule_id<>'{TEST}'", ()))
    if filter.state is not None:
        where.append(("is_over=?", (int(filter.state == Measurement.CLEARED),)))
        index = "ix_alarm_standing"
    if filter.severity is not None:
        where.append(("severity=?", (filter.severity,)))
        index = "ix_alarm_severity" if index == "ix_alarm_raised" else index
    if gateway_no is not None:
        where.append(("gateway_no=?", (gateway_no,)))
        index = "ix_alarm_gateway"
    if filter.point is not None and not filter.point.endswith("/"):
        where.append(("point=?", (filter.point,)))
        index = "ix_alarm_point" if gateway_no is not None else index
    elif filter.point is not None:
        where.append(("point>=? AND point<?", (filter.point, f"{filter.point[:-1]}0")))  # "0" follows "/"
    if filter.start_us is not None:
        where.append(("raised_us>=?", (filter.start_us,)))
    if filter.end_us is not None:
        where.append(("raised_us<?", (filter.end_us,)))
    if after is not None:
        where.append(("raised_us<=? AND (raised_us, gateway_no, id) < (?,?,?)", (after[0], *after)))
    if filter.test == "only":
        index = "ix_alarm_test"  # few among many, whatever else is asked
    text = " AND ".join(part for part, _ in where) or "1"
    return Selection(
        sql=f"SELECT gateway_no, id, point, raised_us FROM alarm INDEXED BY {index} WHERE {text}"
        " ORDER BY raised_us DESC, gateway_no DESC, id DESC LIMIT ?",
        values=(*(value for _, values in where for value in values), limit),
    )


def own_keys(
    keys: Iterable[Key], filter: AlarmFilter, severity: str, gateway_no: int | None, after: Key | None
) -> list[Key]:
    """Returns the places of the collector's own alarms that fit, newest first: they stand, and have no point.

    Args:
        keys: of all of them.
        filter: checked by :func:`check`.
        severity: that all of them have.
        gateway_no: number of the filter's gateway.
        after: the last row of the page before.
    """
    if filter.severity not in (None, severity) or filter.point is not None or filter.test == "only":
        return []
    if filter.state in (Measurement.CLEARED, Measurement.SOURCE_SILENT):
        return []
    found = [
        key
        for key in keys
        if gateway_no in (None, key[1])
        and (filter.start_us is None or key[0] >= filter.start_us)
        and (filter.end_us is None or key[0] < filter.end_us)
        and (after is None or key < after)
    ]
    return sorted(found, reverse=True)


def check(filter: AlarmFilter) -> None:
    """Raises ValueError with a sentence where a word is not one of the filter's."""
    if filter.state is not None and filter.state not in STATES:
        raise ValueError(f"state: {filter.state!r} is none of {', '.join(sorted(STATES))}")
    if filter.test not in (None, *TESTS):
        raise ValueError(f"test: {filter.test!r} is none of {', '.join(TESTS)}")
    if filter.severity is not None and gravity(filter.severity) > 4:
        raise ValueError(f"severity: {filter.severity!r} is none of red, orange, yellow, blue, info")


def write_place(key: Key) -> str:
    """Returns a place as text for an address."""
    raised_us, gateway_no, id = key
    return f"{raised_us}-{gateway_no}-{id.hex()}"


def read_place(text: str) -> Key:
    """Returns the place that :func:`write_place` wrote; raises ValueError with a sentence."""
    try:
        raised_us, gateway_no, id = text.rsplit("-", 2)
        key = int(raised_us), int(gateway_no), bytes.fromhex(id)
    except ValueError:
        raise ValueError("after: is not where a page of the journal ended") from None
    if abs(key[0]) >= 1 << 63 or abs(key[1]) >= 1 << 63:
        raise ValueError("after: is not where a page of the journal ended")
    return key
