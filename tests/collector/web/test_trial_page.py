"""What is on trial: on the head of every page, in a list, in the API; and letters that are attached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import httpx
import pytest
from fastapi import FastAPI

from collector.documents import MOST_BYTES, Letter
from collector.errors import LetterError
from collector.views import AlarmCounts, LetterView, TrialLimit, TrialView
from collector.web.app import create_app
from tests.collector.web.fake_city import GATEWAY, START_US, FakeChanges, FakeCity
from tests.collector.web.test_app import INFO

DAY = f"{datetime.fromtimestamp(START_US / 1e6, UTC):%Y-%m-%d}"
SUM = "ab" * 32
EVIL = '<script>alert("x")</script>'
ON_TRIAL = TrialView(
    gateway=GATEWAY, point="well-1/ch4", en="Methane", zh="甲烷", unit="%{LEL}", state="trial", since_us=START_US,
    by="", at="", document="", digest="", is_attached=False,
    limits=(TrialLimit(rule_id="L1", en="first", zh="一级", direction="high", value=25.0, severity="orange"),),
)  # fmt: skip
CONFIRMED = replace(
    ON_TRIAL, point="well-2/ch4", state="confirmed", by="Li Wei", at="2026-11-20", document="l.pdf", digest=SUM
)
LETTER = LetterView(
    digest=SUM, named=((GATEWAY, "Li Wei", "2026-11-20", EVIL),), points=1, name="", kind="", size=0, attached_by="",
    attached_us=None, source="", note="",
)  # fmt: skip


@dataclass
class FakeLetters:
    """Takes what begins with ``%PDF``."""

    kept: list[tuple[bytes, str, str, str, str, str]] = field(default_factory=list)

    def attach(self, content: bytes, *, name: str, by: str, note: str, source: str, expected: str) -> str:
        if not content.startswith(b"%PDF"):
            raise LetterError(f"does not match: the gateway names {expected}", "other")
        self.kept.append((content, name, by, note, source, expected))
        return SUM

    def read(self, digest: str) -> Letter | None:
        return Letter(name='确认 "1".pdf', kind="application/pdf", content=b"%PDF") if digest == SUM else None

    def has(self, digest: str) -> bool:
        return digest == SUM


@dataclass
class Desk:
    city: FakeCity
    letters: FakeLetters
    client: httpx.AsyncClient


@pytest.fixture(scope="module")
def made() -> tuple[FakeCity, FakeLetters, FastAPI]:
    """Made once: an application takes long to put together."""
    city, letters = FakeCity(), FakeLetters()
    counts = city.alarm_counts()
    city.alarm_counts = lambda: AlarmCounts(  # type: ignore[method-assign]
        standing=counts.standing, unacknowledged=0, to_review=0, on_trial=37, trial_since_us=START_US, trial_unsaid=2
    )
    app = create_app(
        queries=city, actions=city, changes=FakeChanges(), info=INFO, now_us=lambda: city.now_us, zone=UTC,
        letters=letters,
    )  # fmt: skip
    return city, letters, app


@pytest.fixture
async def desk(made: tuple[FakeCity, FakeLetters, FastAPI]) -> AsyncIterator[Desk]:
    city, letters, app = made
    city.trial_views, city.letter_views = [ON_TRIAL, CONFIRMED], [LETTER]
    letters.kept.clear()
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        yield Desk(city=city, letters=letters, client=client)


async def test_every_page_says_how_many_points_are_on_trial_and_since_when(desk: Desk) -> None:
    for path in ("/", "/alarms", "/notify", "/waveforms", "/trial", "/visits"):
        text = (await desk.client.get(f"{path}?lang=en")).text
        assert f"On trial</a> <b>37</b> <small>points, since {DAY}" in text, path
        assert "2 gateways state nothing of it" in text, path
    assert "试运行</a> <b>37</b>" in (await desk.client.get("/?lang=zh")).text


async def test_the_list_says_limits_since_letter_and_gateway(desk: Desk) -> None:
    text = (await desk.client.get("/trial?lang=en")).text
    assert "upper limit 25 %LEL" in text
    assert "confirmed by Li Wei on 2026-11-20" in text
    assert "The letter itself is not attached here." in text
    assert SUM in text
    assert EVIL not in text
    desk.city.letter_views = [replace(LETTER, name="l.pdf", attached_us=START_US, attached_by="Wang Fang")]
    assert "attached, and matches" in (await desk.client.get("/trial?lang=en")).text
    desk.city.trial_views, desk.city.letter_views = [], []
    assert "No point is known to be on trial." in (await desk.client.get("/trial?lang=en")).text


async def test_the_api_lists_it(desk: Desk) -> None:
    found = (await desk.client.get("/api/v1/trial?state=trial")).json()
    assert [(item["point"], item["state"], item["limits"][0]["value"]) for item in found] == [
        ("well-1/ch4", "trial", 25.0)
    ]
    (letter,) = (await desk.client.get("/api/v1/letters")).json()
    assert (letter["digest"], letter["named"][0]["by"], letter["attached_us"]) == (SUM, "Li Wei", None)
    assert (await desk.client.get("/api/v1/trial?state=maybe")).status_code == 422
    assert (await desk.client.get("/api/v1/alarm-counts")).json()["on_trial"] == 37


async def test_a_letter_is_attached_from_the_page(desk: Desk) -> None:
    form = {"by": " Wang Fang ", "note": "scan", "lang": "en", "digest": SUM}
    answer = await desk.client.post("/trial/letters", data=form, files={"file": ("确认.pdf", b"%PDF-1", "x/y")})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/trial?lang=en&attached={SUM}")
    assert desk.letters.kept == [(b"%PDF-1", "确认.pdf", "Wang Fang", "scan", "page 127.0.0.1", SUM)]
    wrong = await desk.client.post("/trial/letters?lang=en", data=form, files={"file": ("a", b"other", "x/y")})
    assert wrong.status_code == 409
    assert f"does not match: the gateway names {SUM}" in wrong.text
    assert "Nothing was kept. It does not match" in wrong.text
    wrong = await desk.client.post("/trial/letters?lang=zh", data=form, files={"file": ("a", b"other", "x/y")})
    assert "与网关指明的文件不符" in wrong.text


async def test_the_page_says_attached_only_of_a_file_that_is_here(desk: Desk) -> None:
    attached = "The letter matches what the gateway names, and is kept."
    assert attached in (await desk.client.get(f"/trial?lang=en&attached={SUM}")).text
    assert attached not in (await desk.client.get(f"/trial?lang=en&attached={'cd' * 32}")).text
    gone = replace(LETTER, digest="cd" * 32, name="l.pdf", attached_us=START_US, attached_by="Wang Fang")
    desk.city.letter_views = [gone]
    text = (await desk.client.get("/trial?lang=en")).text
    assert "attached, and matches" not in text
    assert "its file is gone from here: attach it again." in text
    assert f'name="digest" value="{"cd" * 32}"' in text


async def test_a_letter_is_attached_by_the_api_and_handed_out_as_a_file(desk: Desk) -> None:
    answer = await desk.client.put("/api/v1/letters", params={"by": "Wang Fang", "name": "l.pdf"}, content=b"%PDF-2")
    assert answer.json() == {"digest": SUM}
    assert desk.letters.kept == [(b"%PDF-2", "l.pdf", "Wang Fang", "", "api 127.0.0.1", "")]
    file = await desk.client.get(f"/api/v1/letters/{SUM}")
    assert file.content == b"%PDF"
    assert file.headers["content-type"] == "application/octet-stream"
    assert file.headers["x-content-type-options"] == "nosniff"
    assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''%E7%A1%AE%E8%AE%A4%20%221%22.pdf"
    assert (await desk.client.get("/api/v1/letters/00")).status_code == 404
    refused = await desk.client.put("/api/v1/letters", params={"by": "x"}, content=b"other")
    assert (refused.status_code, refused.json()["detail"][:14]) == (409, "does not match")


async def test_what_is_too_large_has_no_name_or_comes_from_another_site_is_refused(desk: Desk) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"%PDF"

    put, params = desk.client.put, {"by": "x"}
    large = {"Content-Length": str(MOST_BYTES + 1)}
    assert (await put("/api/v1/letters", params=params, content=b"", headers=large)).status_code == 413
    assert (await put("/api/v1/letters", params=params, content=endless())).status_code == 411
    assert (await put("/api/v1/letters", params={"by": " "}, content=b"%PDF")).status_code == 422
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert (await put("/api/v1/letters", params=params, content=b"%PDF", headers=foreign)).status_code == 403
    files = {"file": ("a.pdf", b"%PDF", "x/y")}
    assert (await desk.client.post("/trial/letters", data={"by": ""}, files=files)).status_code == 422
    assert (await desk.client.post("/trial/letters", data={"by": "x"}, files=files, headers=foreign)).status_code == 403
    assert desk.letters.kept == []
