"""The documents for people in the field: commands that exist, words that the programs say, both languages alike."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from collector.cli import _parser as collector_parser
from contracts.quality import CODES, GOOD
from drivers.loader import load_profile, shipped_profile_ids
from drivers.profile import Profile
from edge_agent.cli import make_parser as agent_parser
from simulators.cli import _parser as simulator_parser

DOCS = Path(__file__).resolve().parent.parent / "docs"
GUIDES = {"en": DOCS / "first-device.md", "zh": DOCS / "first-device.zh.md"}
DEVICES = (DOCS / "devices.md").read_text(encoding="utf-8")
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


def given(path: Path) -> list[str]:
    """Return every command of ours in the blocks of a document, without comments, redirections and optional parts."""
    names = "|".join(PARSERS)
    lines = re.findall(rf"^    ((?:{names}) .+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.split(r"\s{2,}|\s[|<>&[]", line)[0] for line in lines]


def anchors(path: Path) -> set[str]:
    """Return what the headings of a document are called in links."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def device_row(profile: Profile) -> str:
    """Return the row of docs/devices.md that a profile asks for; line settings only where the profile states them."""
    serial, told = profile.serial, profile.serial.model_fields_set
    line = [
        str(serial.baud) if "baud" in told else "",
        f"8{serial.parity[0].upper()}{serial.stop_bits}" if {"parity", "stop_bits"} <= told else "",
        f"@{serial.unit_id}" if serial.unit_id is not None else "",
    ]
    proved = "-" if profile.proved == "nothing" else profile.proved
    cells = [
        f"`{profile.id}`",
        f"{profile.names.en} · {profile.names.zh}",
        profile.confidence,
        proved,
        " ".join(word for word in line if word) or "?",
    ]
    return f"\n| {' | '.join(cells)} |\n"


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
def test_the_guide_leads_to_the_list_of_devices(guide: str) -> None:
    assert "](devices.md)" in GUIDES[guide].read_text(encoding="utf-8")


def test_the_list_of_devices_has_a_row_for_every_profile_and_no_other() -> None:
    rows = re.findall(r"^\| `(.+?)` .*$", DEVICES, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == set(shipped_profile_ids())


@pytest.mark.parametrize("id", shipped_profile_ids())
def test_a_row_of_the_list_says_what_the_profile_says(id: str) -> None:
    assert device_row(load_profile(id)) in DEVICES


def test_the_index_names_every_document() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    documents = {path.relative_to(DOCS).as_posix() for path in DOCS.glob("*.md")} - {"README.md"}
    assert not {name for name in documents if f"]({name})" not in index}


@pytest.mark.parametrize(("english", "count"), [("line-tools.md", 9), ("technician.md", 9), ("visits.md", 3)])
def test_the_tools_are_told_alike_in_both_languages(english: str, count: int) -> None:
    told = [given(DOCS / name) for name in (english, english.replace(".md", ".zh.md"))]
    assert told[0] == told[1]
    assert len(told[0]) == count


@pytest.mark.parametrize("document", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_command_of_a_document_is_one(document: str) -> None:
    for line in given(DOCS / document):
        program, *arguments = shlex.split(line)
        PARSERS[program]().parse_args(arguments)


@pytest.mark.parametrize("document", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_link_of_a_document_leads_somewhere(document: str) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", (DOCS / document).read_text(encoding="utf-8")):
        name, _, part = link.partition("#")
        if "://" in name:
            continue
        target = DOCS / (name or document)
        assert target.exists(), link
        assert not part or part in anchors(target), link
