"""``collector``: the commands of the central side.

Exit status: 0 done, 1 failed or found something false, 2 bad input.  Errors that a person
can do something about are sentences, never tracebacks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from collector.errors import CollectorError, SettingsError

DEFAULT_DATA = "/var/lib/qianshao-collector"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except SettingsError as error:
        print(f"collector: {error}", file=sys.stderr)
        return 2
    except CollectorError as error:
        print(f"collector: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="collector", description="Verify, keep and show what gateways sign.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help)
        made.add_argument(
            "--data",
            type=Path,
            default=Path(os.environ.get("QIANSHAO_COLLECTOR_DATA") or DEFAULT_DATA),
            help="data directory (default: $QIANSHAO_COLLECTOR_DATA or %(default)s)",
        )
        made.set_defaults(run=run)
        return made

    init = command("init", _init, "make the data directory, the key and the database")
    init.add_argument("--restore", type=Path, metavar="FILE", help="take the database from a backup")
    serve = command("serve", _serve, "run: broker, ingest, page")
    serve.add_argument("settings", type=Path, nargs="?", help="settings file (default: settings.toml in DATA)")
    add = command("add-gateway", _add_gateway, "register a gateway by its key")
    add.add_argument("keyfile", help="file with the key line of 'edge-agent key', or - for standard input")
    add.add_argument("--name", default="", metavar="EN")
    add.add_argument("--name-zh", default="", metavar="ZH")
    verify = command("verify", _verify, "check every signature, chain and projection; exit status 1 if one is false")
    verify.add_argument("--json", action="store_true")
    command("rebuild", _rebuild, "make every projection again from the evidence (the collector must be stopped)")
    backup = command("backup", _backup, "copy the database to a file, beside the running collector")
    backup.add_argument("file", type=Path)
    for name, run, help in (
        ("gateways", _gateways, "list gateways"),
        ("alarms", _alarms, "list alarms"),
        ("readings", _readings, "list the latest reading of every point"),
    ):
        listing = command(name, run, help)
        listing.add_argument("--json", action="store_true")
        if name == "alarms":
            listing.add_argument("--all", action="store_true", help="also those that are over")
        if name == "readings":
            listing.add_argument("--gateway", metavar="ID")
    complete = command("completeness", _completeness, "say what became of every reading that was expected")
    complete.add_argument("--gateway", metavar="ID", help="of one gateway (default: all)")
    complete.add_argument("--point", metavar="KEY", help="of one point (default: all)")
    complete.add_argument("--from", dest="start", metavar="T", help="such as 2026-06-01 or 2026-06-01T08:00, UTC")
    complete.add_argument("--to", dest="end", metavar="T", help="default: now; without --from, the 24 hours before")
    each = complete.add_mutually_exclusive_group()
    each.add_argument("--hour", action="store_true", help="a line for each point and hour (the default)")
    each.add_argument("--day", action="store_true", help="a line for each point and day")
    complete.add_argument("--json", action="store_true")
    complete.add_argument("--lang", choices=("en", "zh"), help="default: of the locale")
    return parser


# ---- commands ------------------------------------------------------------------------------


def _init(options: argparse.Namespace) -> int:
    from collector.backup import restore
    from collector.data_dir import Lock, prepare, wall_us

    data: Path = options.data
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(f"{data}: {error.strerror or error}") from error
    with Lock(data):
        if options.restore is not None:
            restore(options.restore, data, wall_us())
        signer = prepare(data)
    print(signer.public.line("collector"))
    print(f"fingerprint {signer.public.fingerprint}", file=sys.stderr)
    return 0


def _serve(options: argparse.Namespace) -> int:
    from collector.app import serve
    from collector.settings import SETTINGS_FILE, load_settings

    path: Path | None = options.settings
    if path is not None and not path.exists():
        raise SettingsError(f"{path} is not there")
    path = path or options.data / SETTINGS_FILE
    serve(options.data, load_settings(path), path)
    return 0


def _add_gateway(options: argparse.Namespace) -> int:
    from collector.keys import add_gateway

    _need(options.data)
    try:
        text = sys.stdin.read() if options.keyfile == "-" else Path(options.keyfile).read_text(encoding="utf-8")
        found = add_gateway(options.data, text, options.keyfile, en=options.name, zh=options.name_zh)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{options.keyfile}: {getattr(error, 'strerror', None) or error}") from error
    print(f"{found.id}  fingerprint {found.keys[0].fingerprint}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from collector.data_dir import database
    from collector.verify import utc, verify

    report = verify(database(_need(options.data)), *_keys(options.data), _progress("verified"))
    if options.json:
        print(json.dumps(dataclasses.asdict(report) | {"is_true": report.is_true}, default=_plain, ensure_ascii=False))
        return 0 if report.is_true else 1
    for item in report.damaged:
        points = ", ".join(item.points[:4]) + (f" and {len(item.points) - 4} more" if len(item.points) > 4 else "")
        times = "times not known" if item.first_us is None else f"{utc(item.first_us)} to {utc(item.last_us)}"
        print(
            f"FALSE evidence: {item.gateway}, {'alarm' if item.lane == 0 else 'data'} lane, epoch {item.epoch.hex()},"
            f" batch {item.seq}: {item.reason}; {item.readings} readings of {points or 'no points'},"
            f" {times}"
        )
    for row in report.false_rows:
        print(f"FALSE projection {row}")
    for text in report.wrong_facts:
        print(f"FALSE {text}")
    for text in report.notes:
        print(f"note: {text}")
    if report.dropped:
        print(f"note: {report.dropped} rows rest on evidence that retention has dropped and cannot be proved any more")
    if report.shadowed:
        print(f"note: {report.shadowed} rows rest on damaged evidence and cannot be proved")
    if report.borrowed_time:
        print(f"note: the wall time of {report.borrowed_time} batches rests on their arrival or on other batches")
    false = len(report.damaged) + len(report.false_rows) + len(report.wrong_facts)
    print(
        f"{report.batches} batches, {report.readings} readings, {report.chains} chains, {report.rows} projection rows:"
        f" {'all true' if report.is_true else f'{false} false'}"
    )
    return 0 if report.is_true else 1


def _rebuild(options: argparse.Namespace) -> int:
    from collector.data_dir import Lock, database
    from collector.rebuild import rebuild

    with Lock(_need(options.data)):
        outcome = rebuild(database(options.data), *_keys(options.data), _progress("replayed"))
    print(f"{outcome.batches} batches, {outcome.readings} readings: every projection made again")
    for item in outcome.damaged:
        print(f"left out: {item.gateway}, batch {item.seq}: {item.reason}", file=sys.stderr)
    return 1 if outcome.damaged else 0


def _backup(options: argparse.Namespace) -> int:
    from collector.backup import backup
    from collector.data_dir import database

    size = backup(database(_need(options.data)), options.file)
    print(f"{options.file}: {size} bytes; the key files in {options.data} are not in it")
    return 0


def _gateways(options: argparse.Namespace) -> int:
    from collector.keys import read_registrations

    queries = _queries(options)
    found = queries.gateways()
    rows = [dataclasses.asdict(item) for item in found]
    known = {item.id for item in found}
    extra = [item for item in read_registrations(options.data) if item.id not in known]
    if options.json:
        rows += [{"id": item.id, "en": item.en, "zh": item.zh, "liveness": "never"} for item in extra]
        return _print_json(rows)
    for item in found:
        silent = "" if item.silent_for_s is None else f"{item.silent_for_s:.0f} s"
        print(
            f"{item.id}  {item.liveness:9} {silent:>8}  {item.points} points, {item.points_silent} silent,"
            f" backlog {item.backlog_batches}, {item.alarms_active} alarms  {item.en} {item.zh}"
        )
    for other in extra:
        print(f"{other.id}  never                {other.en} {other.zh}")
    return 0


def _alarms(options: argparse.Namespace) -> int:
    from collector.verify import utc

    found = _queries(options).alarms(standing_only=not options.all)
    if options.json:
        return _print_json([dataclasses.asdict(item) for item in found])
    for item in found:
        print(
            f"{utc(item.raised_us)}  {item.severity:7} {item.state:8} {item.gateway} {item.point}"
            f" {item.shown} {item.unit_en}  {item.rule_en} {item.rule_zh}"
            + (f"  acknowledged by {item.acknowledged_by}" if item.acknowledged_by else "")
        )
    return 0


def _readings(options: argparse.Namespace) -> int:
    found = _queries(options).points(options.gateway)
    if options.json:
        return _print_json([dataclasses.asdict(item) for item in found])
    for item in found:
        age = "" if item.age_s is None else f"{item.age_s:.0f} s"
        value = f"{item.shown:>12} {item.unit_en:8}"
        print(f"{item.gateway}  {item.key:32} {value} {item.quality:9} {age:>8}  {item.reason_en}")
    return 0


def _completeness(options: argparse.Namespace) -> int:
    from collector.completeness_words import language, lines
    from collector.data_dir import wall_us

    end_us = wall_us() if options.end is None else _utc_us("--to", options.end)
    start_us = end_us - 86_400_000_000 if options.start is None else _utc_us("--from", options.start)
    if end_us <= start_us:
        raise SettingsError("--to must be after --from")
    found = _queries(options).completeness(
        start_us, end_us, gateway=options.gateway, key=options.point, by_day=options.day
    )
    if options.json:
        return _print_json([dataclasses.asdict(item) for item in found])
    for line in lines(found, language(options.lang), by_day=options.day):
        print(line)
    return 0


# ---- what they share -----------------------------------------------------------------------


def _need(data: Path) -> Path:
    if not data.is_dir():
        raise SettingsError(f"{data} is not there; 'collector init --data {data}' makes it")
    return data


def _keys(data: Path) -> tuple[Any, dict[bytes, Any]]:
    from collector.keys import Registry, load_signer
    from contracts.keys import Verifier

    registry = Registry(data)
    registry.load()
    own = load_signer(data).public
    return registry.keys, {own.key_id: Verifier(own)}


def _utc_us(name: str, text: str) -> int:
    """Returns a time that a person typed, UTC us; raises SettingsError."""
    from datetime import UTC, datetime

    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{name} {text}: not a time; 2026-06-01T08:00 would be one (UTC)") from error
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return int(at.timestamp()) * 1_000_000


def _queries(options: argparse.Namespace) -> Any:
    from collector.data_dir import database, wall_us
    from collector.queries import SqliteQueries

    return SqliteQueries(database(_need(options.data)), wall_us)


def _progress(word: str) -> Callable[[int], None]:
    def show(batches: int) -> None:
        if sys.stderr.isatty() and batches % 4096 == 0:
            print(f"\r{batches} batches {word}", end="", file=sys.stderr, flush=True)

    return show


def _print_json(rows: object) -> int:
    print(json.dumps(rows, ensure_ascii=False, default=_plain))
    return 0


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    sys.exit(main())
