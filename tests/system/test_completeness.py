"""The gap ledger of real processes: what a killed agent, a silent device and a cut link cost is told by cause."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.system.rig import POINT, Rig, until


@pytest.mark.ci
def test_every_tick_of_a_troubled_minute_has_its_cause(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    try:
        rig.start()
        time.sleep(3)
        rig.simulate("fault", POINT.split("/")[0], "dead")
        time.sleep(4)
        rig.simulate("fault", POINT.split("/")[0], "none")
        rig.simulate("link", "cut")
        time.sleep(3)
        rig.agent.kill()
        time.sleep(4)
        rig.simulate("link", "restore")
        rig.agent.start()
        until(lambda: rig.backlog_epochs() <= 1, "receipts for the epoch before", 90.0, 0.3)
        time.sleep(3)
        rig.wait_until_receipted()
        rig.agent.stop()
        rig.collector.stop()
        words = ("completeness", "--data", str(rig.data), "--point", POINT, "--json")
        found: Counter[tuple[str, str]] = Counter()
        for view in json.loads(rig.command("collector.cli", *words)):
            assert view["expected"] == sum(count for *_, count in view["counts"])
            for outcome, cause, _, count in view["counts"]:
                found[outcome, cause] += count
        assert found["good", ""] >= 10
        assert found["missing", "agent_stopped"] >= 6  # two ticks a second for four seconds, and what was not sealed
        # A Modbus TCP server that is dead takes no connection, or gives no reply; then it is not asked.
        assert sum(found["missing", cause] for cause in ("no_reply", "connect_failed", "port_closed", "not_asked")) >= 4
        assert {outcome for outcome, _ in found} <= {"good", "missing", "late", "not_arrived"}
        assert found["not_arrived", "named"] == 0
    finally:
        rig.stop()
