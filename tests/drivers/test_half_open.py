from __future__ import annotations

import pytest

from drivers.half_open import Unanswered


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("-1 -1", False),
        ("-1 -1 -1", True),
        ("-1 -2 -3", True),
        ("+1 -1 -1 -1", True),
        ("+1 +2 +3 -1 -2 -3", True),
        ("+1 -1 -1 +1 -1", False),
        # Three dead neighbours behind a gateway whose other devices answer.
        ("-1 -2 -3 +4 -1 -2 -3", False),
        ("+4 -1 -2 -3 -1 -2 -3", False),
        # They are dead, and then the one that was well falls silent too.
        ("+4 -1 -2 -3 -4", True),
        ("+4 +5 -1 -2 -3 -4", True),
        # A stray frame is a sign of life.
        ("-1 -1 ? -1", False),
    ],
)
def test_when_a_connection_is_half_open(told: str, expected: bool) -> None:
    """``+n`` unit n answered, ``-n`` it did not, ``?`` something else came; the last one decides."""
    unanswered, is_half_open = Unanswered(), False
    for word in told.split():
        if word == "?":
            unanswered.heard()
        elif word[0] == "+":
            unanswered.answered(int(word[1:]))
        else:
            is_half_open = unanswered.add(int(word[1:]))
    assert is_half_open is expected
