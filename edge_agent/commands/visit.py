"""``edge-agent visit``: bump test or calibration of one point, with the agent that runs.

The agent owns the visit; this is its window.  In a terminal the value stands there large and Enter is the next
step; without one, or with ``--json``, each change is a line, and each line on standard input a step: an empty one
or ``next``, ``on``, ``off``, ``end``.  Where the window closes, the visit goes on; the same command comes back to it.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.commands.place import state_dir
from edge_agent.commands.visit_screen import ended, given_up, left_it, own_alarms, screen
from edge_agent.commands.visit_words import refusal_of, say
from edge_agent.commands.words import Words
from edge_agent.control import ask
from edge_agent.errors import ControlError
from edge_agent.state_dir import CONTROL

#: the screen is drawn anew at least so often, so that the age of the value grows before one's eyes (seconds)
_REDRAW_S = 0.4
_CLEAR = "\x1b[H\x1b[J"
#: so long after the work began Enter does not end it: a calibration that nobody did would pass (seconds)
_LEAST_WORK_S = 3.0
#: what Enter does; while the gas is on and nothing has answered it does nothing, so that two strokes do no harm
_NEXT = {
    "wait_good": True,
    "gas_on": True,
    "begin_work": True,
    "gas_off": False,
    "gas_off_late": False,
    "end_work": False,
}


def run(options: argparse.Namespace, words: Words) -> int:
    """Begins a visit, or comes back to it; returns 0 where it passed, 1 where it did not."""
    if options.list:
        from edge_agent.commands import visit_list

        return visit_list.run(options, words)
    if not options.point:
        raise ControlError(say(words, "point needed"), exit_status=2)
    if not options.by:
        raise ControlError(say(words, "by needed"), exit_status=2)
    visit = _Window(state_dir(options) / CONTROL, options.point, options.by)
    if options.end:
        view = visit.end()
        print(json.dumps(view, ensure_ascii=False) if options.json else _end_of(view, words))
        return 0
    view, is_new = _begin_or_come_back(visit, options)
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty() and not options.json
    if not options.json:
        if not is_new:
            print(say(words, "came back"))
        if view["own_alarms"] and not is_terminal:
            print(own_alarms(view, words))
    try:
        view = _in_terminal(visit, view, words) if is_terminal else _in_lines(visit, view, words, options.json)
    except KeyboardInterrupt:
        if options.json:
            return 130
        print("\n" + left_it(visit.view, words))
        return 130
    if view["result"] is None:
        # The terminal or the pipe is gone, not the visit.
        if not options.json:
            print(left_it(view, words))
        return 1
    return 0 if view["result"] == "passed" else 1


class _Window:
    """One visit, through the agent's socket."""

    def __init__(self, socket: Path, point: str, by: str) -> None:
        self._socket = socket
        self._point = point
        self._by = by
        #: as it was seen last
        self.view: dict[str, Any] = {}

    def begin(self, **wanted: Any) -> dict[str, Any]:
        return self._take(ask(self._socket, "visit-begin", point=self._point, by=self._by, **wanted))

    def running(self) -> dict[str, Any] | None:
        """Returns the visit that this person has at the point already."""
        found = ask(self._socket, "visit-state")["visits"]
        return next((item for item in found if (item["point"], item["by"]) == (self._point, self._by)), None)

    def watch(self, wait_s: float) -> dict[str, Any]:
        """Returns the state when it is new, or after ``wait_s``."""
        return self._take(
            ask(self._socket, "visit-watch", point=self._point, revision=self.view["revision"], wait_s=wait_s)
        )

    def gas(self, is_on: bool) -> dict[str, Any]:
        return self._take(ask(self._socket, "visit-gas", point=self._point, is_on=is_on))

    def end(self) -> dict[str, Any]:
        return self._take(ask(self._socket, "visit-end", point=self._point, by=self._by))

    def step(self, word: str) -> dict[str, Any]:
        """Does what a line or a key says.

        Raises:
            ControlError: the agent refuses it, or the word is not known.
        """
        if word in ("end", "e", "q"):
            return self.end()
        if word in ("on", "off"):
            return self.gas(word == "on")
        if word not in ("", "next"):
            raise ControlError(f"{word!r} is no step; an empty line, next, on, off and end are", exit_status=2)
        if self.view["advice"] == "end_work" and (self.view["gas_s"] or 0.0) < _LEAST_WORK_S:
            return self.view
        wanted = _NEXT.get(self.view["advice"])
        return self.view if wanted is None else self.gas(wanted)

    def _take(self, view: Any) -> dict[str, Any]:
        self.view = view
        return self.view


