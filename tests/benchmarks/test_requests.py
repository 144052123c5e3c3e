from __future__ import annotations

import pytest

from benchmarks.requests import TARGET, clusters, least, rows
from drivers.planner import Limits


@pytest.mark.parametrize(("name", "planned", "fewest"), rows())
def test_a_map_of_sixty_points_needs_few_requests(name: str, planned: int, fewest: int) -> None:
    assert fewest <= planned <= TARGET * fewest


def test_the_least_is_what_a_person_would_count() -> None:
    assert least(clusters("u16", 0), Limits()) == 3
    assert least(clusters("f32", 0), Limits(max_registers=16)) == 9
