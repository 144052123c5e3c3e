"""``edge-agent spool salvage FILE``: what a damaged spool still proves, back on its way to the collector.

Reading, verifying and signing happen here, in a process of their own with the lowest priority.  What is proved
is written to a file in the state directory; the running agent, or this command where none runs, takes it
into the spool, and the file goes.  The damaged file is only read.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contracts.errors import ContractError
from contracts.keys import Signer, Verifier, load_or_create
from edge_agent import __version__
from edge_agent.commands.output import as_json
from edge_agent.commands.words import Words
from edge_agent.control import ask
from edge_agent.delivery import Delivery
from edge_agent.errors import EdgeError, NotRunningError, SpoolError
from edge_agent.open_store import collector_of, uptime_of
from edge_agent.recovered import remove_recovered, take_in, write_recovered
from edge_agent.remains import read_remains
from edge_agent.salvage import Survey, salvage_epochs, survey
from edge_agent.spool_file import open_spool
from edge_agent.spool_pages import SpoolPages
from edge_agent.spool_records import Opened
from edge_agent.spool_thread import SpoolThread
from edge_agent.state_dir import CONTROL, KEY, RECOVERED, SPOOL, StateDir

#: how long the running agent may take to take everything in (seconds)
_TAKE_LIMIT_S = 6 * 3600.0


def run(folder: Path, options: argparse.Namespace, words: Words) -> int:
    """Salvages one file; ends with 0 also where nothing was found.

    Raises:
        EdgeError: the file cannot be read, or what is recovered cannot be kept.
    """
    file: Path = options.damaged
    if (folder / SPOOL).exists() and file.exists() and file.samefile(folder / SPOOL):
        raise SpoolError(f"{file} is the spool in use; when it is found damaged it gets another name and stays here")
    signer = _signer(folder)
    keys = {signer.key_id: Verifier(signer.public)}
    os.nice(19)
    remains = _believed(read_remains(file) if file.exists() else None, folder, is_all=options.all)
    into = options.into or folder
    with SpoolPages(file) as pages:
        found = survey(pages, keys, signer.public.gateway_id, remains)
        epochs = salvage_epochs(found, __version__)
        report = _report(file, pages.size, found)
        if epochs:
            path = into / f"{RECOVERED}{epochs[0].epoch.hex()}.db"
            written = write_recovered(path, pages, found, epochs, signer=signer, version=__version__)
            report |= {"recovered_batches": written.batches, "recovered_readings": written.readings}
            report["too_large"] = written.too_large
            report |= {"file": str(path)} if options.into else _hand_over(path, folder)
    for line in [as_json(report)] if options.json else _lines(report, words):
        print(line)
    return 0


def _signer(folder: Path) -> Signer:
    if not (folder / KEY).is_file():
        raise EdgeError(f"{folder / KEY}: there is no key; only the gateway that signed a spool can salvage it")
    try:
        return load_or_create(folder / KEY)
    except ContractError as error:
        raise EdgeError(str(error)) from error


def _believed(remains: Opened | None, folder: Path, *, is_all: bool) -> Opened | None:
    """Leaves out what the file says of receipts where those are of another collector than the one of now."""
    if remains is None or is_all:
        return None
    before, now = collector_of(remains), None
    try:
        with open_spool(folder / SPOOL) as spool:
            now = spool.collector()
    except SpoolError:
        return remains
    return None if before is not None and now is not None and before[1] != now[1] else remains


def _hand_over(path: Path, folder: Path) -> dict[str, int]:
    try:
        counts: dict[str, int] = ask(folder / CONTROL, "spool-take", timeout_s=_TAKE_LIMIT_S, file=path.name)
    except NotRunningError:
        counts = _take_alone(path, folder)
    remove_recovered(path)
    return {"new_batches": counts["batches"], "known_batches": counts["known_batches"]}


def _take_alone(path: Path, folder: Path) -> dict[str, int]:
    holder = StateDir(folder)
    holder.acquire()
    try:
        return asyncio.run(_take(path, folder))
    finally:
        holder.release()


async def _take(path: Path, folder: Path) -> dict[str, int]:
    # Room is the agent's to make, when it runs again.
    spool = SpoolThread(folder / SPOOL)
    try:
        opened = await spool.open()
        uptime_s = uptime_of(opened)
        return await take_in(path, spool=spool, delivery=Delivery(""), uptime_s=lambda: uptime_s, rest_s=0)
    finally:
        await spool.close()


def _report(file: Path, size: int, found: Survey) -> dict[str, Any]:
    wanted = sum(len(found.wanted(epoch, lane)) for epoch, lane in found.chains)
    return {
        "damaged": str(file),
        "bytes": size,
        "proved_batches": found.batches,
        "receipted_batches": found.batches - wanted,
        "not_ours": found.foreign,
        "catalogues": len(found.catalogues),
        "lost": [
            {"epoch": hole.epoch.hex(), "lane": hole.lane.name.lower(), "first": hole.first, "last": hole.last}
            for hole in found.holes()
        ],
        "receipts_known": found.settled is not None,
        "recovered_batches": 0,
        "recovered_readings": 0,
        "too_large": 0,
        "new_batches": 0,
        "known_batches": 0,
    }


def _lines(report: dict[str, Any], words: Words) -> Iterator[str]:
    yield f"{report['damaged']}: {report['bytes']} {words['bytes']}"
    for name in ("proved_batches", "receipted_batches", "not_ours", "recovered_batches", "recovered_readings"):
        yield f"{words['salvage ' + name]}: {report[name]}"
    if report["too_large"]:
        yield f"{words['salvage too_large']}: {report['too_large']}"
    for hole in report["lost"]:
        count = hole["last"] - hole["first"] + 1
        yield f"{words['salvage lost']}: {hole['epoch']} {hole['lane']} {hole['first']}-{hole['last']} ({count})"
    if not report["receipts_known"]:
        yield words["salvage no receipts"]
    yield words["salvage tail"]
    if "file" in report:
        yield f"{words['salvage file']}: {report['file']}"
    elif report["new_batches"] or report["known_batches"]:
        yield f"{words['salvage new_batches']}: {report['new_batches']}"
        yield f"{words['salvage known_batches']}: {report['known_batches']}"
    else:
        yield words["salvage nothing"]
