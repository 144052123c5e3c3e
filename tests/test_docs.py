"""The documents for people in the field: commands that exist, words that the programs say, both languages alike."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from collector.cli import _parser as collector_parser
from contracts.quality import CODES, GOOD
from drivers.loader import shipped_profile_ids
from edge_agent.cli import make_parser as agent_parser
from simulators.cli import _parser as simulator_parser

DOCS = Path(__file__).resolve().parent.parent / "docs"
GUIDES = {"en": DOCS / "first-device.md", "zh": DOCS / "first-device.zh.md"}
PARSERS = {"edge-agent": agent_parser, "collector": collector_parser, "simulator": simulator_parser}
_SHELL = re.compile(
    r"^(sudo|ls|id|cd|cp|nano|sed|systemctl|journalctl|mbpoll|printf|edge-agent|collector|simulator|/opt/\S+) "
)


def commands(guide: str) -> list[str]:
    """Return the shell lines of a guide's blocks, without comments."""
    lines = GUIDES[guide].read_text(encoding="utf-8").splitlines()
    blocks = [line[4:] for line in lines if line.startswith("    ")]
    return [re.sub(r"\s{2,}#.*", "", line) for line in blocks if _SHELL.match(line)]


def ours(guide: str) -> list[list[str]]:
    """Return program and arguments of every command of ours that a guide gives: short, or in full behind sudo."""
    found = []
    for line in commands(guide):
        words = shlex.split(re.split(r"\s[|<>&]", line)[0])
        for place, word in enumerate(words):
            name = word.removeprefix("/opt/qianshao/bin/")
            if name in PARSERS and (place == 0 or name != word):
                found.append([name, *words[place + 1 :]])
    return found


@pytest.mark.parametrize("guide", GUIDES)
def test_every_command_of_the_guide_is_one(guide: str) -> None:
    given = ours(guide)
    assert len(given) > 20
    for program, *arguments in given:
        if arguments != ["--version"]:
            PARSERS[program]().parse_args(arguments)


def test_both_languages_give_the_same_commands() -> None:
    english = [line for line in commands("en") if not line.startswith("edge-agent read --config")]
    chinese = [re.sub(r"^edge-agent --lang zh read --config.*", "", line) for line in commands("zh")]
    assert english == [line for line in chinese if line and not line.startswith("edge-agent read --config")]


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_explains_every_quality(guide: str) -> None:
    text = GUIDES[guide].read_text(encoding="utf-8")
    words = {getattr(code, guide) for code in CODES.values() if code.code != GOOD}
    assert not {word for word in words if word not in text}


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_names_every_profile(guide: str) -> None:
    text = GUIDES[guide].read_text(encoding="utf-8")
    assert not {id for id in shipped_profile_ids() if f"`{id}`" not in text}


def test_the_index_names_every_document() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    documents = {path.relative_to(DOCS).as_posix() for path in DOCS.glob("*.md")} - {"README.md"}
    assert not {name for name in documents if f"]({name})" not in index}
