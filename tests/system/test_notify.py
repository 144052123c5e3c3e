"""From a word in a simulated sensor to a message at a webhook; also after a cut link and a killed collector."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.collector.notify.webhook import SECRET, Webhook
from tests.system.rig import POINT, Process, Rig, until

pytestmark = pytest.mark.ci


@pytest.fixture
def hook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.close()


@pytest.fixture
def rig(tmp_path: Path, hook: Webhook) -> Iterator[Rig]:
    made = Rig(tmp_path)
    (tmp_path / "duty.urls").write_text(f"# the duty room\n{hook.url}\n")
    (tmp_path / "settings.toml").write_text(
        f"[http]\nport = {made.http_port}\n[broker]\nport = {made.broker_port}\n"
        '[[notify]]\nname = "duty"\nurls_file = "../duty.urls"\nseverities = ["red", "orange", "yellow", "blue"]\n'
    )
    made.collector = new_collector(made)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def new_collector(rig: Rig) -> Process:
    settings = str(rig.folder / "settings.toml")
    return Process(rig.folder, "collector", "collector.cli", "serve", settings, "--data", str(rig.data))


def notices(rig: Rig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(rig.get("/api/v1/notices"))
    return found


def test_an_alarm_is_told_after_a_cut_link_and_after_a_kill(rig: Rig, hook: Webhook) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{rig.http_port}/api/v1/notify/test",
        data=json.dumps({"name": "duty"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        (told,) = json.load(answer)
    assert (told["target"], told["kind"], told["outcome"]) == ("duty/1", "test", "sent")
    assert "测试通知" in hook.taken[0]["title"]

    # The link is cut, the alarm starts, the link returns.
    hook.taken.clear()
    rig.simulate("link", "cut")
    rig.simulate("set", POINT, "60")
    until(
        lambda: json.loads(rig.command("edge_agent.cli", "alarms", "--config", str(rig.site), "--json")),
        "the alarm at the gateway",
    )
    hook.may_answer.clear()
    rig.simulate("link", "restore")
    until(rig.is_connected, "the gateway's connection", 60.0, 0.02)
    since = time.monotonic()
    until(lambda: hook.taken, "a message", 20.0, 0.01)
    assert time.monotonic() - since < 2.0
    assert "可能的险情" in hook.taken[0]["title"]
    assert "possible hazard" in hook.taken[0]["title"]

    # The collector is killed before the webhook has answered, and told again what it was about to know.
    rig.collector.kill()
    hook.taken.clear()
    hook.may_answer.set()
    rig.collector = new_collector(rig)
    rig.collector.start()
    until(rig.is_healthy, "the collector's page")
    until(lambda: any("可能重复" in message["message"] for message in hook.taken), "the message once more")
    until(lambda: any(n["is_possible_repeat"] and n["outcome"] == "sent" for n in notices(rig)), "its answer")
    for alarm in rig.alarms():
        until(lambda id=alarm["id"]: _told(rig, id), "the attempts on the time line")
    for process in (rig.collector, rig.agent):
        assert SECRET not in process.log


def _told(rig: Rig, id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(rig.get(f"/api/v1/alarms/{id}"))["notices"]
    return [notice for notice in found if notice["outcome"] == "sent"]
