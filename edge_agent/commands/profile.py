"""``edge-agent profile``: which devices are known, one of them in full, a file tested, a new file begun.

``test`` runs a file's examples and, with ``--port`` and ``--unit``, reads a real unit through it
once; it writes to the unit only where ``--trigger`` allows a profile's triggers.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.commands.output import as_json, table
from edge_agent.commands.profile_words import TEMPLATE, text
from edge_agent.commands.words import Words
from edge_agent.errors import ConfigError, ToolError

if TYPE_CHECKING:
    from drivers.matching import Match
    from drivers.port import BusPort
    from drivers.profile import Profile
    from drivers.profile_actions import OutputProfile
    from edge_agent.profile_trial import Trial

_PARITY = {"none": "N", "even": "E", "odd": "O"}


def run(options: argparse.Namespace, words: Words) -> int:
    """Runs one action; status 1 where an example fails or the unit gives no answer, 2 where the file is wrong."""
    from drivers.errors import ProfileError

    actions: dict[str, Callable[[argparse.Namespace, Words], int]] = {
        "list": _list,
        "show": _show,
        "test": _test,
        "new": _new,
    }
    try:
        return actions[options.action](options, words)
    except ProfileError as error:
        raise ConfigError(map(str, error.problems)) from error


def _list(options: argparse.Namespace, words: Words) -> int:
    from drivers.errors import ProfileError
    from drivers.loader import load_profile, profile_file, profile_ids, shipped_dir

    folders = _folders(options)
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for id in profile_ids(folders):
        try:
            profile = load_profile(id, folders)
        except ProfileError as error:
            problems.extend(map(str, error.problems))
            continue
        path = profile_file(id, folders)
        is_shipped = path is not None and path.parent == shipped_dir()
        if options.kind in (None, profile.kind):
            rows.append({**_facts(profile), "from": text(words, "shipped") if is_shipped else str(path)})
    if options.json:
        print(as_json(rows))
    else:
        names = ("id", "kind", "maker", "model", "confidence", "proved", "from")
        for line in table([text(words, name) for name in names], (_list_row(row, names, words) for row in rows)):
            print(line)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 2 if problems else 0


def _list_row(row: dict[str, Any], names: tuple[str, ...], words: Words) -> list[str]:
    return [text(words, row[name]) if name == "proved" else str(row[name]) for name in names]


def _facts(profile: Profile) -> dict[str, Any]:
    return {
        "id": profile.id,
        "kind": profile.kind,
        "maker": profile.maker,
        "model": profile.model,
        "en": profile.names.en,
        "zh": profile.names.zh,
        "confidence": profile.confidence,
        "proved": profile.proved,
    }


def _show(options: argparse.Namespace, words: Words) -> int:
    profile = _find(options.profile, options)
    if options.json:
        print(as_json(profile.model_dump(mode="json")))
        return 0
    for line in _show_lines(profile, words):
        print(line)
    return 0


def _show_lines(profile: Profile, words: Words) -> Iterator[str]:
    yield f"{profile.id}: {getattr(profile.names, words.language)}"
    yield f"{text(words, 'maker')}: {profile.maker}"
    yield f"{text(words, 'model')}: {profile.model}"
    if profile.extends is not None:
        yield f"{text(words, 'extends')}: {profile.extends}"
    yield f"{text(words, 'confidence')}: {profile.confidence}, {text(words, profile.confidence)}"
    yield f"{words['note']}: {words['proved ' + profile.proved]}"
    yield f"{text(words, 'serial')}: {_serial(profile, words)}"
    limits = profile.limits
    bounds = text(words, "limits", registers=limits.max_registers, reply=f"{limits.max_reply_s:g}")
    pause = f"; {text(words, 'gap', gap=limits.min_request_gap_ms)}" if limits.min_request_gap_ms else ""
    yield bounds + pause
    if profile.address_change is not None:
        change = profile.address_change
        after = f"; {text(words, 'power cycle')}" if change.needs_power_cycle else ""
        yield text(words, "numbering", first=change.first, last=change.last) + after
    yield from _points_table(profile, words)
    for title, lines in (("notes", profile.notes), ("sources", profile.sources)):
        if lines:
            yield ""
            yield f"{text(words, title)}:"
            yield from (f"- {line}" for line in lines)


def _serial(profile: Profile, words: Words) -> str:
    serial = profile.serial
    if "serial" not in profile.model_fields_set:
        return text(words, "not stated")
    shown = f"{serial.baud} 8{_PARITY[serial.parity]}{serial.stop_bits}"
    address = text(words, "not stated") if serial.unit_id is None else str(serial.unit_id)
    any_unit = "" if serial.any_unit_id is None else f"; {text(words, 'any', unit=serial.any_unit_id)}"
    return f"{shown}, {text(words, 'address')} {address}{any_unit}"


def _points_table(profile: Profile, words: Words) -> Iterator[str]:
    language = words.language
    heads = [words["point"], *(text(words, key) for key in ("table", "address", "type")), words["unit"]]
    heads += [text(words, "every"), text(words, "read"), words["name"]]
    rows = []
    for name, point in profile.points.items():
        read = text(words, "trigger") if point.trigger else text(words, "yes" if point.default else "no")
        place = [name, point.table, str(point.address), point.type, point.unit]
        rows.append([*place, f"{point.interval_ms / 1000:g} s", read, getattr(point.names, language)])
    yield ""
    yield f"{text(words, 'points')}:"
    yield from table(heads, rows, right=frozenset({2}))
    if profile.alarms:
        yield ""
        yield f"{text(words, 'alarms')}:"
        heads = [words["point"], text(words, "shows"), words["severity"], text(words, "read"), words["name"]]
        yield from table(
            heads,
            [
                [
                    name,
                    text(words, alarm.shows),
                    "-" if alarm.severity is None else words[alarm.severity],
                    text(words, "yes" if alarm.default else "no"),
                    getattr(alarm.names, language),
                ]
                for name, alarm in profile.alarms.items()
            ],
        )
    if profile.outputs:
        yield ""
        yield f"{text(words, 'outputs')}:"
        heads = [
            text(words, "output"),
            text(words, "table"),
            text(words, "address"),
            text(words, "drops"),
            words["name"],
        ]
        rows = [
            [name, item.table, str(item.address), _drops(profile, item, words), getattr(item.names, language)]
            for name, item in profile.outputs.items()
        ]
        yield from table(heads, rows, right=frozenset({2}))


def _drops(profile: Profile, output: OutputProfile, words: Words) -> str:
    """Says how the device itself switches an output off again."""
    if output.pulse is not None:
        return text(words, "pulse", seconds=output.pulse.most * output.pulse.count_ms // 1000)
    return text(words, "watchdog") if profile.watchdog is not None and output.safe is not None else "-"


def _test(options: argparse.Namespace, words: Words) -> int:
    from drivers.build import plan_device
    from drivers.examples import example_problems

    if (options.port is None) != (options.unit is None):
        raise ToolError("--port and --unit belong together: a line, and the address of the unit on it")
    profile = _find(options.profile, options)
    print(text(words, "sound", points=len(profile.points), alarms=len(profile.alarms)))
    print(f"{text(words, 'requests')}:")
    for block in plan_device(profile):
        last = block.address + block.count - 1
        print(f"- {block.table} {block.address}..{last} ({block.count}), {block.interval_ms / 1000:g} s")
    problems = example_problems(profile)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        _tell_examples(profile, words)
    print(f"{words['note']}: {words['proved ' + profile.proved]}")
    answered = options.port is None or _tell_trial(profile, _trial(profile, options, words), words)
    return 0 if answered and not problems else 1


def _tell_examples(profile: Profile, words: Words) -> None:
    captured = sum(example.captured for example in profile.examples)
    if profile.examples:
        print(text(words, "examples hold", count=len(profile.examples), captured=captured))
    else:
        print(text(words, "no examples"))
    shown = {name for example in profile.examples for name, item in example.expect.items() if item.value is not None}
    bare = [name for name in profile.all_points if name not in shown]
    if bare:
        print(f"{text(words, 'without example')}: {', '.join(bare)}")


def _trial(profile: Profile, options: argparse.Namespace, words: Words) -> Trial:
    from edge_agent.profile_trial import UnitTrial

    port = _port(profile, options, words)

    async def once() -> Trial:
        await port.open()
        try:
            return await UnitTrial(port, profile, options.unit, may_trigger=options.trigger).run()
        finally:
            await port.close()

    return asyncio.run(once())


def _port(profile: Profile, options: argparse.Namespace, words: Words) -> BusPort:
    """The line of a running agent, or one that is opened here: as the site file has it, else as the profile says.

    Raises:
        ToolError: there is no such port, or it is only listened to.
    """
    from edge_agent.plan_ports import PortPlan
    from edge_agent.ports import make_port
    from edge_agent.tools.where import named, port_of

    found = named(options)
    if found.lent is not None:
        print(text(words, "from the agent"), file=sys.stderr)
        return port_of(found)
    if found.host or found.port_id:
        return port_of(found)
    plan = PortPlan(
        id="unit",
        kind="serial",
        device=found.path,
        baud=options.baud or profile.serial.baud,
        parity=_PARITY[options.parity or profile.serial.parity],
        stop_bits=options.stop_bits or profile.serial.stop_bits,
    )
    return make_port(plan)


def _tell_trial(profile: Profile, trial: Trial, words: Words) -> bool:
    """Prints what the unit said; returns whether it answered at all."""
    print()
    for detail in trial.details:
        print(detail, file=sys.stderr)
    if trial.slowest_s is None and not trial.match.evidence:
        print(text(words, "no answer"), file=sys.stderr)
        return False
    print(_match_line(trial.match, words))
    if trial.serial_number is not None:
        print(f"{text(words, 'serial number')}: {trial.serial_number}")
    if trial.slowest_s is not None:
        print(f"{text(words, 'slowest')}: {trial.slowest_s * 1000:.0f} ms ({profile.limits.max_reply_s:g} s)")
    heads = [words[name] for name in ("point", "value", "unit", "quality", "name")]
    rows = [[row.name, row.text or "-", row.unit, _quality(row.code, words), _named(row, words)] for row in trial.rows]
    for line in table(heads, rows, right=frozenset({1})):
        print(line)
    if trial.untriggered:
        print(f"{text(words, 'untriggered')}: {', '.join(trial.untriggered)}")
    print(text(words, "compare"))
    return True


def _match_line(match: Match, words: Words) -> str:
    signs = ", ".join(f"{field} = {said}" for field, said, _ in match.evidence)
    return text(words, f"match {match.surely.name}", signs=signs)


def _quality(code: int, words: Words) -> str:
    from contracts.quality import CODES, GOOD, quality_of

    shown = words[quality_of(code).value]
    return shown if code == GOOD else f"{shown}: {getattr(CODES[code], words.language)}"


def _named(row: Any, words: Words) -> str:
    return str(getattr(row, words.language))


def _new(options: argparse.Namespace, words: Words) -> int:
    from drivers.loader import parse_profile, system_dir

    folder: Path = options.dir if options.dir is not None else system_dir()
    path = folder / f"{options.id}.toml"
    content = TEMPLATE.replace('"ID"', f'"{options.id}"').replace('"KIND"', f'"{options.kind}"')
    parse_profile(content.encode(), file=str(path), id=options.id)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise ConfigError([f"{path}: is there already; another id would be right"]) from None
    print(text(words, "written", path=path))
    print(text(words, "next", path=path))
    return 0


def _folders(options: argparse.Namespace) -> list[Path]:
    from drivers.loader import system_dirs

    extra: list[Path] = options.dir
    return [*system_dirs(), *extra]


def _find(name: str, options: argparse.Namespace) -> Profile:
    """A profile by id, or from a file."""
    from drivers.loader import load_profile, read_profile

    path = Path(name)
    if path.suffix == ".toml" or "/" in name:
        return read_profile(path, [*_folders(options), path.parent])
    return load_profile(name, _folders(options))
