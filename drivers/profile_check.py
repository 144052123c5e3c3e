"""What no part of a profile can see alone: names that must exist, tables that must agree.

Pure; needs the profile model, so not for the daemon.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from drivers.profile import AlarmPoint, Profile
from drivers.words import REGISTERS

Found = Iterator[tuple[str, str]]


def cross_problems(profile: Profile) -> list[tuple[str, str]]:
    """Returns (key, message) for everything that no part of a profile can see alone."""
    checks = (_points, _alarms, _keys, _identity, _recognition, _outputs, _examples, _proof)
    return [problem for check in checks for problem in check(profile)]


def _points(profile: Profile) -> Found:
    for name, point in profile.points.items():
        named = [(f"gates[{place}].field", gate.field) for place, gate in enumerate(point.gates)]
        if point.unit_from is not None:
            named.append(("unit_from.field", point.unit_from.field))
        if point.decimals_from is not None:
            named.append(("decimals_from.field", point.decimals_from.field))
        if point.heartbeat is not None:
            named.append(("heartbeat.field", point.heartbeat.field))
        for key, field_name in named:
            problem = _companion_problem(profile, point.table, field_name)
            if problem is not None:
                yield f"points.{name}.{key}", problem
        if point.address + REGISTERS[point.type] > 65536:
            yield f"points.{name}.address", "the value runs past address 65535"
        if point.trigger is not None and point.trigger not in profile.triggers:
            yield f"points.{name}.trigger", _unknown(point.trigger, profile.triggers, "trigger")


def _alarms(profile: Profile) -> Found:
    for name, alarm in profile.alarms.items():
        field = profile.fields.get(alarm.field)
        if name in profile.points:
            yield f"alarms.{name}", "a point has this name too; give the alarm another"
        if field is None:
            yield f"alarms.{name}.field", _unknown(alarm.field, profile.fields, "field")
            continue
        if field.type == "string":
            yield f"alarms.{name}.field", f"field {alarm.field!r} is text and cannot be judged"
            continue
        named = [(f"gates[{place}].field", gate.field) for place, gate in enumerate(alarm.gates)]
        if alarm.heartbeat is not None:
            named.append(("heartbeat.field", alarm.heartbeat.field))
        for key, field_name in named:
            problem = _companion_problem(profile, field.table, field_name)
            if problem is not None:
                yield f"alarms.{name}.{key}", problem
        if alarm.trigger is not None and alarm.trigger not in profile.triggers:
            yield f"alarms.{name}.trigger", _unknown(alarm.trigger, profile.triggers, "trigger")
        width = 1 if field.type.startswith("bit") else 16 * REGISTERS[field.type]
        for bit in alarm.bits:
            if bit >= width:
                yield f"alarms.{name}.bits", f"field {alarm.field!r} has the bits 0 to {width - 1}, not {bit}"


def _keys(profile: Profile) -> Found:
    points = profile.all_points
    keys = [point.key for point in points.values()]
    for name, point in points.items():
        if keys.count(point.key) > 1:
            table, key = ("alarms", "") if isinstance(point, AlarmPoint) else ("points", ".suffix")
            yield f"{table}.{name}{key}", f"another point has the key {point.key!r} too"


def _identity(profile: Profile) -> Found:
    for place, field_name in enumerate(profile.identity):
        if field_name not in profile.fields:
            yield f"identity[{place}]", _unknown(field_name, profile.fields, "field")
    if profile.serial_number is not None and profile.serial_number not in profile.fields:
        yield "serial_number", _unknown(profile.serial_number, profile.fields, "field")


def _recognition(profile: Profile) -> Found:
    for place, sign in enumerate(profile.recognise):
        key, field = f"recognise[{place}]", profile.fields.get(sign.field)
        if field is None:
            yield f"{key}.field", _unknown(sign.field, profile.fields, "field")
            continue
        is_text = field.type == "string"
        if is_text and (sign.between is not None or sign.own_address):
            yield key, f"field {sign.field!r} is text; equals or starts would be right"
        if not is_text and sign.starts:
            yield f"{key}.starts", f"field {sign.field!r} is a number; equals or between would be right"
        for item in sign.equals:
            if isinstance(item, str) != is_text:
                wanted = "a text" if is_text else "a number"
                yield f"{key}.equals", f"{item!r} cannot be what field {sign.field!r} says; {wanted} would be right"


def _outputs(profile: Profile) -> Found:
    points = profile.all_points
    for name, output in profile.outputs.items():
        if output.readback is not None and output.readback not in points:
            yield f"outputs.{name}.readback", _unknown(output.readback, points, "point")


def _examples(profile: Profile) -> Found:
    points = profile.all_points
    for place, example in enumerate(profile.examples):
        for name in (*example.expect, *example.units):
            if name not in points:
                yield f"examples[{place}].expect.{name}", _unknown(name, points, "point")


def _proof(profile: Profile) -> Found:
    if profile.proved != "nothing" and not any(example.captured for example in profile.examples):
        yield "proved", f'{profile.proved!r} needs an example with captured = true; "nothing" would be right'


def _companion_problem(profile: Profile, table: str, name: str) -> str | None:
    field = profile.fields.get(name)
    if field is None:
        return _unknown(name, profile.fields, "field")
    if field.type == "string":
        return f"field {name!r} is text and cannot be judged"
    if field.table != table:
        return f"field {name!r} is in table {field.table}, the point in {table}: one read cannot bring both"
    return None


def _unknown(name: str, known: Collection[str], what: str) -> str:
    return f"{what} {name!r} is not defined; defined are {', '.join(known) or 'none'}"
