"""``edge-agent commission``: is each point ready: its value, its unit, and its alarm up to the centre and back.

It changes nothing on the bus.  With ``--gas`` each named gas point first has its bump test, a visit like any other
(``commands/visit.py``).  The test alarm takes the ordinary way of the running agent, and no real alarm
notices.  Status 0 where every point gives a reading, is the unit that was declared, passed what it was tested by,
and its test alarm was seen.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.quantities import GASES
from edge_agent.commands.output import age, as_json
from edge_agent.commands.place import state_dir
from edge_agent.commands.upkeep_words import say
from edge_agent.commands.words import Words
from edge_agent.control import ask
from edge_agent.errors import ConfigError
from edge_agent.state_dir import CONTROL

#: points whose test alarms are on their way at once: a real alarm never waits behind more
_AT_ONCE = 50
#: of a point whose test alarm was not sent, because those before it were not seen
_NOT_TRIED = "not tried"
#: the agent answers so much later than it waits, at most (seconds)
_BESIDES_S = 10.0
_READABLE = frozenset({"good", "uncertain"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found of one point."""

    reading: Mapping[str, Any]
    #: health of its device
    device: Mapping[str, Any]
    #: declared serial number; empty where none is
    serial: str
    #: its line in the agent's answer
    test: Mapping[str, Any]
    #: whether it passed its bump test; None: it had none
    has_passed: bool | None

    @property
    def is_other(self) -> bool:
        """Whether another unit answers than the declared one."""
        return self.device.get("identity") == "other"

    @property
    def is_ready(self) -> bool:
        """Whether it can be relied on."""
        has_value = self.reading["quality"] in _READABLE and self.reading["value"] is not None
        return has_value and not self.is_other and self.has_passed is not False and self.test["seen_s"] is not None


def run(options: argparse.Namespace, words: Words) -> int:
    """Commissions the named points, or every point of the gateway."""
    socket = state_dir(options) / CONTROL
    readings = {item["point"]: item for item in ask(socket, "latest")["readings"]}
    for point in options.points:
        if point not in readings:
            raise ConfigError([f"there is no point {point!r}; there are {', '.join(readings)}"])
    chosen = list(dict.fromkeys(options.points)) or list(readings)
    passed: dict[str, bool] = {}
    if options.gas is not None:
        _check_gas(options, readings, words)
        for point in chosen:
            status = _visit(point, options, words)
            if status > 1:
                return status
            passed[point] = status == 0
        readings = {item["point"]: item for item in ask(socket, "latest")["readings"]}
    if not options.json:
        print(say(words, "testing", seconds=options.wait))
    answer = _test(socket, chosen, options)
    health = ask(socket, "status")
    tests = {item["point"]: item for item in answer["results"]}
    found = [
        Checked(
            reading=readings[point],
            device=health["subjects"].get(f"device/{point.partition('/')[0]}", {}),
            serial=tests[point]["serial"],
            test=tests[point],
            has_passed=passed.get(point),
        )
        for point in chosen
    ]
    if options.json:
        print(as_json(_as_json(found, answer)))
    else:
        _print(found, answer, options, words)
    return 0 if all(item.is_ready for item in found) else 1


def _check_gas(options: argparse.Namespace, readings: Mapping[str, Any], words: Words) -> None:
    """Refuses gas for what is no gas point, or for nobody at the head."""
    if options.json or not options.points:
        raise ConfigError([say(words, "gas needs")])
    others = [point for point in options.points if readings[point]["quantity"] not in GASES]
    if others:
        raise ConfigError([say(words, "no gas point", points=", ".join(others))])


def _visit(point: str, options: argparse.Namespace, words: Words) -> int:
    """Runs the bump test of a point; 0: passed, 1: not, more: the person left."""
    from edge_agent.commands import visit

    wanted = {"point": point, "job": "bump", "deviation": None, "note": "", "end": False, "list": False}
    return visit.run(argparse.Namespace(**{**vars(options), **wanted}), words)


