"""The journal page: a form of filters, one page of alarms, and the way to the next.  Works without scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from urllib.parse import urlencode

from collector.views import AlarmFilter, AlarmPage, Queries
from collector.web.render import Renderer

ROWS = 50
_NAMES = ("gateway", "point", "severity", "state", "test", "from", "to", "after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What stands in the form; empty for no filter."""

    gateway: str = ""
    point: str = ""
    severity: str = ""
    state: str = ""
    test: str = ""
    start: str = ""
    end: str = ""


def read_filter(query: Mapping[str, str], zone: tzinfo | None) -> AlarmFilter:
    """Returns the filter of an address; times are of the page's zone.

    Raises:
        ValueError: a time cannot be read, with a sentence.
    """
    return AlarmFilter(
        gateway=query.get("gateway") or None,
        point=(query.get("point") or "").strip() or None,
        severity=query.get("severity") or None,
        state=query.get("state") or None,
        test=query.get("test") or None,
        start_us=_moment("from", query.get("from"), zone),
        end_us=_moment("to", query.get("to"), zone),
    )


def _moment(name: str, text: str | None, zone: tzinfo | None) -> int | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo is not None else (at.astimezone() if zone is None else at.replace(tzinfo=zone))
        return int(at.astimezone(UTC).timestamp()) * 1_000_000
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{name}: {text!r} is no time such as 2026-11-22T08:00") from None


def journal_page(
    queries: Queries, renderer: Renderer, query: Mapping[str, str], *, zone: tzinfo | None, now_us: int
) -> str:
    """Returns the page that an address asks for; a wrong filter is said on it."""
    wrong, page = "", AlarmPage(alarms=[], next=None)
    filter = AlarmFilter()
    try:
        filter = read_filter(query, zone)
        page = queries.journal(filter, limit=ROWS, after=query.get("after") or None)
    except ValueError as error:
        wrong = str(error)
    kept = {name: query[name] for name in _NAMES if query.get(name)}
    return renderer.journal(
        gateways=queries.gateways(),
        alarms=page.alarms,
        asked=Asked(
            gateway=query.get("gateway", ""),
            point=query.get("point", ""),
            severity=query.get("severity", ""),
            state=query.get("state", ""),
            test=query.get("test", ""),
            start=query.get("from", ""),
            end=query.get("to", ""),
        ),
        wrong=wrong,
        address=_address(kept, renderer.language),
        csv=_csv_address(filter),
        next=page.next,
        now_us=now_us,
        problem=query.get("problem", ""),
    )


def _address(kept: Mapping[str, str], language: str) -> Callable[..., str]:
    def address(**changed: str | None) -> str:
        values = {"lang": language, **kept, **changed}
        return "/alarms?" + urlencode({name: value for name, value in values.items() if value})

    return address


def _csv_address(filter: AlarmFilter) -> str:
    names = ("gateway", "point", "severity", "state", "test", "start_us", "end_us")
    values = {name: getattr(filter, name) for name in names}
    return "/api/v1/alarm-journal.csv?" + urlencode({k: v for k, v in values.items() if v is not None})
