"""Proof tests of the annunciator: which one passed last, and when the next is due.

The journal of the state directory (``journal``) is the proof-test journal: a line of kind ``proof-test`` each, the
result first.  Nothing here writes; a line that is torn or of another form counts for nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from edge_agent.errors import StateDirError
from edge_agent.journal import FILE
from edge_agent.state_dir import unusable

KIND = "proof-test"
PASSED, FAILED = "passed", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofTests:
    """What the journal knows."""

    #: day of the newest that passed; None: none did
    passed: date | None = None
    #: day and result of the newest of all; None and empty: there was none
    last: date | None = None
    result: str = ""

    def due(self, days: int) -> date | None:
        """Returns when the next is due; None: none is watched (0 days), or none ever passed."""
        return None if not days or self.passed is None else self.passed + timedelta(days=days)


def read_proof_tests(folder: Path, today: date | None = None) -> ProofTests:
    """Returns what the journal knows of proof tests.

    Args:
        folder: the state directory.
        today: UTC; a test that is dated more than a day later counts for nothing: some clock was wrong, and it
            would never be due again.  None: every one counts.

    Raises:
        StateDirError: the journal is there and cannot be read.
    """
    path = folder / FILE
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ProofTests()
    except OSError as error:
        raise unusable(path, error) from error
    passed = last = None
    result = ""
    for line in lines:
        found = _parse(line)
        if found is None:
            continue
        if today is not None and found[0] - today > timedelta(days=1):
            continue
        last, result = found
        passed = last if result == PASSED else passed
    return ProofTests(passed=passed, last=last, result=result)


def _parse(line: str) -> tuple[date, str] | None:
    try:
        entry = json.loads(line)
        if entry["kind"] != KIND:
            return None
        result = entry["text"].split(":", 1)[0]
        return (date.fromisoformat(entry["at"][:10]), result) if result in (PASSED, FAILED) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def known_proof_tests(folder: Path, today: date) -> ProofTests | None:
    """As ``read_proof_tests``; None where this user may not read the journal."""
    try:
        return read_proof_tests(folder, today)
    except StateDirError:
        return None
