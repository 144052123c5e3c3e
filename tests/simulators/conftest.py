"""A small plant, a clock that tests move, and free ports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulators.plant import Plant, make_plant
from tests import mosquitto


class Clock:
    """Monotonic seconds that stand still until a test moves them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def free_port() -> Callable[[], int]:
    return mosquitto.free_port


SITE: dict[str, Any] = {
    "port": [
        {"id": "tcp-1", "kind": "tcp", "host": "127.0.0.1", "port": 15999},
        {"id": "bus-1", "kind": "serial", "device": "bus-1", "baud": 9600},
    ],
    "device": [
        {"id": "well", "port": "tcp-1", "unit_id": 1, "profile": "honeywell-xnx"},
        {"id": "head", "port": "tcp-1", "unit_id": 2, "profile": "gas-head-10reg"},
        {"id": "main", "port": "bus-1", "unit_id": 1, "profile": "keller-30"},
        {
            "id": "inlet",
            "port": "bus-1",
            "unit_id": 2,
            "profile": "qd-transmitter",
            "points": {"pressure": {"unit": "kPa"}},
        },
    ],
}


@pytest.fixture
def site(free_port: Callable[[], int]) -> dict[str, Any]:
    ports = [{**SITE["port"][0], "port": free_port()}, SITE["port"][1]]
    return {"port": ports, "device": list(SITE["device"])}


@pytest.fixture
def plant(site: dict[str, Any], tmp_path: Path) -> Plant:
    return make_plant(site, "site.toml", tmp_path)
