"""``number``, ``write-register`` and ``replace`` as a person types them, on a real pseudo terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent import cli
from edge_agent.journal import FILE as JOURNAL
from edge_agent.replacements import read_replacements
from tests.edge_agent.tcp_device import TcpDevice
from tests.edge_agent.tools.new_unit import NewUnit

pytestmark = pytest.mark.slow
KELLER_ADDRESS = 0x020D
SERIAL = 0x0202
SITE = """
[gateway]
name = {{ en = "well", zh = "井" }}
state_dir = "state"
[[port]]
id = "bus"
kind = "serial"
device = "{device}"
baud = 9600
[[device]]
id = "main"
port = "bus"
unit_id = 5
profile = "keller-30"
serial = "104233"
allow_write = {allow}
"""

Answers = Callable[[list[str]], list[str]]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What the person types; an answer may be a callable that does something first."""

    def set_answers(texts: list[str]) -> list[str]:
        shown: list[str] = []
        rest = iter(texts)

        def ask(text: str = "") -> str:
            shown.append(text)
            return next(rest)

        monkeypatch.setattr("builtins.input", ask)
        return shown

    return set_answers


@pytest.fixture
def unit() -> Iterator[NewUnit]:
    with NewUnit(address=1, address_register=KELLER_ADDRESS) as unit:
        yield unit


def site_of(folder: Path, unit: NewUnit, *, allow: bool) -> Path:
    path = folder / "site.toml"
    path.write_text(SITE.format(device=unit.path, allow=str(allow).lower()), encoding="utf-8")
    return path


def number(unit: NewUnit, folder: Path, *more: str) -> int:
    return cli.main(
        [
            "--lang=en",
            "number",
            unit.path,
            "--profile=keller-30",
            "--by=Chen",
            "--ask-anyway",
            f"--state-dir={folder}",
            f"--config={folder / 'none.toml'}",
            *more,
        ]
    )


def journal(folder: Path) -> list[str]:
    return [json.loads(line)["text"] for line in (folder / JOURNAL).read_text(encoding="utf-8").splitlines()]


