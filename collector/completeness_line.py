"""The completeness of a gateway in one line, for its page.  Pure; the counts are those of ``collector.ledger``."""

from __future__ import annotations

from collections.abc import Iterable

from collector.completeness_words import LANGUAGES, OUTCOMES, WHOSE
from collector.views import CompletenessView

#: outcomes of a tick that has a reading
MEASURED = ("good", "uncertain", "late")
_WORDS = {
    "measured": ("{percent} % of {expected} expected readings measured", "应有 {expected} 个读数，已测得 {percent} %"),
    "nothing": ("nothing was expected", "没有应有的读数"),
}


def day_line(views: Iterable[CompletenessView], language: str) -> str:
    """Returns one line over all points: how much was measured, and what became of the rest, most first."""
    place = LANGUAGES.index(language)
    expected = measured = 0
    others: dict[tuple[str, str], int] = {}
    for view in views:
        expected += view.expected
        for outcome, _, whose, ticks in view.counts:
            if outcome in MEASURED:
                measured += ticks
            else:
                others[outcome, whose] = others.get((outcome, whose), 0) + ticks
    if not expected:
        return _WORDS["nothing"][place]
    text = _WORDS["measured"][place].format(percent=_percent(measured, expected), expected=f"{expected:,}")
    parts = [
        f"{_word(OUTCOMES, outcome, place)}{_of(whose, place)} {ticks:,}"
        for (outcome, whose), ticks in sorted(others.items(), key=lambda item: (-item[1], item[0]))
    ]
    return text + (("; " if language == "en" else "；") + ", ".join(parts) if parts else "")


def _percent(part: int, whole: int) -> str:
    """Returns a share with one decimal that says 100 or 0 only where it is all or nothing."""
    if part in (0, whole):
        return "100" if part else "0"
    tenths = min(999, max(1, part * 1000 // whole))
    return f"{tenths // 10}.{tenths % 10}"


def _of(whose: str, place: int) -> str:
    return f" ({_word(WHOSE, whose, place)})" if whose else ""


def _word(table: dict[str, tuple[str, str]], key: str, place: int) -> str:
    return table[key][place] if key in table else key
