"""From settings to notifiers; addresses stay secret on the way."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from collector.database import FILE_NAME
from collector.errors import SettingsError
from collector.notify.apprise_channel import scheme_of
from collector.notify.board import NotifyBoard
from collector.queries import SqliteQueries
from collector.settings import Settings, load_settings
from tests.collector.conftest import Bench
from tests.collector.notify.test_notifier import FakeChannel

SECRET = "s3cr3t-token"


def load(folder: Path, text: str) -> Settings:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f'[[notify]]\nname="a"\nurls=["json://{SECRET}"]\nurls_file="f"', "either urls or urls_file"),
        ('[[notify]]\nname="a"', "either urls or urls_file"),
        (f'[[notify]]\nname="A b"\nurls=["json://{SECRET}"]', "notify.0.name"),
        (f'[[notify]]\nname="a"\nurls="json://{SECRET}"', "notify.0.urls"),
        (f'[[notify]]\nname="a"\nurls=["json://{SECRET}"]\nurl="json://{SECRET}"', "there are name, urls"),
        (f'[[notify]]\nname="a"\nurls=["json://{SECRET}"]\nseverities=["purple"]', "severities.0"),
        (f'[[notify]]\nname="a"\nurls=["json://{SECRET}"]\nrepeat_s=5', "30 at least"),
        (f'[notify]\nname="a"\nurls=["json://{SECRET}"]', "notify: "),
        (f'[[notify]]\nname="a"\nurls=["json://{SECRET}"]\n' * 2, "a is there twice"),
    ],
)
def test_wrong_settings_are_sentences_without_secrets(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(sentence)) as caught:
        load(tmp_path, text)
    assert SECRET not in str(caught.value)


def test_an_address_does_not_show_where_settings_are_printed(tmp_path: Path) -> None:
    assert SECRET not in repr(load(tmp_path, f'[[notify]]\nname="a"\nurls=["json://{SECRET}"]'))


@pytest.mark.parametrize(
    ("url", "scheme"), [("dingtalk://token", "dingtalk"), ("mailto://a:b@c", "mailto"), ("nothing", "?")]
)
def test_a_scheme_is_no_secret(url: str, scheme: str) -> None:
    assert scheme_of(url) == scheme


class Boards:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.channels: dict[str, FakeChannel] = {}
        self.queries = SqliteQueries(bench.data / FILE_NAME, lambda: bench.now_us)

    def make(self, text: str) -> NotifyBoard:
        def channel(url: str, place: str) -> FakeChannel:
            return self.channels.setdefault(url, FakeChannel())

        def run(job: Any) -> Future[Any]:
            future: Future[Any] = Future()
            db = sqlite3.connect(self.bench.data / FILE_NAME, timeout=20)
            with db:
                future.set_result(job(db))
            db.close()
            return future

        return NotifyBoard(
            load(self.bench.data, text).notify, data=self.bench.data, path=self.bench.data / FILE_NAME, run=run,
            queries=self.queries, now_us=lambda: self.bench.now_us, on_change=lambda change: None,
            names=lambda gateway: ("", ""), channel=channel,
        )  # fmt: skip


@pytest.fixture
def boards(bench: Bench) -> Iterator[Boards]:
    made = Boards(bench)
    yield made
    made.queries.close()


def test_a_test_goes_to_every_address_of_the_rule_and_is_recorded(boards: Boards) -> None:
    (boards.bench.data / "urls").write_text("# the duty room\njson://one\n\njson://two\n", encoding="utf-8")
    board = boards.make('[[notify]]\nname="duty"\nurls_file="urls"\n[[notify]]\nname="other"\nurls=["json://three"]')
    board.start()
    try:
        told = board.test("duty", "api 127.0.0.1")
        assert told is not None
        assert sorted((n.target, n.kind, n.outcome, n.by) for n in told) == [
            ("duty/1", "test", "sent", "api 127.0.0.1"),
            ("duty/2", "test", "sent", "api 127.0.0.1"),
        ]
        assert board.test("nobody", "api") is None
    finally:
        board.stop()
        board.stop()
    assert [len(boards.channels[f"json://{n}"].sent) for n in ("one", "two", "three")] == [1, 1, 0]
    assert sorted(n.id for n in board.recent(10)) == [1, 2]
    assert [rule.targets for rule in board.rules()] == [
        (("duty/1", "json"), ("duty/2", "json")),
        (("other/1", "json"),),
    ]


@pytest.mark.parametrize(("content", "sentence"), [(None, "No such file"), ("# nobody\n", "holds no address")])
def test_a_file_of_addresses_that_is_none_is_a_sentence(boards: Boards, content: str | None, sentence: str) -> None:
    if content is not None:
        (boards.bench.data / "urls").write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=sentence):
        boards.make('[[notify]]\nname="duty"\nurls_file="urls"')
