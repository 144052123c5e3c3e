"""What is read out of mmcli's answers; mmcli here is a small script, there is no modem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.modem import MmcliModem, ModemFacts, facts_of

MODEM: dict[str, Any] = {
    "3gpp": {"imei": "860000000000000", "operator-code": "46000", "operator-name": "CHINA MOBILE"},
    "generic": {
        "access-technologies": ["lte"],
        "signal-quality": {"recent": "yes", "value": "67"},
        "sim": "/org/freedesktop/ModemManager1/SIM/0",
        "state": "connected",
    },
}
SIM: dict[str, Any] = {"properties": {"iccid": "89860000000000000000", "imsi": "460000000000000"}}
FACTS = ModemFacts(signal_pct=67, operator="CHINA MOBILE", technology="lte", sim="89860000000000000000")


def test_the_facts() -> None:
    assert facts_of(MODEM, SIM) == FACTS
    assert FACTS.facts() == {
        "modem_signal_pct": 67,
        "modem_operator": "CHINA MOBILE",
        "modem_technology": "lte",
        "modem_sim": "89860000000000000000",
    }


@pytest.mark.parametrize(
    ("modem", "sim"),
    [
        ({}, {}),
        ({"3gpp": None, "generic": []}, {"properties": "--"}),
        (
            {
                "3gpp": {"operator-name": "--"},
                "generic": {"signal-quality": {"value": "250"}, "access-technologies": ["unknown", 7]},
            },
            {"properties": {"iccid": "--"}},
        ),
    ],
)
def test_what_is_not_told_is_not_made_up(modem: dict[str, Any], sim: dict[str, Any]) -> None:
    assert facts_of(modem, sim) == ModemFacts()
    assert facts_of(modem, sim).facts() == {}


def _fake(folder: Path, answers: dict[str, Any]) -> str:
    script = folder / "mmcli"
    cases = "\n".join(f"'{words}') cat <<'END'\n{json.dumps(answer)}\nEND\n;;" for words, answer in answers.items())
    script.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\n*) exit 1;;\nesac\n')
    script.chmod(0o755)
    return str(script)


async def test_the_first_modem_is_asked_and_its_sim(tmp_path: Path) -> None:
    path = "/org/freedesktop/ModemManager1/Modem/3"
    answers = {
        "-L -J": {"modem-list": [path]},
        f"-m {path} -J": {"modem": MODEM},
        "-i /org/freedesktop/ModemManager1/SIM/0 -J": {"sim": SIM},
    }
    assert await MmcliModem(_fake(tmp_path, answers)).read() == FACTS


async def test_no_modem_no_service_and_no_command_tell_nothing(tmp_path: Path) -> None:
    assert await MmcliModem(_fake(tmp_path, {"-L -J": {"modem-list": []}})).read() is None
    assert await MmcliModem(_fake(tmp_path, {})).read() is None
    assert await MmcliModem(str(tmp_path / "nothing here")).read() is None
