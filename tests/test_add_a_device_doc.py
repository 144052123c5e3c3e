"""The guide for adding a device: its profile works, its commands exist, and no key of the format is left out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from pydantic import BaseModel

from contracts.quality import CODES, Quality
from drivers.examples import example_problems
from drivers.loader import parse_profile, read_profile
from drivers.profile import (
    AlarmProfile,
    GateProfile,
    LimitsProfile,
    PointProfile,
    Profile,
    RecogniseProfile,
    Serial,
)
from drivers.words import REGISTERS
from edge_agent.cli import make_parser
from simulators.cli import _parser as simulator_parser

DOCS = Path(__file__).resolve().parent.parent / "docs"
GUIDES = ("add-a-device.md", "add-a-device.zh.md")
#: what no register of an instrument can say
MADE_BY_THE_AGENT = {"other_device", "not_computable", "not_distinct"}
PARSERS = {"edge-agent": make_parser, "simulator": simulator_parser}


def text_of(guide: str) -> str:
    return (DOCS / guide).read_text(encoding="utf-8")


def tables_of(guide: str) -> list[str]:
    return re.findall(r"```toml\n(.*?)```", text_of(guide), re.DOTALL)


@pytest.mark.parametrize("guide", GUIDES)
def test_the_profile_of_the_guide_works(guide: str) -> None:
    profile = parse_profile(tables_of(guide)[0].encode(), file=guide, id="well-probe")
    assert len(profile.examples) == 3
    assert example_problems(profile) == []


@pytest.mark.parametrize("guide", GUIDES)
def test_the_correction_of_the_guide_works(guide: str, tmp_path: Path) -> None:
    path = tmp_path / "keller-30.toml"
    path.write_text(tables_of(guide)[1], encoding="utf-8")
    assert read_profile(path).limits.max_registers == 2


def test_both_languages_show_the_same_files() -> None:
    assert tables_of(GUIDES[0]) == tables_of(GUIDES[1])


@pytest.mark.parametrize("guide", GUIDES)
def test_every_command_exists(guide: str) -> None:
    lines = re.findall(r"^    ((?:edge-agent|simulator) .*)$", text_of(guide), re.MULTILINE)
    assert len(lines) >= 10
    for line in lines:
        program, *arguments = shlex.split(line)
        PARSERS[program]().parse_args(arguments)


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize(
    "model", [Profile, Serial, LimitsProfile, PointProfile, GateProfile, AlarmProfile, RecogniseProfile]
)
def test_every_key_of_the_format_is_named(guide: str, model: type[BaseModel]) -> None:
    text = text_of(guide)
    optional = {"encoding", "suffix", "default", "note", "range"}
    missing = {key for key in model.model_fields if not re.search(rf"\b{key}\b", text)} - optional
    assert not missing


@pytest.mark.parametrize("guide", GUIDES)
def test_every_type_and_every_quality_of_an_instrument_is_named(guide: str) -> None:
    text = text_of(guide)
    assert not {name for name in REGISTERS if not name.startswith("bit") and not re.search(rf"\b{name}\b", text)}
    told = {code.reason for code in CODES.values() if code.quality is not Quality.MISSING} - MADE_BY_THE_AGENT
    assert not {word for word in told if not re.search(rf"\b{word}\b", text)}
