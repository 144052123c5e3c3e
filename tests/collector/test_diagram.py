"""The document of the measurement states is that of the tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.diagram import DOCUMENT, draw, main
from collector.measurement import Measurement, Signal


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == draw()
    assert main(["--check"]) == 0


def test_it_shows_every_state_and_signal() -> None:
    for word in (*Measurement, *Signal):
        assert word in draw()


def test_a_document_that_is_behind_fails_and_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "alarm-states.md"
    path.write_text("old")
    assert main(["--check", "--file", str(path)]) == 1
    assert "python -m collector.diagram" in capsys.readouterr().err
    assert main(["--file", str(path)]) == 0
    assert main(["--check", "--file", str(path)]) == 0
