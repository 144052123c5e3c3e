"""From a damaged spool to the collector's tables: every whole batch arrives and counts once, and all of it verifies."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.ingest import judge_message
from collector.keys import add_gateway
from collector.store import Arrival
from contracts.batch import Lane
from contracts.envelope import Type, seal
from contracts.topics import Channel, topic
from edge_agent.put_aside import kept_aside
from edge_agent.recovered import write_recovered
from edge_agent.remains import read_remains
from edge_agent.salvage import salvage_epochs, survey
from edge_agent.seal import Sealed
from edge_agent.spool import Spool
from edge_agent.spool_open import PAGE_BYTES
from edge_agent.spool_pages import SpoolPages
from edge_agent.spool_thread import connect_file
from tests.collector.conftest import Bench, template  # noqa: F401  a fixture
from tests.collector.test_verify import check
from tests.edge_agent.chains import SIGNER
from tests.edge_agent.damaged_spool import (
    DAMAGES,
    GATEWAY_ID,
    KEYS,
    RECEIPTED,
    Made,
    make_spool,
    pages_of,
    without_log,
)
from tests.system.rig import Rig, until

#: later than every anchor of the spool
_NOW_US = 1_800_000_000_000_000 + 3_600_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    spool = make_spool(tmp_path_factory.mktemp("spool"))
    without_log(spool.path)
    return spool


@pytest.fixture
def make_collector(tmp_path: Path, template: Path) -> Iterator[Callable[[], Bench]]:  # noqa: F811
    benches: list[Bench] = []

    def make() -> Bench:
        bench = Bench(tmp_path / f"collector-{len(benches)}", template)
        add_gateway(bench.data, SIGNER.public.line(), "test", en="Spool", zh="缓存")
        bench.now_us = _NOW_US
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        bench.store.close()


def send(bench: Bench, messages: list[tuple[Channel, bytes]]) -> None:
    arrivals = []
    for channel, envelope in messages:
        name = topic(GATEWAY_ID, channel)
        verdict = judge_message(name, envelope, lambda gateway: KEYS if gateway == GATEWAY_ID else None)
        arrivals.append(Arrival(verdict=verdict, arrived_us=bench.now_us, topic=name))
    bench.store.commit(arrivals)


def message(lane: Lane, envelope: bytes) -> tuple[Channel, bytes]:
    return Channel.ALARM if lane is Lane.ALARM else Channel.DATA, envelope


def recovered(path: Path, folder: Path) -> list[tuple[Channel, bytes]]:
    """Salvages a file; returns the messages that the uplink would send."""
    into = folder / f"{path.name}.out"
    with SpoolPages(path) as pages:
        found = survey(pages, KEYS, GATEWAY_ID, read_remains(path))
        write_recovered(into, pages, found, salvage_epochs(found, "1"), signer=SIGNER, version="1")
    spool = Spool(connect_file(into))
    opened = spool.open()
    messages = []
    for (no, lane), view in opened.lanes.items():
        for seq in range(1, view.head.seq + 1):
            messages += [message(lane, row.envelope) for row in spool.read(no, lane, [(seq, seq)], limit_bytes=1)]
    spool.close()
    return messages


@pytest.mark.parametrize("seed", [1, 2, pytest.param(3, marks=pytest.mark.ci), pytest.param(4, marks=pytest.mark.ci)])
@pytest.mark.parametrize("kind", DAMAGES)
def test_every_whole_batch_counts_once_whatever_had_arrived(
    made: Made, make_collector: Callable[[], Bench], tmp_path: Path, kind: str, seed: int
) -> None:
    chance = random.Random(seed)
    data = made.path.read_bytes()
    pages = {made.key(sealed): pages_of(data, sealed) for sealed in made.batches}
    # Two copies with different damage: salvaging both must not count twice either.
    messages: list[tuple[Channel, bytes]] = []
    whole: set[tuple[bytes, Lane, int]] = set()
    for number in range(2):
        path = tmp_path / f"{number}.db"
        path.write_bytes(data)
        hit = DAMAGES[kind](path, chance)
        assert hit is not None
        whole |= {key for key, places in pages.items() if not places & hit}
        messages += recovered(path, tmp_path)
    # Receipted ones had arrived, and some more whose receipt had not come back.
    arrived: list[Sealed] = [
        sealed
        for sealed in made.batches
        if (sealed.lane is Lane.DATA and sealed.epoch == made.batches[0].epoch and sealed.seq <= RECEIPTED)
        or chance.random() < 0.3
    ]
    messages += [message(sealed.lane, sealed.envelope) for sealed in arrived]
    messages.append((Channel.CATALOGUE, seal(Type.CATALOGUE, made.catalogue.body, SIGNER)[0]))
    chance.shuffle(messages)
    bench = make_collector()
    for at in range(0, len(messages), 7):
        send(bench, messages[at : at + 7])
    there = {made.key(sealed) for sealed in arrived} | whole
    least = 2 * sum(lane is Lane.DATA for _, lane, _ in there)
    counts = dict(bench.rows("SELECT point_no, sum(count+without) FROM rollup GROUP BY point_no"))
    # Every block of the spool is of one point.
    (count,) = counts.values()
    # A bit may flip where it hurts nothing, so more than the bound may come back; never more than there was.
    assert least <= count <= 2 * sum(sealed.lane is Lane.DATA for sealed in made.batches)
    # Whatever was counted was counted once: every minute has as many samples as there are different times.
    assert count == 2 * _sources(bench)
    assert bench.rows("SELECT count(*) FROM quarantine") == [(0,)]
    report = check(bench)
    assert report.is_true, report
    send(bench, messages)
    assert dict(bench.rows("SELECT point_no, sum(count+without) FROM rollup GROUP BY point_no")) == counts


def _sources(bench: Bench) -> int:
    """How many different data batches of the spool are here, as themselves or recovered."""
    rows = bench.rows(
        "SELECT epoch_no, seq FROM evidence e JOIN epoch_name n ON n.no=e.epoch_no"
        " WHERE lane=1 AND substr(n.epoch, 1, 7)=CAST('epoch--' AS BLOB)"
        " UNION SELECT epoch_no, last FROM loss WHERE lane=1 AND cause='recovered'"
    )
    return len(rows)


@pytest.mark.ci
def test_a_real_gateway_salvages_and_a_real_collector_verifies(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    spool = tmp_path / "gateway" / "spool.db"
    try:
        rig.start()
        rig.wait_until_receipted()
        rig.simulate("link", "cut")
        until(lambda: _status(rig)["backlog_data_batches"] > 8, "batches that wait", 90.0)
        rig.agent.kill()
        # Damage away from the newest batch shows only in the full check.
        without_log(spool)
        data = bytearray(spool.read_bytes())
        for number in range(6, len(data) // PAGE_BYTES, 7):
            data[number * PAGE_BYTES : (number + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)
        spool.write_bytes(data)
        rig.agent.start()
        until(lambda: _status(rig).get("spool_damaged_files"), "the damaged file put aside", 90.0)
        rig.simulate("link", "restore")
        (aside,) = (item.path for item in kept_aside(spool))
        said = json.loads(
            rig.command("edge_agent.cli", "spool", "salvage", str(aside), "--config", str(rig.site), "--json")
        )
        assert said["new_batches"] == said["recovered_batches"] > 0
        again = json.loads(
            rig.command("edge_agent.cli", "spool", "salvage", str(aside), "--config", str(rig.site), "--json")
        )
        assert again["new_batches"] == 0
        until(rig.is_connected, "the link", 90.0, 0.3)
        rig.wait_until_receipted()
        until(lambda: _recovered(rig) == said["recovered_batches"], "every recovered batch", 90.0, 0.3)
        rig.agent.stop()
        rig.collector.stop()
        rig.verify()
        rig.command("edge_agent.cli", "spool", "verify", "--config", str(rig.site))
    finally:
        rig.stop()


def _status(rig: Rig) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(rig.command("edge_agent.cli", "status", "--config", str(rig.site), "--json"))
    except AssertionError:
        return {"backlog_data_batches": 0}
    return found


def _recovered(rig: Rig) -> int:
    with sqlite3.connect(f"file:{rig.data}/evidence.sqlite3?mode=ro", uri=True) as db:
        rows = db.execute(
            "SELECT count(*) FROM evidence e JOIN epoch p ON p.epoch_no=e.epoch_no WHERE p.reason='salvage'"
        ).fetchone()
    return int(rows[0])
