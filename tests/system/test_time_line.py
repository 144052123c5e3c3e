"""An alarm's time line, from the sample to the person who has seen it: in the API and on the page."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.system.rig import POINT, Rig, until

pytestmark = pytest.mark.ci
#: by the gateway's clock, and by the collector's
THERE = ("sampled_us", "judged_us", "sealed_us")
HERE = ("received_us", "committed_us", "acknowledged_us")
#: what each side's clock may be off by here, where both are one (us)
_CLOCKS_US = 500_000


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    try:
        rig.start()
        yield rig
    finally:
        rig.stop()


def _acknowledge(rig: Rig, id: str) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{rig.http_port}/api/v1/alarms/{id}/acknowledge",
        data=json.dumps({"by": "Somebody", "note": "seen"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=5).close()


def _moments(html: str, id: str) -> dict[str, str]:
    """Returns label -> text of the time line of one alarm on the page."""
    item = html[html.index(f'id="a:{id}"') + 1 :].partition('id="a:')[0]
    return {label: text.strip() for label, text in re.findall(r"<dt>([^<]*)</dt><dd>(.*?)</dd>", item, re.DOTALL)}


def test_every_step_of_an_alarm_is_on_the_record(rig: Rig) -> None:
    rig.simulate("set", POINT, "80")
    [first, *_] = until(rig.alarms, "the alarm")
    assert first["acknowledged_us"] is None
    rig.html()

    def told() -> dict[str, Any] | None:
        now: dict[str, Any] = rig.api(f"alarms/{first['id']}")
        return now if now["shown_us"] is not None and now["committed_us"] is not None else None

    until(told, "its commit and that it was shown")
    _acknowledge(rig, first["id"])
    alarm = rig.api(f"alarms/{first['id']}")
    there, here = [alarm[name] for name in THERE], [alarm[name] for name in HERE]
    assert all(before <= after for line in (there, here) for before, after in pairwise(line)), alarm
    assert alarm["sealed_us"] <= alarm["received_us"] + _CLOCKS_US
    assert alarm["received_us"] <= alarm["shown_us"] <= alarm["acknowledged_us"]
    assert (alarm["acknowledged_by"], alarm["raised_us"]) == ("Somebody", alarm["sampled_us"])
    moments = _moments(rig.get("/?lang=en").decode(), first["id"])
    steps = ("sampled", "judged", "sealed", "received", "committed", "shown", "acknowledged")
    assert [label for label in steps if not re.search(r"\d\d:\d\d:\d\d\.\d\d\d", moments[label])] == [], moments
