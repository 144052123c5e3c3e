"""The page of visits: where to go, street by street, and what was done.  Works without scripts, and prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import urlencode

from collector.errands import place_of
from collector.views import Queries
from collector.visit_views import ErrandView, GatewayName, VisitFilter, VisitPage
from collector.web.arrange import Trouble
from collector.web.render import Renderer

ROWS = 50
_NAMES = ("gateway", "point", "job", "result", "after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The errands of one street, or of one gateway that nobody wrote a street for."""

    street: str
    gateway_en: str
    gateway_zh: str
    errands: Sequence[ErrandView]
    #: all that is to be brought there, each once: (en, zh)
    bring: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What stands in the form; empty for no filter."""

    gateway: str
    point: str
    job: str
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitsShown:
    """All that the page shows."""

    gateways: Sequence[GatewayName]
    places: Sequence[Place]
    visits: VisitPage
    asked: Asked
    #: what was wrong with the filter; empty else
    wrong: str
    #: address of the page with other parameters, and of the CSV of its visits
    address: Callable[..., str]
    csv: str
    #: of the errands
    errands_csv: str
    #: what is wrong with the collector itself: silence may be ours
    trouble: Trouble


def visits_page(queries: Queries, renderer: Renderer, query: Mapping[str, str], now_us: int) -> str:
    """Returns the page that an address asks for; a wrong filter is said on it."""
    asked = Asked(**{name: (query.get(name) or "").strip() for name in ("gateway", "point", "job", "result")})
    filter = VisitFilter(
        gateway=asked.gateway or None, point=asked.point or None, job=asked.job or None, result=asked.result or None
    )
    wrong, page = "", VisitPage(visits=[], next=None)
    try:
        page = queries.visits(filter, limit=ROWS, after=query.get("after") or None)
    except ValueError as error:
        wrong = str(error)
    kept = {name: query[name] for name in _NAMES if query.get(name)}
    plain = {name: value for name in _NAMES[:-1] if (value := getattr(asked, name))}
    return renderer.visits(
        VisitsShown(
            gateways=queries.gateway_names(),
            places=gather_places(queries.errands(asked.gateway or None)),
            visits=page,
            asked=asked,
            wrong=wrong,
            address=_address(kept, renderer.language),
            csv="/api/v1/visits.csv?" + urlencode(plain),
            errands_csv="/api/v1/errands.csv?" + urlencode({k: v for k, v in plain.items() if k == "gateway"}),
            trouble=Trouble.read(queries.counters()),
        ),
        now_us,
    )


def gather_places(errands: Sequence[ErrandView]) -> list[Place]:
    """Returns errands by place, in the order in which they come."""
    found = []
    for (street, _), members in groupby(errands, key=place_of):
        here = list(members)
        found.append(
            Place(
                street=street,
                gateway_en=here[0].gateway_en or here[0].gateway,
                gateway_zh=here[0].gateway_zh or here[0].gateway,
                errands=here,
                bring=list(dict.fromkeys(pair for errand in here for pair in errand.bring)),
            )
        )
    return found


def _address(kept: Mapping[str, str], language: str) -> Callable[..., str]:
    def address(**changed: str | None) -> str:
        values = {"lang": language, **kept, **changed}
        return "/visits?" + urlencode({name: value for name, value in values.items() if value})

    return address
