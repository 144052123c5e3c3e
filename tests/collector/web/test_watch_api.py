"""Opening a gateway's point, and the API call, ask for live data; nothing else does."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from collector.web.app import create_app
from tests.collector.web.fake_city import INFO, FakeChanges, FakeCity


class Watcher:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def watch(self, gateway: str, by: str) -> int:
        self.asked.append((gateway, by))
        return 600


_WATCHER = Watcher()


@pytest.fixture(scope="module")
def city() -> FakeCity:
    return FakeCity()


@pytest.fixture
def watcher() -> Watcher:
    _WATCHER.asked.clear()
    return _WATCHER


@pytest.fixture(scope="module")
def client(city: FakeCity) -> TestClient:
    app = create_app(
        queries=city, actions=city, changes=FakeChanges(), info=INFO, now_us=lambda: city.now_us, watcher=_WATCHER
    )
    return TestClient(app, base_url="http://localhost")


def test_the_overview_asks_for_nothing(client: TestClient, watcher: Watcher) -> None:
    assert client.get("/").status_code == 200
    assert client.get("/?point=nothing/of-the-kind").status_code == 200
    assert watcher.asked == []


def test_opening_a_point_asks_its_gateway(client: TestClient, city: FakeCity, watcher: Watcher) -> None:
    point = city.points()[0]
    client.get(f"/?point={point.gateway}/{point.key}")
    client.get(f"/trend-panel?point={point.gateway}/{point.key}")
    assert [gateway for gateway, _ in watcher.asked] == [point.gateway, point.gateway]
    assert watcher.asked[0][1].startswith("page ")


def test_the_call(client: TestClient, city: FakeCity, watcher: Watcher) -> None:
    gateway = city.gateways()[0].id
    answer = client.post(f"/api/v1/gateways/{gateway}/watch")
    assert answer.status_code == 200
    assert answer.json() == {"gateway": gateway, "seconds": 600}
    assert watcher.asked[0][1].startswith("api ")
    assert client.post("/api/v1/gateways/g-aaaaaaaaaaaa/watch").status_code == 404


def test_a_page_of_another_site_cannot_ask(client: TestClient, city: FakeCity, watcher: Watcher) -> None:
    gateway = city.gateways()[0].id
    answer = client.post(f"/api/v1/gateways/{gateway}/watch", headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 403
    assert watcher.asked == []
