"""An older copy comes back, or two of one: of the collector's database, of a gateway's spool, of a whole gateway."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.backup import backup, restore
from collector.data_dir import database
from tests.reliability.oracle import Kind
from tests.reliability.scale import times
from tests.reliability.stand import Gateway, Stand
from tests.system.rig import until

#: a copied gateway is alarmed within this of both having sent
_CLONED_S = 60.0


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    # A disk that is slow for a moment is no fault that these tests are about; what is in memory alone dies with a kill.
    made = Stand(tmp_path, commit_limit_s=60.0)
    try:
        made.broker.start()
        made.collector.start()
        yield made
    finally:
        made.close()


def _acked(gateway: Gateway) -> int:
    """Returns how many batches are acknowledged, by the agent's own word."""
    ends: dict[str, int] = {}
    for fact in gateway.facts():
        if fact.kind is Kind.ACKED:
            ends[fact.series] = max(ends.get(fact.series, 0), fact.last)
    return sum(ends.values())


def _gets_receipts(gateway: Gateway, more: int) -> None:
    before = _acked(gateway)
    until(lambda: _acked(gateway) >= before + more, f"{more} more receipted batches", 60.0, 0.1)


@pytest.mark.ci
def test_a_collector_that_is_restored_from_an_older_copy_is_filled_again(stand: Stand, tmp_path: Path) -> None:
    gateway = stand.add("gateway")
    gateway.start()
    gateway.polls(60.0)
    for turn in range(times(2, 20)):
        _gets_receipts(gateway, 8)
        copy = tmp_path / f"copy-{turn}"
        backup(database(stand.data), copy)
        _gets_receipts(gateway, 8)
        stand.collector.kill()
        for path in stand.data.glob("evidence.sqlite3*"):
            path.unlink()
        restore(copy, stand.data, time.time_ns() // 1000)
        assert stand.judge().lost, "the copy is older than what was signed for"
        stand.collector.start()
    _gets_receipts(gateway, 1)
    stand.wait_until_clean()
    assert "Traceback" not in gateway.agent.log


def _gateway(stand: Stand, gateway: Gateway) -> dict[str, Any]:
    found = stand.api("gateways") or []
    return next((item for item in found if item["id"] == gateway.id), {})


@pytest.mark.ci
def test_a_gateway_whose_spool_is_rolled_back_is_shown_and_everything_is_kept(stand: Stand, tmp_path: Path) -> None:
    gateway = stand.add("gateway")
    gateway.start()
    gateway.polls(60.0)
    _gets_receipts(gateway, 4)
    # Stopped while it is copied: files that change meanwhile would fit each other no more.
    gateway.agent.pause()
    shutil.copytree(gateway.state, tmp_path / "older", ignore=shutil.ignore_patterns("*.sock"))
    gateway.agent.resume()
    _gets_receipts(gateway, 8)
    gateway.start_again_for_receipts()
    assert stand.judge().is_clean
    shutil.rmtree(gateway.state)
    shutil.copytree(tmp_path / "older", gateway.state)
    gateway.start()
    until(
        lambda: "rolled_back" in _gateway(stand, gateway).get("health", {}).get("identity", {}),
        "that it is shown as rolled back",
    )
    stand.wait_until_clean()
    # Shown, not punished: no second identity is suspected.
    assert [alarm for alarm in stand.api("alarms") if alarm["rule_id"] == "collector/identity"] == []


@pytest.mark.ci
def test_a_gateway_that_was_copied_is_alarmed_and_both_are_kept(stand: Stand) -> None:
    original = stand.add("original")
    original.start()
    original.polls(60.0)
    _gets_receipts(original, 4)
    original.stop()
    shutil.copytree(original.state, stand.folder / "copy" / "state", ignore=shutil.ignore_patterns("*.sock"))
    copy = stand.add("copy", device=original.device)
    assert copy.id == original.id
    since_s = time.monotonic()
    original.start()
    copy.start()

    def is_alarmed() -> bool:
        return any(alarm["rule_id"] == "collector/identity" for alarm in stand.api("alarms") or [])

    until(is_alarmed, "an alarm that the identity is used twice", 2 * _CLONED_S, 0.2)
    print(f"alarmed {time.monotonic() - since_s:.1f} s after both were started")
    # One after the other they send what they have: they share a name at the broker.
    for gateway, other in ((original, copy), (copy, original)):
        other.stop()
        if not gateway.agent.is_running:
            gateway.start()
        gateway.start_again_for_receipts()
    assert stand.judge().is_clean, str(stand.judge())
