"""An alarm's time line as the collector's API tells it, against what the broker's recorder and the signed bytes say."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from benchmarks.alarm_steps import STEPS, Told
from benchmarks.report import Figure
from benchmarks.stage import Stage

#: of an alarm in the API, in the order in which they happen: by the gateway's clock, and by the collector's
THERE, HERE = ("sampled_us", "judged_us", "sealed_us"), ("received_us", "committed_us")
_BROKER = STEPS.index("broker")
_SEALED = STEPS.index("sealed")


def record_figures(stage: Stage, alarms: Sequence[Told]) -> list[Figure]:
    """Returns whether every one of some alarms has its time line on the record, in order and true."""
    wanted = {one.event.id.hex() for one in alarms}
    rows = {row["id"]: row for row in _journal(stage) if row["id"] in wanted}
    return figures_of(alarms, rows)


def figures_of(alarms: Sequence[Told], rows: Mapping[str, Mapping[str, Any]]) -> list[Figure]:
    """Returns what is wrong with the time lines of some alarms.

    Args:
        rows: alarms of the API by id.
    """
    whole = in_order = 0
    off_ms = early_ms = 0.0
    for one in alarms:
        row = rows.get(one.event.id.hex())
        if row is None:
            continue
        there, here = [row[name] for name in THERE], [row[name] for name in HERE]
        if None in there or None in here:
            continue
        whole += 1
        in_order += all(before <= after for line in (there, here) for before, after in pairwise(line))
        early_ms = max(early_ms, (row["sealed_us"] - row["received_us"]) / 1000)
        broker_us, sealed_us = one.at_us[_BROKER], one.at_us[_SEALED]
        assert broker_us is not None
        assert sealed_us is not None
        # The same span once on the machine's own clock and once as the record has it.
        off_ms = max(off_ms, abs((row["received_us"] - row["sealed_us"]) - (broker_us - sealed_us)) / 1000)
    return [
        Figure(name="on the record, whole", unit="", value=whole, target=len(alarms), is_least=True),
        Figure(name="on the record, each side in order", unit="", value=in_order, target=len(alarms), is_least=True),
        Figure(name="received before it was sealed, by at most", unit="ms", value=early_ms, note="two clocks"),
        Figure(name="sealed -> received, record against recorder, worst", unit="ms", value=off_ms),
    ]


def _journal(stage: Stage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        address = f"http://127.0.0.1:{stage.web_port}/api/v1/alarm-journal?limit=1000{after}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            page = json.load(answer)
        found += page["alarms"]
        if page["next"] is None:
            return found
        after = f"&after={page['next']}"
