"""The library against a webhook on loopback: one request for one attempt, and nothing secret comes out."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.errors import SettingsError
from collector.notify.apprise_channel import AppriseChannel, refusal_of
from collector.notify.log import Answer
from tests.collector.conftest import Bench
from tests.collector.notify.test_notifier import World
from tests.collector.notify.webhook import SECRET, Webhook

# Loading the library takes seconds.
pytestmark = pytest.mark.ci


@pytest.fixture
def hook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.close()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a log of everything would show; pytest's own also listens where a program's does not."""
    text, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.setLevel(level)
    root.removeHandler(handler)


def test_one_attempt_is_one_request_and_its_answer_is_told(hook: Webhook, log: io.StringIO) -> None:
    channel = AppriseChannel(hook.url, "notify.duty, address 1")
    assert channel.send("标题", "一\ntwo <b>", "red") == Answer(outcome="sent")
    assert (hook.taken[0]["title"], hook.taken[0]["message"], hook.taken[0]["type"]) == (
        "标题",
        "一\ntwo <b>",
        "failure",
    )
    hook.status = 500
    assert channel.send("t", "b", "info") == Answer(outcome="failed", detail="answered 500")
    assert len(hook.taken) == 2  # neither ``retry`` nor ``optional`` of the address counts
    hook.close()
    assert channel.send("t", "b", "red") == Answer(outcome="failed", detail="no connection, or no answer in time")
    assert SECRET not in log.getvalue()


@pytest.mark.parametrize("url", [f"nothing://{SECRET}", SECRET, f"dingtalk://{SECRET}!"])
def test_an_address_that_is_none_is_a_sentence_without_it(url: str, log: io.StringIO) -> None:
    with pytest.raises(SettingsError, match=r"notify\.duty, address 1: apprise") as caught:
        AppriseChannel(url, "notify.duty, address 1")
    assert SECRET not in str(caught.value) + log.getvalue()


@pytest.mark.parametrize(
    "url",
    ["dingtalk://abcdef1234", "wecombot://abcdef1234", "feishu://abcdef1234", "mailto://u:p@example.com", "json://h"],
)
def test_the_services_that_the_documentation_names_are_known(url: str) -> None:
    AppriseChannel(url, "place")


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b'{"errcode":0,"errmsg":"ok"}', Answer(outcome="sent")),
        (b'{"errcode":310000,"errmsg":"s3cr3t"}', Answer(outcome="failed", detail="refused with code 310000")),
        (b"", Answer(outcome="sent")),
    ],
)
def test_a_refusal_in_the_text_of_a_reply_is_a_failure(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch, content: bytes, answer: Answer
) -> None:
    from apprise.plugins.dingtalk import NotifyDingTalk

    monkeypatch.setattr(NotifyDingTalk, "notify_url", f"http://127.0.0.1:{hook.server.server_port}/{{token}}")
    monkeypatch.setattr(NotifyDingTalk, "request_rate_per_sec", 0)
    hook.content = content
    assert AppriseChannel("dingtalk://abcdef1234", "place").send("t", "b", "red") == answer
    assert len(hook.taken) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [(b'{"code":19001}', 19001), (b'{"StatusCode":0,"code":0}', None), (b"[]", None), (b"<html>", None)],
)
def test_which_text_is_a_refusal(content: bytes, code: int | None) -> None:
    assert refusal_of(content) == code


CHILD = """
import sqlite3, sys
from concurrent.futures import Future
from pathlib import Path
from collector.data_dir import wall_us
from collector.database import open_reader, open_writer
from collector.notify.apprise_channel import AppriseChannel, refusal_of
from collector.notify.log import NoticeLog
from collector.notify.notifier import Notifier
from collector.notify.plan import Rule
from collector.queries import SqliteQueries

path, url = Path(sys.argv[1]), sys.stdin.readline().strip()
db = open_writer(path)

def run(job):
    future = Future()
    db.execute("BEGIN IMMEDIATE")
    future.set_result(job(db))
    db.execute("COMMIT")
    return future

log = NoticeLog(run)
reader = open_reader(path)
log.open(reader)
notifier = Notifier(
    "duty/1", Rule(name="duty", severities=frozenset({"red"})), AppriseChannel(url, "here"), path=path, notices=log,
    queries=SqliteQueries(path, wall_us), now_us=wall_us, on_change=lambda change: None,
)
notifier.open(reader)
while True:
    notifier.step(reader)
"""


def test_a_collector_killed_before_the_answer_tells_it_again_and_says_so(
    bench: Bench, hook: Webhook, tmp_path: Path
) -> None:
    world = World(bench)
    world.raise_alarm()
    hook.may_answer.clear()
    path = str(bench.data / "evidence.sqlite3")
    with subprocess.Popen([sys.executable, "-c", CHILD, path], stdin=subprocess.PIPE, cwd=Path.cwd()) as child:
        assert child.stdin is not None
        child.stdin.write(f"{hook.url}\n".encode())  # not an argument: those can be read by everybody
        child.stdin.flush()
        try:
            assert hook.came.wait(60)
        finally:
            os.kill(child.pid, signal.SIGKILL)
    hook.may_answer.set()
    world.start()
    world.step()
    assert "可能重复" in world.channel.sent[0][1]
    assert [(kind, repeat, outcome) for kind, _, repeat, outcome, _ in world.kept()] == [
        ("first", 0, None),
        ("first", 1, "sent"),
    ]
    world.db.close()
    world.queries.close()
