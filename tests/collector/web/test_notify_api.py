"""The page of notification, the test button, and the same over the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from collector import views
from collector.views import NoticeView, NotifyRuleView
from collector.web import models
from collector.web.app import create_app
from collector.web.notify_api import NoNotifying
from collector.web.render import Renderer
from tests.collector.web.fake_city import INFO, FakeChanges, FakeCity

RULE = NotifyRuleView(
    name="duty", targets=(("duty/1", "dingtalk"),), severities=("red", "orange"), gateways=("*",), points=("gas/*",),
    lang="both", repeat_s=600, quiet_s=300,
)  # fmt: skip
SENT = NoticeView(
    id=7, target="duty/1", kind="test", at_us=5_000_000, is_possible_repeat=False, by="page", alarms=0,
    answered_us=5_120_000, outcome="sent", detail="",
)  # fmt: skip
FAILED = replace(SENT, id=6, kind="first", alarms=3, outcome="failed", detail="answered 500", by="")
OPEN = replace(SENT, id=5, kind="repeat", alarms=1, outcome=None, answered_us=None, is_possible_repeat=True, by="")


class FakeNotifying:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def rules(self) -> Sequence[NotifyRuleView]:
        return [RULE]

    def problem(self) -> str:
        return "notify.0.urls: wrong"

    def recent(self, limit: int) -> Sequence[NoticeView]:
        return [SENT, FAILED, OPEN][:limit]

    def test(self, name: str, by: str) -> Sequence[NoticeView] | None:
        self.asked.append((name, by))
        return [SENT] if name == "duty" else None


_NOTIFYING = FakeNotifying()
RENDERER = Renderer("en", zone=None, info=INFO, has_chart=False)


@pytest.fixture(scope="module")
def client() -> TestClient:
    city = FakeCity()
    app = create_app(
        queries=city, actions=city, changes=FakeChanges(), info=INFO, now_us=lambda: city.now_us, notifying=_NOTIFYING
    )
    return TestClient(app, base_url="http://localhost", follow_redirects=False)


@pytest.mark.parametrize(
    ("lang", "words"), [("zh", ("发送测试", "失败", "结果未知", "可能重复")), ("en", ("Send a test",))]
)
def test_the_page_shows_rules_and_attempts(client: TestClient, lang: str, words: tuple[str, ...]) -> None:
    text = client.get(f"/notify?lang={lang}").text
    for word in (*words, "duty/1", "dingtalk", "gas/*", "answered 500"):
        assert word in text
    assert "safe" not in text.lower()


def test_the_button_sends_a_test_and_comes_back(client: TestClient) -> None:
    _NOTIFYING.asked.clear()
    answer = client.post("/notify/test", data={"name": "duty", "lang": "en"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/notify?lang=en&tested=duty")
    assert _NOTIFYING.asked[0][0] == "duty"
    assert _NOTIFYING.asked[0][1].startswith("page ")
    assert "A test of duty went out" in client.get("/notify?lang=en&tested=duty").text
    assert client.post("/notify/test", data={"name": "nobody"}).status_code == 404


def test_the_call(client: TestClient) -> None:
    _NOTIFYING.asked.clear()
    (told,) = client.post("/api/v1/notify/test", json={"name": "duty"}).json()
    assert (told["target"], told["outcome"], told["answered_us"]) == ("duty/1", "sent", 5_120_000)
    assert _NOTIFYING.asked[0][1].startswith("api ")
    assert client.post("/api/v1/notify/test", json={"name": "nobody"}).status_code == 404
    assert client.post("/api/v1/notify/test", json={}).status_code == 422


def test_a_page_of_another_site_cannot_send_one(client: TestClient) -> None:
    _NOTIFYING.asked.clear()
    origin = {"Origin": "https://elsewhere.example"}
    assert client.post("/api/v1/notify/test", json={"name": "duty"}, headers=origin).status_code == 403
    assert client.post("/notify/test", data={"name": "duty"}, headers=origin).status_code == 403
    assert _NOTIFYING.asked == []


def test_rules_and_attempts(client: TestClient) -> None:
    assert client.get("/api/v1/notify/rules").json()[0]["targets"] == [{"target": "duty/1", "scheme": "dingtalk"}]
    assert [notice["id"] for notice in client.get("/api/v1/notices?limit=2").json()] == [7, 6]
    fields = list(NoticeView.__dataclass_fields__)
    assert fields == list(models.Notice.model_fields)
    assert list(views.NotifyRuleView.__dataclass_fields__) == list(models.NotifyRule.model_fields)


def test_without_a_rule_the_page_says_that_nobody_is_told() -> None:
    nobody = NoNotifying()
    assert nobody.test("duty", "page") is None
    text = RENDERER.notify(nobody.rules(), nobody.recent(50), "", 6_000_000)
    assert "nobody outside this room is told" in text
    assert "Nothing was tried yet" in text


def test_attempts_stand_on_the_time_line_of_an_alarm() -> None:
    alarm = FakeCity().alarms()[0]
    told = replace(alarm, notices=((5_000_000, "duty/1", "first", 1, 5_100_000, "failed", "answered 500"),))
    model = models.Alarm.model_validate(told)
    assert (model.notices[0].target, model.notices[0].is_possible_repeat) == ("duty/1", True)
    assert "told: <code>duty/1</code> failed (answered 500) · possible repeat" in RENDERER.alarm(told)
