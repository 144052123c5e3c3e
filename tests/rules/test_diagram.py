from __future__ import annotations

from pathlib import Path

from rules.diagram import draw, main
from rules.limit import TABLE


def test_every_signal_of_the_table_is_drawn() -> None:
    text = draw()
    for phase, row in TABLE.items():
        for signal, target in row.items():
            line = next(line for line in text.splitlines() if line.startswith(f"    {phase} --> {target}:"))
            assert signal.value in line


def test_the_committed_document_is_current() -> None:
    assert main(["--check"]) == 0


def test_check_fails_for_a_document_that_is_missing_or_behind(tmp_path: Path) -> None:
    document = tmp_path / "docs" / "states.md"
    assert main(["--check", "--file", str(document)]) == 1
    assert main(["--file", str(document)]) == 0
    assert main(["--check", "--file", str(document)]) == 0
    document.write_text(document.read_text(encoding="utf-8") + "x", encoding="utf-8")
    assert main(["--check", "--file", str(document)]) == 1
