"""When a first look for a reply is worth it: just in time for a steady unit, early for one that scatters."""

from __future__ import annotations

import random

import pytest

from drivers.thinking import Thinking


def looks(delays_us: list[int]) -> tuple[float, float]:
    """Returns looks per reply, and how much later than the reply the look was that found it (microseconds, mean).

    A look that comes too early is followed by one as soon as the reply is whole, as the exchange does.
    """
    thinking = Thinking()
    total, late = 0, 0
    for delay in delays_us:
        guess = thinking.of(7)
        if guess >= delay:
            total, late = total + 1, late + guess - delay
            thinking.whole_at_first(7)
        else:
            total += 2
            thinking.whole_after(7, delay)
    return total / len(delays_us), late / len(delays_us)


@pytest.mark.parametrize("usual_us", [0, 300, 2_000, 20_000])
def test_a_steady_unit_is_looked_for_when_it_is_done(usual_us: int) -> None:
    chance = random.Random(usual_us)
    each, late_us = looks([usual_us + chance.randrange(30) for _ in range(2000)])
    assert each < 1.5
    assert late_us < 80


def test_a_unit_whose_delays_scatter_costs_little_line_time() -> None:
    chance = random.Random(3)
    _, late_us = looks([chance.randrange(5_000, 25_000) for _ in range(5000)])
    assert late_us < 1_500


def test_a_unit_that_became_quicker_is_soon_looked_for_earlier() -> None:
    thinking = Thinking()
    thinking.whole_after(7, 1_000_000)
    replies = 0
    while thinking.of(7) >= 2_000:
        thinking.whole_at_first(7)
        replies += 1
    assert replies < 25


def test_units_are_apart_and_a_new_one_is_looked_for_at_once() -> None:
    thinking = Thinking()
    thinking.whole_after(7, 5_000)
    assert (thinking.of(7), thinking.of(8)) == (5_000, 0)
