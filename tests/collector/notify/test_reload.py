"""Rules that change while the collector runs: what is the same goes on, and a bad file changes nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from collector.notify.reload import RulesFile
from collector.settings import NotifySettings, SettingsError, load_settings
from tests.collector.conftest import Bench
from tests.collector.notify.test_board import Boards

ONE = '[[notify]]\nname="duty"\nurls=["json://one"]\n'
TWO = '[[notify]]\nname="owner"\nurls_file="owner.urls"\nseverities=["red"]\n'


@pytest.fixture
def boards(bench: Bench) -> Iterator[Boards]:
    made = Boards(bench)
    yield made
    made.queries.close()


class FakeBoard:
    def __init__(self) -> None:
        self.taken: list[list[str]] = []
        self.problem = ""

    def take(self, settings: Sequence[NotifySettings]) -> None:
        if any(rule.name == "wrong" for rule in settings):
            raise SettingsError("notify.wrong, address 1: no such address")
        self.taken.append([rule.name for rule in settings])

    def say(self, problem: str) -> None:
        self.problem = problem


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], None]:
    def put(name: str, text: str) -> None:
        # Another file takes its place, as an editor does it: two writes within one tick of a clock are told apart.
        part = tmp_path / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        os.replace(part, tmp_path / name)

    return put


def settle(rules: RulesFile) -> bool:
    """Looks until a change that there is has been looked at twice."""
    return rules.look() or rules.look()


def test_files_are_read_when_they_change_and_only_then(tmp_path: Path, write: Callable[[str, str], None]) -> None:
    board, path = FakeBoard(), tmp_path / "settings.toml"
    rules = RulesFile(path, tmp_path, board, ())
    assert not settle(rules)
    write("settings.toml", ONE)
    assert settle(rules)
    assert not settle(rules)
    write("owner.urls", "json://owner\n")
    assert not settle(rules)  # no rule names it yet
    write("settings.toml", ONE + TWO)
    assert settle(rules)
    write("owner.urls", "json://another\n")
    assert settle(rules)
    assert board.taken == [["duty"], ["duty", "owner"], ["duty", "owner"]]
    write("settings.toml", "")
    assert settle(rules)
    assert board.taken[-1] == []


def test_half_a_file_is_not_taken_for_rules(tmp_path: Path, write: Callable[[str, str], None]) -> None:
    write("settings.toml", ONE)
    board = FakeBoard()
    rules = RulesFile(tmp_path / "settings.toml", tmp_path, board, ())
    write("settings.toml", "")  # an editor has emptied it, and writes
    assert not rules.look()
    write("settings.toml", ONE + TWO)
    assert not rules.look()
    assert rules.look()
    assert board.taken == [["duty", "owner"]]


def test_a_settings_file_that_is_gone_ends_no_notification(tmp_path: Path, write: Callable[[str, str], None]) -> None:
    write("settings.toml", TWO)
    board, path = FakeBoard(), tmp_path / "settings.toml"
    rules = RulesFile(path, tmp_path, board, load_settings(path).notify)
    path.unlink()
    assert settle(rules)
    assert "settings.toml is gone" in board.problem
    write("owner.urls", "json://another\n")
    assert settle(rules)
    assert "settings.toml is gone" in board.problem
    assert board.taken == []
    write("settings.toml", ONE)
    assert settle(rules)
    assert (board.problem, board.taken) == ("", [["duty"]])


def test_a_file_of_addresses_that_comes_after_the_rule_that_names_it_is_taken(
    boards: Boards,
) -> None:
    board, path = boards.make(""), boards.bench.data / "settings.toml"
    rules = RulesFile(path, boards.bench.data, board, ())
    path.write_text(TWO, encoding="utf-8")
    assert settle(rules)
    assert "owner.urls" in board.problem()
    (boards.bench.data / "owner.urls").write_text("json://owner\n", encoding="utf-8")
    assert settle(rules)
    assert board.problem() == ""
    assert [rule.name for rule in board.rules()] == ["owner"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[notify]\n", "settings.toml"),
        ('[[notify]]\nname="duty"\n', "either urls or urls_file"),
        ('[[notify]]\nname="wrong"\nurls=["x://y"]\n', "no such address"),
    ],
)
def test_a_bad_file_changes_nothing_and_says_so_until_it_is_right(
    tmp_path: Path, write: Callable[[str, str], None], text: str, sentence: str
) -> None:
    board = FakeBoard()
    write("settings.toml", ONE)
    rules = RulesFile(tmp_path / "settings.toml", tmp_path, board, ())
    write("settings.toml", text)
    assert settle(rules)
    assert sentence in board.problem
    assert board.taken == []
    assert not settle(rules)
    write("settings.toml", ONE)
    assert settle(rules)
    assert (board.problem, board.taken) == ("", [["duty"]])


def test_the_board_runs_new_rules_and_leaves_the_same_alone(boards: Boards) -> None:
    board = boards.make(ONE)
    board.start()
    try:
        (before,) = [thread.name for thread in threads()]
        (boards.bench.data / "owner.urls").write_text("json://owner\n", encoding="utf-8")
        same = threads()
        board.take(load_text(boards, ONE + TWO))
        assert [rule.name for rule in board.rules()] == ["duty", "owner"]
        assert same[0].is_alive()
        assert before == "notify duty/1"
        told = board.test("owner", "api")
        assert told is not None
        assert [notice.outcome for notice in told] == ["sent"]
        board.take(load_text(boards, TWO))
        assert [rule.name for rule in board.rules()] == ["owner"]
        assert not same[0].is_alive()
        assert board.test("duty", "api") is None
        with pytest.raises(SettingsError, match=r"nowhere\.urls"):
            board.take(load_text(boards, TWO.replace("owner.urls", "nowhere.urls")))
        assert [rule.name for rule in board.rules()] == ["owner"]
        assert board.test("owner", "api")
    finally:
        board.stop()
    assert threads() == []


def load_text(boards: Boards, text: str) -> Sequence[NotifySettings]:
    path = boards.bench.data / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path).notify


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("notify ")]
