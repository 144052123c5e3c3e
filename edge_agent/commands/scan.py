"""``edge-agent scan``: which ports there are; and on one of them, who answers, what it is, and what to configure.

Results are on stdout; what goes on is on stderr.  A scan that is stopped with Ctrl-C keeps how far it came.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_agent.commands.output import as_json, table
from edge_agent.commands.scan_report import as_plain, print_report
from edge_agent.commands.tool_words import text
from edge_agent.commands.words import Words
from edge_agent.errors import ToolError
from edge_agent.tools.heard import Idle
from edge_agent.tools.match import Candidate
from edge_agent.tools.port_list import IDLE_S, ListedPort, agent_ports, listed
from edge_agent.tools.profiles_at_hand import candidates
from edge_agent.tools.scan_line import LISTEN_S, Scan
from edge_agent.tools.scan_plan import SLOW_S, SLOWEST_S, Settings, first_passes, further_passes, other_settings
from edge_agent.tools.scan_state import ScanState, from_json, to_json
from edge_agent.tools.stanza import port_id
from edge_agent.tools.where import ToolLine, line_of, named

#: progress on a terminal changes no oftener than this (seconds)
_SHOW_EVERY_S = 0.2


def run(options: argparse.Namespace, words: Words) -> int:
    """Prints what was found; status 0 where somebody answers, 1 where nobody does or nothing could be sent."""
    if options.port is None:
        return _list_ports(options, words)
    found = named(options)
    if options.bauds and options.baud is None and not found.lent and not found.port_id:
        options.baud = options.bauds[0]
        found = named(options)
    line = line_of(found, options)
    known = candidates()
    scan = Scan(line, _state(options, words, line, known))
    return _run(scan, line, options, words, known)


def _run(scan: Scan, line: ToolLine, options: argparse.Namespace, words: Words, known: Sequence[Candidate]) -> int:
    progress = _Progress(words)
    kept = _kept(line)
    try:
        idle = asyncio.run(_scan(scan, line, progress, words, known))
    except KeyboardInterrupt:
        progress.end()
        _keep(kept, to_json(scan.state, _key(line)))
        _print(scan, line, options, words)
        print(text(words, "stopped"), file=sys.stderr)
        return 130
    progress.end()
    if idle.is_busy:
        _print_busy(idle, line, options, words)
        return 1
    kept.unlink(missing_ok=True)
    _print(scan, line, options, words)
    return 0 if scan.state.found else 1


async def _scan(scan: Scan, line: ToolLine, progress: _Progress, words: Words, known: Sequence[Candidate]) -> Idle:
    try:
        if line.is_borrowed:
            print(text(words, "borrowed", port=line.port_id), file=sys.stderr)
        print(text(words, "listening", seconds=LISTEN_S, path=line.path, settings=line.settings), file=sys.stderr)
        idle = await scan.listen(LISTEN_S)
        if idle.is_busy:
            return idle
        if idle.octets:
            print(text(words, "restless", octets=idle.octets), file=sys.stderr)
        await scan.search(progress)
        progress.end()
        for seen in sorted(scan.state.found, key=lambda seen: seen.unit_id):
            print(text(words, "asking unit", unit=seen.unit_id, settings=seen.settings), file=sys.stderr)
        await scan.identify(known, lambda one: None)
        return idle
    finally:
        await line.close()


def _state(options: argparse.Namespace, words: Words, line: ToolLine, known: Sequence[Candidate]) -> ScanState:
    if options.resume:
        try:
            state = from_json(_kept(line).read_text(encoding="utf-8"), _key(line))
        except OSError:
            state = None
        if state is None:
            raise ToolError(text(words, "no resume", path=line.path or line.port_id))
        return state
    devices = [one.known() for one in known]
    slow_s = SLOWEST_S if options.slow else SLOW_S
    passes = first_passes(devices, line.settings, skip=line.polled, slow_s=slow_s)
    if not line.is_borrowed:
        passes += further_passes(other_settings(devices, line.settings, options.bauds or ()), devices)
    return ScanState(passes=passes, slow_s=slow_s, all_settings=options.all_settings)


def _print(scan: Scan, line: ToolLine, options: argparse.Namespace, words: Words) -> None:
    if options.json:
        print(as_json(as_plain(scan, line)))
    else:
        print_report(scan, line, words)


def _print_busy(idle: Idle, line: ToolLine, options: argparse.Namespace, words: Words) -> None:
    talks = [
        {
            "unit": talk.unit_id,
            "function": talk.function,
            "address": talk.address,
            "count": talk.count,
            "every_s": talk.every_s,
            "times": talk.times,
            "answered": talk.answered,
        }
        for talk in idle.conversations
    ]
    if options.json:
        print(as_json({"port": line.path, "settings": str(line.settings), "busy": True, "conversations": talks}))
        return
    print(text(words, "busy"))
    for talk in talks:
        every = "-" if talk["every_s"] is None else f"{talk['every_s']:.2g}"
        print("  " + text(words, "conversation", **{**talk, "every": every}))
    print(text(words, "listen only"))
    print(_listen_only(line.path, line.settings))


def _listen_only(path: str, settings: Settings) -> str:
    from edge_agent.tools.stanza import stanza

    return stanza(path, settings, (), listen_only=True)


# --- ports --------------------------------------------------------------------------------


def _list_ports(options: argparse.Namespace, words: Words) -> int:
    from drivers.serial_ports import list_ports
    from edge_agent.tools.where import agent_socket

    ports = list_ports()
    found = asyncio.run(listed(ports, agent_ports(agent_socket(options), os.path.realpath))) if ports else []
    if options.json:
        print(as_json([_plain_port(one) for one in found]))
        return 0 if found else 1
    if not found:
        print(text(words, "no ports"))
        return 1
    heads = [
        text(words, f"head {name}", seconds=IDLE_S) for name in ("port", "chip", "socket", "holder", "idle", "name")
    ]
    rows = (
        [
            one.port.path,
            one.port.chip or one.port.driver or "-",
            one.port.socket or "-",
            _holder(one, words),
            "-" if one.idle_bytes is None else str(one.idle_bytes),
            one.port.name,
        ]
        for one in found
    )
    for row in table(heads, rows, right=frozenset({4})):
        print(row)
    return 0


def _holder(one: ListedPort, words: Words) -> str:
    if one.agent_port:
        return f"edge-agent ({one.agent_port})"
    if one.port.holders.found:
        return str(one.port.holders)
    if not one.port.is_permitted:
        return text(words, "not allowed", group=one.port.group or "-")
    return one.because or "-"


def _plain_port(one: ListedPort) -> dict[str, Any]:
    port = one.port
    return {
        "path": port.path,
        "name": port.name,
        "chip": port.chip,
        "driver": port.driver,
        "usb_id": None if port.usb_id is None else ":".join(port.usb_id),
        "serial_number": port.serial_number,
        "socket": port.socket,
        "agent_port": one.agent_port or None,
        "holders": [{"pid": holder.pid, "name": holder.name} for holder in port.holders.found],
        "is_permitted": port.is_permitted,
        "group": port.group,
        "idle_bytes": one.idle_bytes,
    }


# --- progress, and what is kept of a stopped scan -----------------------------------------


class _Progress:
    """One line on a terminal that changes; without a terminal one line per pass."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._is_terminal = sys.stderr.isatty()
        self._pass_no = -1
        self._shown_s = 0.0
        self._width = 0

    def __call__(self, state: ScanState) -> None:
        one = state.now
        if one is None:
            return
        now = time.monotonic()
        is_new = state.pass_no != self._pass_no
        if not is_new and (not self._is_terminal or now - self._shown_s < _SHOW_EVERY_S):
            return
        self._pass_no, self._shown_s = state.pass_no, now
        left = state.seconds_left()
        line = text(
            self._words,
            "progress",
            settings=one.settings,
            what=text(self._words, f"pass {one.kind}", wait=f"{one.wait_s * 1000:.0f}"),
            done=state.place,
            all=len(one.questions),
            found=len(state.found),
            left=f"{int(left) // 60}:{int(left) % 60:02d}",
        )
        if self._is_terminal:
            print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = max(self._width, len(line))
        else:
            print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leaves the line that changes."""
        if self._width:
            print(file=sys.stderr)
            self._width = 0


def _key(line: ToolLine) -> str:
    return line.path or line.port_id


def _kept(line: ToolLine) -> Path:
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "qianshao" / f"scan-{port_id(_key(line))}.json"


def _keep(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
