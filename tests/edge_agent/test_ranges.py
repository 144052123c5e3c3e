"""Ranges behave as a set of numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.ranges import Ranges

_PAIRS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 8)).map(lambda p: (p[0], p[0] + p[1])), max_size=12)


@given(_PAIRS)
def test_ranges_are_a_set(pairs: list[tuple[int, int]]) -> None:
    ranges = Ranges(pairs)
    model = {number for first, last in pairs for number in range(first, last + 1)}
    assert {n for n in range(1, 60) if n in ranges} == model
    assert ranges.total == len(model)
    assert {n for first, last in ranges.missing(50) for n in range(first, last + 1)} == set(range(1, 51)) - model
    contiguous = ranges.contiguous
    assert set(range(1, contiguous + 1)) <= model
    assert contiguous + 1 not in model


@given(_PAIRS)
def test_ranges_never_touch_and_are_sorted(pairs: list[tuple[int, int]]) -> None:
    listed = list(Ranges(pairs))
    assert all(second[0] > first[1] + 1 for first, second in itertools.pairwise(listed))


def test_an_empty_range_adds_nothing() -> None:
    assert list(Ranges([(5, 4)])) == []


@given(_PAIRS, _PAIRS)
def test_without_is_the_difference(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    def numbers(pairs: Iterable[tuple[int, int]]) -> set[int]:
        return {number for first, last in pairs for number in range(first, last + 1)}

    found = Ranges(some).without(Ranges(others))
    assert numbers(found) == numbers(some) - numbers(others)
    assert found == sorted(found)