def test_one_unit_gets_its_number(
    unit: NewUnit, tmp_path: Path, answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answers(["", ""])
    assert number(unit, tmp_path, "--from=3") == 0
    shown = capsys.readouterr().out
    assert "found at 1" in shown
    assert "answers at 3 after the supply was off" in shown
    assert "Write 3 on its label." in shown
    assert unit.address == 3
    assert unit.writes == [(6, KELLER_ADDRESS, (3,))]
    assert "becomes 3" in asked[0]
    assert "off and on" in asked[1]
    assert [text.rpartition(": ")[2] for text in journal(tmp_path)] == ["1 -> 3, by Chen", "answers at 3"]


@pytest.mark.parametrize(
    ("behaviour", "typed", "status", "says"),
    [
        ({"is_stubborn": True}, [""], 1, "still answers at 1 only"),
        ({"forgets": True}, ["", "cycle"], 1, "still answers at 1 only"),
        ({"is_connected": False}, ["", "q"], 0, "no answer at 1"),
        ({}, ["", "s"], 0, "not checked: whether it keeps 3"),
        ({}, ["q"], 0, ""),
    ],
)
def test_units_that_are_otherwise(
    unit: NewUnit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    behaviour: dict[str, bool],
    typed: list[str],
    status: int,
    says: str,
) -> None:
    for name, value in behaviour.items():
        setattr(unit, name, value)
    rest = iter(typed)

    def ask(text: str = "") -> str:
        answer = next(rest)
        if answer == "cycle":
            unit.power_cycle()
            return ""
        return answer

    monkeypatch.setattr("builtins.input", ask)
    assert number(unit, tmp_path, "--from=3") == status
    assert says in capsys.readouterr().out


def test_a_number_that_is_taken_is_not_given_twice(
    unit: NewUnit, tmp_path: Path, answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    unit.renew(3)
    answers([])
    assert number(unit, tmp_path, "--from=3") == 1
    assert "answers at 3 already" in capsys.readouterr().out
    assert unit.writes == []


def test_numbers_that_cannot_be_are_refused_before_anything_is_asked(
    unit: NewUnit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert number(unit, tmp_path, "--from=248", "--count=5") == 2
    assert "1 to 249" in capsys.readouterr().err
    assert number(unit, tmp_path, "--from=3", "--profile=nothing") == 2
    assert "nothing" in capsys.readouterr().err


def write(site: Path, *words: str) -> int:
    return cli.main(["--lang=en", "write-register", f"--config={site}", "--by=Chen", *words])


def test_a_write_is_shown_confirmed_read_back_and_noted(
    unit: NewUnit, tmp_path: Path, answers: Answers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unit.renew(5)
    unit.words[10] = 7
    site = site_of(tmp_path, unit, allow=True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers(["n"])
    assert write(site, "main", "10", "8") == 1
    assert "7 -> 8" in capsys.readouterr().out
    assert unit.writes == []
    answers(["y"])
    assert write(site, "main", "10", "8") == 0
    assert "written, reads back 8" in capsys.readouterr().out
    assert unit.writes == [(6, 10, (8,))]
    assert write(site, "main", "0x0A", "1", "2", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out.partition("\n")[2])["after"] == [1, 2]
    assert journal(tmp_path / "state")[:2] == [
        "main unit 5, holding 10: 7 -> 8, by Chen",
        "main unit 5, holding 10: ok; reads back 8",
    ]


def test_a_device_that_allows_no_writes_gets_none(
    unit: NewUnit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit.renew(5)
    site = site_of(tmp_path, unit, allow=False)
    assert write(site, "main", "10", "8", "--yes") == 1
    assert "allow_write = true" in capsys.readouterr().err
    assert write(site, "nobody", "10", "8", "--yes") == 2
    assert "there are main" in capsys.readouterr().err
    assert unit.writes == []


def test_nothing_is_written_where_nobody_can_say_yes(
    unit: NewUnit, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unit.renew(5)
    site = site_of(tmp_path, unit, allow=True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert write(site, "main", "10", "8") == 1
    assert "--yes" in capsys.readouterr().err
    assert unit.writes == []


def replace(site: Path, serial: str, *more: str) -> int:
    return cli.main(
        [
            "--lang=en",
            "replace",
            "main",
            f"--serial={serial}",
            "--reason=flooded",
            "--by=Chen",
            f"--config={site}",
            *more,
        ]
    )


def test_a_unit_is_accepted_only_as_what_it_says_it_is(
    unit: NewUnit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit.renew(5)
    unit.words |= {SERIAL: 104877 >> 16, SERIAL + 1: 104877 & 0xFFFF}
    site = site_of(tmp_path, unit, allow=False)
    state = tmp_path / "state"
    assert replace(site, "104878") == 1
    assert "says that its serial number is 104877" in capsys.readouterr().err
    for impossible in ("2026-13-01", "2026-02-30", "today"):
        assert replace(site, "104877", f"--calibrated={impossible}") == 2
    assert read_replacements(state) == ()
    assert replace(site, "104877", "--calibrated=2026-05-04") == 0
    assert "the next one takes it" in capsys.readouterr().out
    [one] = read_replacements(state)
    assert (one.old, one.new, one.by, one.calibrated) == ("104233", "104877", "Chen", "2026-05-04")
    assert replace(site, "104877") == 1
    assert "already" in capsys.readouterr().err
    assert len(journal(state)) == 1


def test_a_unit_that_does_not_answer_is_not_accepted(
    unit: NewUnit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replace(site_of(tmp_path, unit, allow=False), "104877") == 1
    assert "does not tell its serial number" in capsys.readouterr().err


def test_a_unit_that_keeps_the_factory_address_is_the_last(
    unit: NewUnit, tmp_path: Path, answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    # Were it the first, the second unit's number would be written to both.
    asked = answers(["", "s", "q"])
    assert number(unit, tmp_path, "--from=1", "--count=2") == 0
    assert "becomes 2" in asked[0]
    assert "becomes 1" in asked[2]
    assert unit.writes == [(6, KELLER_ADDRESS, (2,))]


def test_two_units_at_once_get_no_number(
    unit: NewUnit, tmp_path: Path, answers: Answers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = unit._answer

    def collided(frame: bytes) -> bytes:
        return bytes(byte ^ 0x20 if at > 2 else byte for at, byte in enumerate(answer(frame)))

    monkeypatch.setattr(unit, "_answer", collided)
    answers(["", "q"])
    assert number(unit, tmp_path, "--from=3") == 0
    assert "two units at once" in capsys.readouterr().out
    assert unit.writes == []


def test_answers_that_run_out_end_it_with_a_sentence(
    unit: NewUnit, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(text: str = "") -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", ended)
    assert number(unit, tmp_path, "--from=3") == 1
    assert "nobody to ask" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    unit.renew(5)
    assert write(site_of(tmp_path, unit, allow=True), "main", "10", "8") == 1
    assert unit.writes == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("10", "1", "--function=5"), "--function 5 writes a coil, not a holding"),
        (("10", "1", "--table=coil", "--function=16"), "--function 16 writes a holding, not a coil"),
        (("10", "7", "--table=coil"), "a coil is 0 or 1"),
        (("65535", "1", "2"), "outside 0..65535"),
        (("10", "1", "2", "--function=6"), "function 6 writes 1..1 values"),
    ],
)
def test_what_would_be_written_elsewhere_than_shown_is_refused(
    unit: NewUnit, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    unit.renew(5)
    assert write(site_of(tmp_path, unit, allow=True), "main", *words, "--yes") == 2
    assert says in capsys.readouterr().err
    assert unit.writes == []


TCP = """
[gateway]
name = {{ en = "well", zh = "井" }}
state_dir = "state"
[[port]]
id = "lan"
kind = "tcp"
host = "127.0.0.1"
port = {port}
[[device]]
id = "main"
port = "lan"
unit_id = 5
profile = "keller-30"
"""


def test_a_tcp_device_that_allows_no_writes_gets_none_by_any_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device, site = TcpDevice(), tmp_path / "site.toml"
    site.write_text(TCP.format(port=device.port), encoding="utf-8")
    try:
        for words in (["main"], ["lan", "--unit=5"], [f"127.0.0.1:{device.port}", "--unit=5"]):
            assert write(site, *words[:1], "10", "8", "--yes", *words[1:]) == 1
            assert "allow_write = true" in capsys.readouterr().err
        assert device.connections == 0
    finally:
        device.close()


def test_a_profile_is_not_tried_where_another_controller_owns_the_bus(
    unit: NewUnit, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    monkeypatch.setattr(unit, "_answer", lambda frame: heard.append(frame) or b"")
    site = site_of(tmp_path, unit, allow=False)
    site.write_text(site.read_text().replace("baud = 9600", "baud = 9600\nlisten_only = true"))
    for name in ("bus", unit.path):
        words = ["--lang=en", "profile", "test", "keller-30", f"--config={site}", f"--port={name}", "--unit=5"]
        assert cli.main(words) == 1
        assert "only listened to" in capsys.readouterr().err
    assert heard == []
