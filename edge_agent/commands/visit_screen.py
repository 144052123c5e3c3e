"""What the technician sees during a visit: the value large, beside it its age and quality, below it what to do.

Pure: a state of ``edge_agent.visits`` in, lines of text out.  A number stands there only where a sure one was read;
over-range is words, never a number.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.units import UNITS
from edge_agent.commands.visit_words import reason_of, say
from edge_agent.commands.words import Words

#: five rows of each character, in blocks
_FONT: dict[str, tuple[str, str, str, str, str]] = {
    "0": ("█████", "█   █", "█   █", "█   █", "█████"),
    "1": ("  █  ", " ██  ", "  █  ", "  █  ", "█████"),
    "2": ("█████", "    █", "█████", "█    ", "█████"),
    "3": ("█████", "    █", " ████", "    █", "█████"),
    "4": ("█   █", "█   █", "█████", "    █", "    █"),
    "5": ("█████", "█    ", "█████", "    █", "█████"),
    "6": ("█████", "█    ", "█████", "█   █", "█████"),
    "7": ("█████", "    █", "   █ ", "  █  ", "  █  "),
    "8": ("█████", "█   █", "█████", "█   █", "█████"),
    "9": ("█████", "█   █", "█████", "    █", "█████"),
    ".": (" ", " ", " ", " ", "█"),
    "-": ("    ", "    ", "████", "    ", "    "),
    "+": ("     ", "  █  ", "█████", "  █  ", "     "),
    "e": ("     ", "█████", "█████", "█    ", "█████"),
}
#: what stands where no number is
NO_NUMBER = "--"


def big(text: str) -> list[str]:
    """Returns a number as five lines of blocks."""
    shapes = [_FONT[letter] for letter in text if letter in _FONT]
    return ["  ".join(shape[row] for shape in shapes) for row in range(5)]


def screen(view: Mapping[str, Any], words: Words, *, width: int = 80, refused: str = "") -> list[str]:
    """Returns the lines of the screen; none is wider than ``width`` columns.

    Args:
        view: as ``visit-state`` answers.
        refused: why the step that was tried last is not possible; empty: it was.
    """
    unit = UNITS[view["unit"]]
    head = f"{view['point']}  {words.of(view)}"
    what = f"{say(words, 'job ' + view['job'])}  {view['by']}"
    shown = view["text"] if view["value"] is not None else NO_NUMBER
    lines = [head, what, "", *(f"  {row}" for row in big(shown)), ""]
    lines[5] += f"   {unit.en if words.language == 'en' else unit.zh}"
    lines += [f"  {_quality(view, words)}", ""]
    lines += [f"  {line}" for line in _facts(view, words)]
    lines.append("")
    if view["result"] is not None:
        lines += [f"  {line}" for line in ended(view, words)]
    else:
        lines.append(f"  > {_advice(view, words)}")
        lines += [f"  ! {refused}" if refused else "", f"  {_left('left', view, words)}"]
        if view["failing"]:
            lines.append(f"  {say(words, 'failing', reason=reason_of(words, view['failing']))}")
        if view["own_alarms"]:
            lines.append(f"  {own_alarms(view, words)}")
        lines += ["", f"  {say(words, 'keys')}"]
    return [piece for line in lines for piece in _folded(line, width)]


def ended(view: Mapping[str, Any], words: Words) -> list[str]:
    """Returns the verdict in words."""
    verdict = say(words, f"result {view['result']}")
    if view["result_reason"]:
        verdict += say(words, "because", reason=reason_of(words, view["result_reason"]))
    return [verdict, say(words, "ended", point=view["point"], by=view["by"])]


def own_alarms(view: Mapping[str, Any], words: Words) -> str:
    """Returns which alarms of the same instrument are judged all the same."""
    return say(words, "own alarms", points=", ".join(view["own_alarms"]))


def left_it(view: Mapping[str, Any], words: Words) -> str:
    """Returns what happens after the terminal is gone."""
    return _left("left it", view, words, point=view["point"], by=_quoted(view["by"]))


def given_up(view: Mapping[str, Any], words: Words) -> str:
    """Returns what happens after the person gave up."""
    return _left("given up", view, words)


def _left(key: str, view: Mapping[str, Any], words: Words, **facts: Any) -> str:
    minutes, seconds = divmod(round(view["left_s"]), 60)
    return say(words, key, minutes=minutes, seconds=seconds, **facts)


def _quoted(name: str) -> str:
    return name if name.isalnum() else "'" + name.replace("'", "'\\''") + "'"


def _quality(view: Mapping[str, Any], words: Words) -> str:
    if view["quality"] is None:
        return say(words, "no value")
    quality = say(words, f"quality {view['quality']}", reason=words.of(view, "reason"))
    return say(words, "age", quality=quality, age=view["age_s"])


def _advice(view: Mapping[str, Any], words: Words) -> str:
    target = "?"
    if view["applied"] is not None and view["zero"] is not None:
        target = f"{view['zero'] + 0.9 * (view['applied'] - view['zero']):.4g}"
    return say(words, f"advice {view['advice']}", target=target)


def _facts(view: Mapping[str, Any], words: Words) -> list[str]:
    """Returns what was found so far, one thing a line."""
    is_bump = view["job"] == "bump"
    found = [("zero" if is_bump else "before", view["zero"]), ("gas", view["applied"])]
    found.append(("peak" if is_bump else "after", view["peak"]))
    lines = [f"{say(words, name)}: {_number(value)}" for name, value in found]
    if is_bump:
        lines.append(f"{say(words, 't90')}: {_time(words, view['t90_s'], view['gas_s'], view['t90_limit_s'])}")
        lines.append(f"{say(words, 'return')}: {_time(words, view['return_s'], view['off_s'], view['return_limit_s'])}")
    return lines


def _number(value: float | None) -> str:
    return NO_NUMBER if value is None else f"{value:.5g}"


def _time(words: Words, took_s: float | None, running_s: float | None, limit_s: float) -> str:
    if took_s is not None:
        return say(words, "took", seconds=took_s, limit=limit_s)
    if running_s is not None:
        return say(words, "of at most", seconds=running_s, limit=limit_s)
    return NO_NUMBER


def columns(text: str) -> int:
    """Returns how many columns of a terminal a text takes; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _folded(line: str, width: int) -> Sequence[str]:
    """Parts a line that is too wide."""
    if columns(line) <= width:
        return [line]
    pieces, piece = [], ""
    for letter in line:
        if columns(piece) + columns(letter) > width:
            cut = piece.rfind(" ") + 1
            cut = cut if cut > len(piece) // 2 else len(piece)
            pieces.append(piece[:cut].rstrip())
            piece = "  " + piece[cut:]
        piece += letter
    return [*pieces, piece]
