"""Statements of inhibits: their form, and what they say together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import PayloadError
from contracts.inhibit import Inhibit, spans


def _inhibit(since_us: int, until_us: int, point: str = "a/ch4") -> Inhibit:
    return Inhibit(point=point, since_us=since_us, until_us=until_us, reason="test", by="A")


def test_an_end_before_the_beginning_is_refused() -> None:
    with pytest.raises(PayloadError, match="until_us: 4 is before since_us 5"):
        Inhibit.from_wire(["a/ch4", 5, 4, "test", "A"])


@pytest.mark.parametrize(
    ("what", "stated", "expected"),
    [
        ("one", [(0, 0, 10)], [(0, 10)]),
        ("stated again", [(0, 0, 10), (5, 0, 10)], [(0, 10)]),
        ("ended early", [(0, 0, 10), (5, 0, 5)], [(0, 5)]),
        ("made longer", [(0, 0, 10), (5, 0, 20)], [(0, 20)]),
        ("two after each other", [(0, 0, 10), (20, 20, 30)], [(0, 10), (20, 30)]),
        ("a restart states it again from then on", [(0, 0, 100), (50, 50, 100)], [(0, 50), (50, 100)]),
        ("and it is ended after the restart", [(0, 0, 100), (50, 50, 100), (60, 50, 60)], [(0, 50), (50, 60)]),
        ("it never was", [(0, 0, 10), (1, 0, 0)], []),
        ("only the end arrived", [(12, 3, 12)], [(3, 12)]),
    ],
)
def test_a_later_statement_replaces_what_earlier_ones_say(
    what: str, stated: list[tuple[int, int, int]], expected: list[tuple[int, int]]
) -> None:
    items = [(sealed_us, _inhibit(since, until)) for sealed_us, since, until in stated]
    assert spans(items).get("a/ch4", []) == expected, what
    assert spans([*reversed(items), *items]).get("a/ch4", []) == expected, f"{what}: in any order, any number of times"


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)), max_size=8))
def test_stretches_are_in_order_and_do_not_overlap(drawn: list[tuple[int, int, int]]) -> None:
    found = spans((sealed, _inhibit(since, since + length)) for sealed, since, length in drawn).get("a/ch4", [])
    edges = [edge for stretch in found for edge in stretch]
    assert edges == sorted(edges)
    assert all(since < until for since, until in found)