def _begin_or_come_back(visit: _Window, options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    found = visit.running()
    if found is not None:
        visit.view = found
        return found, False
    wanted: dict[str, Any] = {"job": options.job, "seconds": options.minutes * 60}
    if options.gas is not None:
        wanted["gas"] = options.gas
    if options.deviation is not None:
        wanted["deviation"] = options.deviation / 100
    if options.note:
        wanted["note"] = options.note
    return visit.begin(**wanted), True


def _in_terminal(visit: _Window, view: dict[str, Any], words: Words) -> dict[str, Any]:
    """Draws until the visit ends; keys are steps."""
    refused = ""
    with _keys() as descriptor:
        while True:
            size = shutil.get_terminal_size()
            lines = screen(view, words, width=size.columns, refused=refused)
            sys.stdout.write(_CLEAR + "\n".join(lines[: size.lines - 1]) + "\n")
            sys.stdout.flush()
            if view["result"] is not None:
                return view
            ready, _, _ = select.select([descriptor], [], [], 0)
            try:
                if ready:
                    key = os.read(descriptor, 1).decode("ascii", "ignore")
                    if not key:
                        return view
                    refused = ""
                    if key in "\r\n":
                        visit.step("")
                    elif key in "eE":
                        visit.step("end")
                view = visit.watch(_REDRAW_S)
            except ControlError as error:
                refused = refusal_of(words, str(error))
                view = visit.watch(_REDRAW_S)


@contextmanager
def _keys() -> Iterator[int]:
    """Lets single keys through without an echo, and gives the terminal back as it was."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _in_lines(visit: _Window, view: dict[str, Any], words: Words, is_json: bool) -> dict[str, Any]:
    """Prints a line for each change; lines on standard input are steps."""
    said: object = None
    rest = b""
    descriptor: int | None = sys.stdin.fileno()
    while True:
        line = json.dumps(view, ensure_ascii=False) if is_json else _one_line(view, words)
        if (view["revision"], view["stage"]) != said:
            said = (view["revision"], view["stage"])
            print(line, flush=True)
        if view["result"] is not None:
            return view
        if descriptor is not None and select.select([descriptor], [], [], 0)[0]:
            piece = os.read(descriptor, 4096)
            descriptor = descriptor if piece else None
            *steps, rest = (rest + piece).split(b"\n")
            for step in steps:
                _step_or_say(visit, step.decode("utf-8", "replace").strip(), None if is_json else words)
        view = visit.watch(_REDRAW_S)


def _step_or_say(visit: _Window, word: str, words: Words | None) -> None:
    """Does a step, or says why not: as JSON where no language is given."""
    try:
        visit.step(word)
    except ControlError as error:
        told = str(error)
        line = json.dumps({"refused": told}, ensure_ascii=False) if words is None else f"! {refusal_of(words, told)}"
        print(line, flush=True)


def _one_line(view: dict[str, Any], words: Words) -> str:
    if view["result"] is not None:
        return "\n".join(ended(view, words))
    shown = [line.strip() for line in screen(view, words, width=1000) if line.strip().startswith(">")]
    value = view["text"] if view["value"] is not None else words.of(view, "reason")
    return f"{view['point']} {value}  {shown[0]}"


def _end_of(view: dict[str, Any], words: Words) -> str:
    return "\n".join(ended(view, words)) if view["result"] is not None else given_up(view, words)
