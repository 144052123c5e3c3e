"""Kill anything at any moment: what was sealed arrives once, and everything verifies.

The oracle is the gateway's own spool, which no kill can make forget: every batch that lies or lay
there must be in the collector's evidence under the same digest when all is calm again.
"""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import pytest

from tests.system.rig import POINT, Rig, until

_ROUNDS = 12


def spooled(rig: Rig) -> dict[tuple[bytes, int, int], bytes]:
    """(epoch, lane, seq) -> digest of every batch in the spool."""
    found = {}
    with sqlite3.connect(f"file:{rig.folder}/gateway/spool.db?mode=ro", uri=True) as db:
        epochs = dict(db.execute("SELECT no, epoch FROM epoch"))
        for id, digest in db.execute("SELECT id, digest FROM batch"):
            found[epochs[id >> 34], (id >> 33) & 1, id & ((1 << 33) - 1)] = digest
    return found


def newest_epoch(rig: Rig) -> bytes:
    """The epoch of the last start, whose end may still wait for a receipt."""
    with sqlite3.connect(f"file:{rig.folder}/gateway/spool.db?mode=ro", uri=True) as db:
        epoch: bytes = db.execute("SELECT epoch FROM epoch ORDER BY no DESC LIMIT 1").fetchone()[0]
        return epoch


def evidence(rig: Rig) -> dict[tuple[bytes, int, int], list[bytes]]:
    """The same of the collector's evidence; a list, because nothing may stand twice."""
    found: dict[tuple[bytes, int, int], list[bytes]] = {}
    with sqlite3.connect(f"file:{rig.data}/evidence.sqlite3?mode=ro", uri=True) as db:
        rows = db.execute(
            "SELECT epoch_name.epoch, evidence.lane, evidence.seq, evidence.digest FROM evidence"
            " JOIN epoch_name ON epoch_name.no = evidence.epoch_no"
        )
        for epoch, lane, seq, digest in rows:
            found.setdefault((epoch, lane, seq), []).append(digest)
    return found


@pytest.mark.ci
@pytest.mark.parametrize("seed", [1])
def test_random_kills_lose_nothing_that_was_sealed(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    rig = Rig(tmp_path)
    try:
        rig.start()
        for _round in range(_ROUNDS):
            rig.simulate("set", POINT, str(dice.choice([0.5, 3.0, 30.0, 62.0, 5.5])))
            time.sleep(dice.uniform(0.1, 1.5))
            victim = dice.choice(["agent", "collector", "both", "link"])
            if victim in ("agent", "both"):
                rig.agent.kill()
            if victim in ("collector", "both"):
                rig.collector.kill()
            if victim == "link":
                rig.simulate("link", "cut")
            time.sleep(dice.uniform(0.0, 1.0))
            if not rig.collector.is_running:
                rig.collector = rig.new_collector()
                rig.collector.start()
            if not rig.agent.is_running:
                rig.agent.start()
            if victim == "link":
                rig.simulate("link", "restore")
        until(rig.is_healthy, "the collector's page", 90.0)
        until(lambda: rig.page_value() is not None, "a value on the page", 90.0)
        # What was sealed last waits in the spool: one more start delivers every epoch before it.
        rig.agent.stop()
        rig.agent.start()
        until(lambda: rig.backlog_epochs() <= 1, "receipts for every earlier epoch", 90.0, 0.3)
        rig.agent.stop()
        until(lambda: all(not chain["missing"] for chain in rig.api("chains")), "chains without holes", 90.0)
        rig.collector.stop()
        sealed, held = spooled(rig), evidence(rig)
        assert len(sealed) > 10
        assert all(len(digests) == 1 for digests in held.values()), "stored twice"
        newest = newest_epoch(rig)
        lost = [key for key, digest in sealed.items() if key[0] != newest and held.get(key) != [digest]]
        assert lost == []
        rig.verify()
        rig.command("edge_agent.cli", "spool", "verify", "--config", str(rig.site))
    finally:
        rig.stop()
