"""Small drawings, the page of held waveforms, and the completeness of a day in one line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, timedelta, timezone

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.completeness_line import day_line
from collector.views import CompletenessView
from collector.web import words
from collector.web.app import create_app
from collector.web.plot import HEIGHT, MOST_POINTS, WIDTH, draw
from tests.collector.web.fake_city import GATEWAY, INFO, START_US, FakeChanges, FakeCity


def test_a_gap_is_not_bridged_and_a_single_sample_is_a_dot() -> None:
    drawing = draw([0, 10, 20, 30, 40], [1.0, 2.0, None, None, 3.0])
    assert drawing.lines == ("0.0,72.0 80.0,36.0", "320.0,0.0 321.0,0.0")
    assert (drawing.low, drawing.high) == (1.0, 3.0)


def test_without_a_number_nothing_is_drawn_and_a_flat_line_lies_in_the_middle() -> None:
    assert draw([0, 1], [None, None]).lines == ()
    assert draw([0, 1], [5.0, 5.0]).lines == ("0.0,36.0 320.0,36.0",)


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=3000))
def test_no_extreme_is_left_out_and_everything_lies_in_the_drawing(values: list[float | None]) -> None:
    drawing = draw(list(range(len(values))), values)
    points = [tuple(map(float, point.split(","))) for line in drawing.lines for point in line.split()]
    assert all(0 <= x <= WIDTH + 1 and 0 <= y <= HEIGHT for x, y in points)
    assert all(len(line.split()) <= MOST_POINTS + 4 for line in drawing.lines)
    numbers = [value for value in values if value is not None]
    if numbers and max(numbers) > min(numbers):
        assert {0.0, float(HEIGHT)} <= {y for _, y in points}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    city = FakeCity()
    app = create_app(queries=city, actions=city, changes=FakeChanges(), info=INFO, now_us=lambda: city.now_us, zone=UTC)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as found:
        yield found


async def test_the_page_of_waveforms_draws_them_without_a_script(client: httpx.AsyncClient) -> None:
    html = (await client.get("/waveforms?lang=en")).text
    assert html.count("<polyline") == 2
    assert "after the alarm" in html
    assert "0.25 … 0.5 g" in html
    assert "<script" not in html
    assert "没有保存的波形" in (await client.get("/waveforms?lang=zh&gateway=none")).text


async def test_the_day_of_a_gateway_in_one_line(client: httpx.AsyncClient) -> None:
    html = (await client.get(f"/day/{GATEWAY}?lang=en")).text
    assert "since 11-22 00:00:00: 99.7 % of 21,600 expected readings measured; missing (device) 60" in html
    assert "data-keep" in html
    assert "应有 21,600 个读数，已测得 99.7 %；缺失 (仪表) 60" in (await client.get(f"/day/{GATEWAY}?lang=zh")).text


def _view(expected: int, *counts: tuple[str, str, str, int]) -> CompletenessView:
    return replace(
        FakeCity().completeness(START_US, START_US + 1, gateway=GATEWAY)[0], expected=expected, counts=counts
    )


@pytest.mark.parametrize(
    ("views", "line"),
    [
        ([], "nothing was expected"),
        ([_view(10, ("good", "", "", 10))], "100 % of 10 expected readings measured"),
        ([_view(10, ("lost", "quota", "gateway", 10))], "0 % of 10 expected readings measured; lost (gateway) 10"),
        (
            [_view(10_000, ("good", "", "", 9_999), ("newer", "x", "", 1))],
            "99.9 % of 10,000 expected readings measured; newer 1",
        ),
        (
            [_view(10_000, ("late", "", "bus", 1), ("missing", "no_reply", "device", 9_999))],
            "0.1 % of 10,000 expected readings measured; missing (device) 9,999",
        ),
    ],
)
def test_it_says_all_only_where_it_is_all(views: list[CompletenessView], line: str) -> None:
    assert day_line(views, "en") == line


def test_a_day_begins_where_the_page_is() -> None:
    shanghai = timezone(timedelta(hours=8))
    assert words.day_begin_us(START_US, UTC) == START_US - 4 * 3_600_000_000
    assert words.day_begin_us(START_US, shanghai) == START_US - 12 * 3_600_000_000
    assert words.day_begin_us(START_US, None) <= START_US
