"""Readings that a person worked on keep what they are, and are marked."""

from __future__ import annotations

import pytest

from collector.completeness_words import lines
from collector.database import FILE_NAME
from collector.queries import SqliteQueries
from collector.views import CompletenessView
from collector.web.models import Completeness
from contracts.inhibit import Inhibit
from tests.collector.conftest import Bench
from tests.collector.gateways import START_US

S = 1_000_000
KEY = "well-0/ch4"


def _ask(bench: Bench) -> CompletenessView:
    queries = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us, dict)
    try:
        (found,) = queries.completeness(START_US, START_US + 3600 * S, key=KEY)
    finally:
        queries.close()
    return found


def _inhibit(since_s: int, until_s: int, point: str = KEY) -> Inhibit:
    return Inhibit(point=point, since_us=since_s * S, until_us=until_s * S, reason="bump test", by="A")


@pytest.mark.parametrize(
    ("what", "stated", "marked"),
    [
        ("none", {}, 0),
        ("of another point", {100: (_inhibit(100, 200, "well-1/ch4"),)}, 0),
        ("over thirty seconds", {110: (_inhibit(105, 135),)}, 30),
        ("ended before its time", {110: (_inhibit(105, 190),), 130: (_inhibit(105, 125),)}, 20),
        ("stated only at its end", {150: (_inhibit(105, 150),)}, 45),
    ],
)
def test_readings_keep_their_outcome_and_carry_the_mark(
    bench: Bench, what: str, stated: dict[int, tuple[Inhibit, ...]], marked: int
) -> None:
    g = bench.gateway
    batches = [g.data((at + 9) * S, ticks=10, inhibits=stated.get(at, ())) for at in range(100, 200, 10)]
    bench.send(g.catalogue_message(), *batches, at_us=200 * S)
    bench.now_us = START_US + 200 * S
    view = _ask(bench)
    assert view.counts == [("good", "", "", 100)], what
    assert view.inhibited == ([("good", marked)] if marked else [])
    told = [item.model_dump() for item in Completeness.model_validate(view).inhibited]
    assert told == ([{"outcome": "good", "ticks": marked}] if marked else [])
    for language, word in (("en", "of these inhibited: good"), ("zh", "其中检修抑制: 良好")):
        (line,) = lines([view], language, by_day=False)
        assert (f"{word} {marked}" in line) == bool(marked)
