"""What fails is a page to a person in a browser and JSON to a program, with one status and one sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from collector.errors import StoreError
from collector.web.app import create_app
from collector.web.guard import HEADERS
from collector.web.render import Renderer
from tests.collector.web.fake_city import START_US, FakeChanges, FakeCity
from tests.collector.web.test_app import INFO, Web
from tests.collector.web.test_warn_page import BROWSER, ID

HOST = "127.0.0.1:8080"


@pytest.fixture(scope="module")
def made() -> tuple[FakeCity, FastAPI]:
    """Made once: an application takes long to put together."""
    city = FakeCity()
    return city, create_app(queries=city, actions=city, changes=FakeChanges(), info=INFO, now_us=lambda: city.now_us)


@pytest.fixture
async def web(made: tuple[FakeCity, FastAPI]) -> AsyncIterator[Web]:
    city, app = made
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
        yield Web(city=city, changes=FakeChanges(), client=client)


@contextmanager
def failing(city: FakeCity, name: str, error: Exception) -> Iterator[None]:
    """A city one of whose ways fails."""

    def fail(*_: object, **__: object) -> Any:
        raise error

    setattr(city, name, fail)
    try:
        yield
    finally:
        delattr(city, name)


SAID = {"by": "Wang Fang", "lang": "zh"}
FORMS: list[tuple[str, dict[str, str], int, str]] = [
    (f"/alarms/{'00' * 16}/acknowledge", SAID, 404, "所请求的内容不存在"),
    (f"/alarms/{ID}/clear", SAID, 422, "未作记录"),
    (f"/alarms/{ID}/acknowledge", {"by": "  "}, 422, "未作记录"),
    (f"/alarms/{ID}/unacknowledge", {}, 422, "未作记录"),
    (f"/alarms/{ID}/warn", {"by": "x" * 65}, 422, "未作记录"),
    ("/notify/test", {"name": "nobody"}, 404, "所请求的内容不存在"),
    ("/notify/test", {}, 422, "未作记录"),
    ("/trial/letters?lang=zh", {"by": ""}, 422, "未作记录"),
    ("/nothing", {}, 404, "所请求的内容不存在"),
    ("/visits", {}, 405, "无法执行"),
]


@pytest.mark.parametrize(("path", "data", "status", "zh"), FORMS)
async def test_a_form_that_fails_in_a_browser_is_a_page_with_a_way_back(
    web: Web, path: str, data: dict[str, str], status: int, zh: str
) -> None:
    stood_on = f"http://{HOST}/alarms?lang=zh&severity=red"
    page = await web.client.post(path, data=data, headers={"Accept": BROWSER, "Referer": stood_on})
    assert (page.status_code, page.headers["content-language"]) == (status, "zh")
    assert f'role="alert">{zh}' in page.text
    assert '<a href="/alarms?lang=zh&amp;severity=red">返回页面</a>' in page.text
    told = await web.client.post(path, data=data)
    assert told.status_code == status
    assert told.json()["detail"] in page.text.replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")


@pytest.mark.parametrize(
    "referer",
    [
        "http://elsewhere.example/alarms?lang=zh",
        "http://[",
        f"http://{HOST}//x/?lang=en",
        f"http://{HOST}/\\x/?lang=en",
        f"http://{HOST}/\\/x/?lang=en",
        "",
    ],
)
async def test_the_way_back_stays_here(web: Web, referer: str) -> None:
    headers = {"Accept": BROWSER, "Referer": referer, "Accept-Language": "en"}
    page = await web.client.post("/notify/test", data={"name": "nobody"}, headers=headers)
    assert page.status_code == 404
    assert "What was asked for is not here, or not any more." in page.text
    assert '<a href="/' in page.text
    assert '<a href="//' not in page.text
    assert '<a href="/\\' not in page.text
    assert "elsewhere" not in page.text


async def test_a_store_that_fails_is_said_to_whoever_asked(web: Web) -> None:
    headers = {"Accept": BROWSER, "Accept-Language": "zh"}
    with failing(web.city, "acknowledge", StoreError("the disk is full")):
        page = await web.client.post(f"/alarms/{ID}/acknowledge", data=SAID, headers=headers)
    assert page.status_code == 503
    assert "未作记录，请重试。" in page.text
    assert "the store could not do it: the disk is full" in page.text
    with failing(web.city, "gateways", StoreError("the disk is full")):
        assert (await web.client.get("/?lang=zh", headers=headers)).status_code == 503
        assert "store could not" in (await web.client.get("/api/v1/gateways", headers=headers)).json()["detail"]


def test_the_page_of_a_problem_asks_no_table() -> None:
    def counts() -> Any:
        raise StoreError("the store cannot be read")

    renderer = Renderer("zh", zone=None, info=INFO, has_chart=False, counts=counts)
    assert "<b>" not in renderer.problem("坏了", "<b>", '/"', START_US)


async def test_our_own_mistake_is_said(web: Web) -> None:
    with failing(web.city, "acknowledge", RuntimeError("secret")):
        page = await web.client.post(f"/alarms/{ID}/acknowledge", data=SAID, headers={"Accept": BROWSER})
        told = await web.client.post(f"/alarms/{ID}/acknowledge", data=SAID)
    assert (page.status_code, told.status_code) == (500, 500)
    assert "secret" not in page.text + told.text
    assert told.json() == {"detail": "the collector made a mistake; its log says more"}
    for answer in (page, told):  # as every other answer
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/api/v1/alarms/none", "/metrics/none", "/static/none.js", "/trend-panel?point=a/b"])
async def test_what_programs_ask_is_json(web: Web, path: str) -> None:
    accept = "*/*" if path.startswith("/trend") else BROWSER
    answer = await web.client.get(path, headers={"Accept": accept})
    assert (answer.status_code, list(answer.json())) == (404, ["detail"])
