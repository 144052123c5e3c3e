"""The boot counter: one more with each boot, whatever its file holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.boot import count_boot

ONE, TWO = b"\x01" * 16, b"\x02" * 16


def test_a_boot_is_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "boot.json"
    assert [count_boot(path, boot).counter for boot in (ONE, ONE, TWO, TWO, ONE)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rubbish",
        "[]",
        "{}",
        '{"boot_id": "x", "counter": null}',
        '{"boot_id": "x", "counter": -9}',
        '{"boot_id": "x", "counter": 1e999}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_a_file_that_is_no_counter_starts_again_at_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "boot.json"
    path.write_text(text, encoding="latin-1")
    assert count_boot(path, ONE).counter == 1
    assert count_boot(path, TWO).counter == 2


def test_the_counter_stays_what_the_wire_carries(tmp_path: Path) -> None:
    path = tmp_path / "boot.json"
    path.write_text('{"boot_id": "x", "counter": 99999999999999}')
    assert count_boot(path, ONE).counter == (1 << 32) - 1
    path.write_text(f'{{"boot_id": "{ONE.hex()}", "counter": -5}}')
    assert count_boot(path, ONE).counter == 1


def test_a_counter_that_cannot_be_written_is_used_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "boot.json.new").mkdir()
    assert count_boot(tmp_path / "boot.json", ONE).counter == 1
    assert "cannot be kept" in caplog.text