def _test(socket: Path, points: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Returns the agent's answer for all points; the first group that is not seen is the last one that is sent."""
    results: list[dict[str, Any]] = []
    answer: dict[str, Any] = {}
    while len(results) < len(points):
        answer = ask(
            socket,
            "test-alarm",
            points=points[len(results) : len(results) + _AT_ONCE],
            by=options.by,
            wait_s=options.wait,
            timeout_s=options.wait + _BESIDES_S,
        )
        results += answer["results"]
        if any(item["seen_s"] is None for item in answer["results"]):
            break
    rest = points[len(results) :]
    untried = [{"point": point, "seen_s": None, "refused": _NOT_TRIED, "serial": ""} for point in rest]
    return {**answer, "results": [*results, *untried]}


def _print(found: Sequence[Checked], answer: Mapping[str, Any], options: argparse.Namespace, words: Words) -> None:
    for item in found:
        reading = item.reading
        print(f"{reading['point']}  {words.of(reading)}")
        print(f"    {_value(reading, words)}")
        if item.is_other or item.test["refused"] != _NOT_TRIED:
            print(f"    {_identity(item, words)}")
        if item.has_passed is not None:
            print(f"    {say(words, 'bump passed' if item.has_passed else 'bump failed')}")
        elif reading["quantity"] in GASES:
            command = shlex.join(["edge-agent", "visit", reading["point"], "--by", options.by])
            print(f"    {say(words, 'offer', command=command)}")
        print(f"    {_seen(item.test, answer, words)}")
    print(say(words, "ready", count=sum(item.is_ready for item in found), total=len(found)))
    print(say(words, "not meant"))


def _value(reading: Mapping[str, Any], words: Words) -> str:
    quality = words[reading["quality"]]
    if reading["quality"] != "good":
        quality = f"{quality}: {words.of(reading, 'reason')}"
    value = f"{reading['text']} {words.of(reading, 'unit')}" if reading["text"] else say(words, "no value")
    return f"{value}, {quality}, {age(reading['age_s'])}"


def _identity(item: Checked, words: Words) -> str:
    told = item.device.get("serial_read")
    if item.is_other:
        return say(words, "serial other", serial=told, device=item.reading["point"].partition("/")[0])
    if item.serial:
        return say(words, "serial read" if told else "serial", serial=item.serial)
    return say(words, "no serial")


def _seen(test: Mapping[str, Any], answer: Mapping[str, Any], words: Words) -> str:
    """Says whether the test alarm was seen, and if not, why and what becomes of it."""
    if test["seen_s"] is not None:
        return say(words, "seen", seconds=test["seen_s"])
    if test["refused"] in ("not sealed", _NOT_TRIED):
        return say(words, test["refused"])
    if test["refused"]:
        return say(words, "refused", code=test["refused"])
    link = say(words, f"link {answer['link']}", age=age(answer["link_down_s"]))
    told = f"{say(words, 'not seen', seconds=answer['wait_s'])}: {link}"
    if answer["link"] == "none":
        return told
    return f"{told}; {say(words, 'kept' if answer['is_kept'] else 'in memory')}"


def _as_json(found: Sequence[Checked], answer: Mapping[str, Any]) -> dict[str, Any]:
    points = [
        {
            "point": item.reading["point"],
            "value": item.reading["value"],
            "unit": item.reading["unit"],
            "quality": item.reading["quality"],
            "reason": item.reading["reason"],
            "age_s": item.reading["age_s"],
            "identity": item.device.get("identity"),
            "serial_declared": item.serial or None,
            "serial_read": item.device.get("serial_read"),
            "seen_s": item.test["seen_s"],
            "refused": item.test["refused"] or None,
            "is_ready": item.is_ready,
        }
        for item in found
    ]
    return {"points": points, **{key: answer[key] for key in ("link", "link_down_s", "is_kept", "wait_s")}}
