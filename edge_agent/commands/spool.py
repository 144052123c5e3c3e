"""``edge-agent spool``: what is sealed and kept on this gateway, and whether it is whole."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contracts.errors import ContractError
from contracts.keys import PublicKey, Verifier, load_or_create
from edge_agent.commands.output import as_json, facts, table
from edge_agent.commands.place import state_dir
from edge_agent.commands.words import Words
from edge_agent.control import ask
from edge_agent.errors import EdgeError, NotRunningError
from edge_agent.put_aside import kept_aside
from edge_agent.spool_file import LaneSummary, LaneVerdict, open_spool
from edge_agent.state_dir import CONTROL, KEY, SPOOL


def run(options: argparse.Namespace, words: Words) -> int:
    """Runs one action; ``verify`` ends with 1 when something is false."""
    folder = state_dir(options)
    if options.action == "status":
        return _status(folder, options, words)
    if options.action == "list":
        return _list(folder, options, words)
    if options.action == "export":
        return _export(folder)
    if options.action == "salvage":
        # Imported late: the other actions need none of it.
        from edge_agent.commands.spool_salvage import run as salvage

        return salvage(folder, options, words)
    return _verify(folder, options, words)


def _status(folder: Path, options: argparse.Namespace, words: Words) -> int:
    try:
        status = ask(folder / CONTROL, "spool")
    except NotRunningError:
        with open_spool(folder / SPOOL) as spool:
            lanes = spool.lanes()
        status = {
            "batches": sum(lane.batches for lane in lanes),
            "readings": sum(lane.readings for lane in lanes),
            "bytes": sum(lane.bytes for lane in lanes),
            "undelivered_batches": sum(lane.batches - _delivered_here(lane) for lane in lanes),
        }
    aside = [{"path": str(item.path), "bytes": item.bytes} for item in kept_aside(folder / SPOOL)]
    if options.json:
        print(as_json({**status, "damaged_files": aside}))
        return 0
    for line in facts(status):
        print(line)
    for item in aside:
        print(f"{words['kept aside']}: {item['path']} ({item['bytes']} {words['bytes']})")
        print(f"  edge-agent spool salvage {item['path']}")
    return 0


def _list(folder: Path, options: argparse.Namespace, words: Words) -> int:
    with open_spool(folder / SPOOL) as spool:
        lanes = spool.lanes()
    if options.json:
        print(as_json([_lane_record(lane) for lane in lanes]))
        return 0
    heads = (
        "epoch",
        "reason",
        "lane",
        "seq",
        "batches",
        "delivered",
        "readings",
        "bytes",
        "released",
        "thinned",
        "lost",
    )
    for line in table(
        [words[head] for head in heads], (_lane_row(lane) for lane in lanes), right=frozenset(range(3, 11))
    ):
        print(line)
    return 0


def _lane_row(lane: LaneSummary) -> list[str]:
    gone = dict.fromkeys(("released", "thinned", "lost"), 0)
    for item in lane.gone:
        gone[item.cause if item.cause in gone else "lost"] += item.last - item.first + 1
    span = f"{lane.first}-{lane.last}" if lane.batches else "-"
    counts = [lane.batches, _delivered_here(lane), lane.readings, lane.bytes, *gone.values()]
    return [f"{lane.epoch_no} {lane.epoch.hex()}", lane.reason, lane.lane.name.lower(), span, *map(str, counts)]


def _lane_record(lane: LaneSummary) -> dict[str, Any]:
    return {
        "epoch_no": lane.epoch_no,
        "epoch": lane.epoch.hex(),
        "reason": lane.reason,
        "lane": lane.lane.name.lower(),
        "first": lane.first,
        "last": lane.last,
        "batches": lane.batches,
        "readings": lane.readings,
        "bytes": lane.bytes,
        "delivered": [list(item) for item in lane.delivered],
        "gone": [[item.first, item.last, item.readings, item.cause] for item in lane.gone],
    }


def _delivered_here(lane: LaneSummary) -> int:
    """Batches that are here and receipted; what was released is delivered and no longer here."""
    inside = [(max(first, lane.first), min(last, lane.last)) for first, last in lane.delivered]
    gone = [(max(item.first, first), min(item.last, last)) for item in lane.gone for first, last in inside]
    return _count(inside) - _count(gone) if lane.batches else 0


def _count(ranges: list[tuple[int, int]]) -> int:
    return sum(max(0, last - first + 1) for first, last in ranges)


def _export(folder: Path) -> int:
    keys = _keys(_public_key(folder))
    with open_spool(folder / SPOOL) as spool:
        for record in spool.records(keys):
            print(json.dumps(record, ensure_ascii=False, separators=(",", ":")))
    return 0


def _verify(folder: Path, options: argparse.Namespace, words: Words) -> int:
    key = _public_key(folder)
    with open_spool(folder / SPOOL) as spool:
        verdicts = list(spool.verify(_keys(key), key.gateway_id))
    is_whole = not any(verdict.problems for verdict in verdicts)
    if options.json:
        lanes = [_verdict_record(verdict) for verdict in verdicts]
        print(as_json({"gateway": key.gateway_id, "verified": is_whole, "lanes": lanes}))
        return 0 if is_whole else 1
    for verdict in verdicts:
        for line in _verdict_lines(verdict, words):
            print(line)
    print(words["verified"] if is_whole else words["false"])
    return 0 if is_whole else 1


def _verdict_lines(verdict: LaneVerdict, words: Words) -> Iterator[str]:
    place = f"{words['epoch']} {verdict.epoch_no} {verdict.epoch.hex()} {verdict.lane.name.lower()}"
    counts = f"{verdict.verified} {words['batches']}"
    if verdict.released:
        counts += f", {verdict.released} {words['released']}"
    if verdict.thinned:
        counts += f", {verdict.thinned} {words['thinned']}"
    if verdict.lost:
        counts += f", {verdict.lost} {words['lost']}"
    yield f"{place}: {counts}"
    for problem in verdict.problems:
        yield f"  {problem}"


def _verdict_record(verdict: LaneVerdict) -> dict[str, Any]:
    return {
        "epoch_no": verdict.epoch_no,
        "epoch": verdict.epoch.hex(),
        "lane": verdict.lane.name.lower(),
        "verified": verdict.verified,
        "released": verdict.released,
        "thinned": verdict.thinned,
        "lost": verdict.lost,
        "problems": list(verdict.problems),
    }


def _public_key(folder: Path) -> PublicKey:
    if not (folder / KEY).is_file():
        raise EdgeError(f"{folder / KEY}: this gateway has no key yet; `edge-agent key` makes it")
    try:
        return load_or_create(folder / KEY).public
    except ContractError as error:
        raise EdgeError(str(error)) from error


def _keys(key: PublicKey) -> dict[bytes, Verifier]:
    return {key.key_id: Verifier(key)}
