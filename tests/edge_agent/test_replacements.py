"""Units that took the place of others."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_agent.errors import StateDirError
from edge_agent.replacements import FILE, Replacement, add_replacement, read_replacements, serial_now


def one(old: str, new: str, device: str = "main-1") -> Replacement:
    return Replacement(
        device=device, old=old, new=new, by="Chen", reason="沉积物 sediment", calibrated="", at="2026-06-01T08:00:00Z"
    )


def test_what_was_added_is_read_in_order(tmp_path: Path) -> None:
    assert read_replacements(tmp_path) == ()
    for item in (one("1", "2"), one("2", "3")):
        add_replacement(tmp_path, item)
    assert read_replacements(tmp_path) == (one("1", "2"), one("2", "3"))
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("declared", "items", "now"),
    [
        ("1", [], "1"),
        ("1", [one("1", "2")], "2"),
        ("1", [one("1", "2"), one("2", "3")], "3"),
        ("1", [one("1", "2", "other")], "1"),
        # the site file has the new number by now
        ("2", [one("1", "2")], "2"),
        ("9", [one("1", "2"), one("2", "3")], "9"),
        # a unit came back from repair
        ("1", [one("1", "2"), one("2", "1")], "1"),
    ],
)
def test_the_serial_number_that_counts(declared: str, items: list[Replacement], now: str) -> None:
    assert serial_now("main-1", declared, items) == now


@pytest.mark.parametrize("line", ["", "{}", "[]", "not json", '{"device": 1}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    add_replacement(tmp_path, one("1", "2"))
    with (tmp_path / FILE).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(StateDirError, match="line 2 is no replacement"):
        read_replacements(tmp_path)


def test_two_persons_do_not_replace_the_same_unit_unseen(tmp_path: Path) -> None:
    add_replacement(tmp_path, one("1", "2"))
    with pytest.raises(StateDirError, match="somebody accepted 2 in place of 1 meanwhile"):
        add_replacement(tmp_path, one("1", "3"))
    assert read_replacements(tmp_path) == (one("1", "2"),)


def test_two_at_once_lose_neither(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: add_replacement(tmp_path, one("1", "2", f"main-{number}")), range(40)))
    assert {item.device for item in read_replacements(tmp_path)} == {f"main-{number}" for number in range(40)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_accepts_the_agent_can_read(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    add_replacement(tmp_path, one("1", "2"))
    found = (tmp_path / FILE).stat()
    assert (found.st_uid, found.st_gid) == (12345, 12346)
