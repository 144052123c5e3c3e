"""``edge-agent profile`` as a technician meets it: a manual, a file, a test, a live unit on a real pseudo terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.quality import GOOD
from drivers.frames import FrameRequest, build_reply, read_request
from drivers.loader import load_profile, read_profile, shipped_profile_ids
from edge_agent.cli import main
from simulators.image import DeviceImage
from tests.drivers.pty_devices import Answer, PtyDevices
from tests.edge_agent.site_files import write_site
from tests.edge_agent.test_cli import agent

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QIANSHAO_PROFILES", str(tmp_path / "own"))
    monkeypatch.setenv("QIANSHAO_CONFIG", str(tmp_path / "site.toml"))


def head(request: FrameRequest) -> Answer:
    """A ten-register head at address 3 in pre-alarm; others are silent."""
    if request.unit_id != 3:
        return None
    image = DeviceImage(load_profile("gas-head-10reg"), unit_id=3)
    words = image.memory({"gas": 12.5, "own-alarm/pre-alarm": 1.0}).words["holding"]
    asked = tuple(words.get(place, 0) for place in range(request.address, request.address + request.count))
    return 0.0, build_reply(3, request.function, asked)


def test_every_shipped_profile_is_listed(capsys: Capture) -> None:
    assert main(["profile", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(shipped_profile_ids())
    assert main(["profile", "list", "--kind", "gas", "--json"]) == 0
    gas = json.loads(capsys.readouterr().out)
    assert {item["kind"] for item in gas} == {"gas"}
    assert {item["proved"] for item in gas} <= {"nothing", "frames", "unit"}


def test_a_broken_file_in_the_gateways_folder_hides_no_other(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "broken.toml").write_text('id = "broken"\n', encoding="utf-8")
    assert main(["profile", "list"]) == 2
    got = capsys.readouterr()
    assert len(got.out.splitlines()) == len(shipped_profile_ids()) + 1
    assert "broken.toml: points: is missing" in got.err


@pytest.mark.parametrize("id", shipped_profile_ids())
def test_every_profile_is_shown_in_both_languages_with_its_proof(id: str, capsys: Capture) -> None:
    profile = load_profile(id)
    for language, words in (("en", "compared it with a real unit"), ("zh", "尚未")):
        assert main(["--lang", language, "profile", "show", id]) == 0
        shown = capsys.readouterr().out
        assert getattr(profile.names, language) in shown
        assert all(note in shown for note in profile.notes)
        if profile.proved == "nothing":
            assert words in shown


def test_show_as_json_is_the_whole_profile(capsys: Capture) -> None:
    assert main(["profile", "show", "keller-30", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"]["p1"]["address"] == 2


def test_an_unknown_profile_is_named(capsys: Capture) -> None:
    assert main(["profile", "show", "ghost"]) == 2
    assert "there is no profile 'ghost'" in capsys.readouterr().err


def test_a_new_file_is_sound_and_every_simulator_plays_it(tmp_path: Path, capsys: Capture) -> None:
    assert main(["profile", "new", "my-head", "--kind", "gas"]) == 0
    path = tmp_path / "own" / "my-head.toml"
    assert str(path) in capsys.readouterr().out
    assert main(["profile", "test", str(path)]) == 0
    assert "3 examples hold" in capsys.readouterr().out
    memory = DeviceImage(read_profile(path)).memory({"raw": 25.3, "own-alarm/high": 1.0})
    assert memory.words["holding"] == {0: 2, 1: 253}
    assert main(["profile", "new", "my-head"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_new_file_needs_a_name_that_an_id_can_have(tmp_path: Path, capsys: Capture) -> None:
    assert main(["profile", "new", "My_Head", "--dir", str(tmp_path)]) == 2
    assert "pattern" in capsys.readouterr().err


def test_an_example_that_fails_fails_the_test(tmp_path: Path, capsys: Capture) -> None:
    assert main(["profile", "new", "my-head", "--dir", str(tmp_path)]) == 0
    path = tmp_path / "my-head.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('"25.3"', '"2.53"'), encoding="utf-8")
    assert main(["profile", "test", str(path)]) == 1
    assert "value is 253/10, expected 2.53" in capsys.readouterr().err


def test_a_live_unit_is_read_once(capsys: Capture) -> None:
    with PtyDevices(head) as line:
        assert main(["profile", "test", "gas-head-10reg", "--port", line.path, "--unit", "3"]) == 0
        shown = capsys.readouterr().out
        assert main(["--lang", "zh", "profile", "test", "gas-head-10reg", "--port", line.path, "--unit", "3"]) == 0
    rows = [row.split() for row in shown.splitlines()]
    assert next(row for row in rows if row[:1] == ["gas"])[:4] == ["gas", "12.500", "%{LEL}", "good"]
    assert next(row for row in rows if row[:1] == ["pre-alarm"])[1] == "1"
    assert "Compare every number with the instrument's display" in shown
    assert "请将每个数值与仪表显示值核对" in capsys.readouterr().out


def test_a_silent_unit_fails_the_test(tmp_path: Path, capsys: Capture) -> None:
    text = 'id = "quick"\nextends = "gas-head-10reg"\nnames = { en = "Quick", zh = "快" }\nmodel = "m"\n'
    text += 'confidence = "S2"\nsources = ["a test"]\n[limits]\nmax_gap = 4\nmax_reply_s = 0.05\n'
    path = tmp_path / "quick.toml"
    path.write_text(text, encoding="utf-8")
    with PtyDevices(head) as line:
        assert main(["profile", "test", str(path), "--port", line.path, "--unit", "4"]) == 1
    assert "the unit gave no answer" in capsys.readouterr().err


def test_port_and_unit_belong_together(capsys: Capture) -> None:
    assert main(["profile", "test", "keller-30", "--unit", "4"]) == 1
    assert "--port and --unit belong together" in capsys.readouterr().err


def test_a_line_of_the_running_agent_is_borrowed(tmp_path: Path, capsys: Capture) -> None:
    asked: list[Any] = []

    def read(request: Any) -> Any:
        asked.append(request)
        names = ("unit_id", "table", "address", "count")
        answer = head(read_request(**{name: request[name] for name in names}))
        assert answer is not None
        data = answer[1][3:-2]
        words = [int.from_bytes(data[place : place + 2], "big") for place in range(0, len(data), 2)]
        return {"words": words, "code": GOOD, "requested_us": 0, "replied_us": 5000, "detail": ""}

    lent = {"id": "bus-1", "kind": "serial", "device": "", "baud": 9600, "parity": "N", "stop_bits": 1, "devices": []}
    write_site(tmp_path)
    arguments = ["profile", "test", "gas-head-10reg", "--port", "bus-1", "--unit", "3"]
    with agent(tmp_path / "state", {"bus-ports": lambda _: {"ports": [lent]}, "bus-read": read}):
        assert main([*arguments, "--config", str(tmp_path / "site.toml")]) == 0
    got = capsys.readouterr()
    assert "the running agent holds this line" in got.err
    assert "12.500" in got.out
    assert {request["port"] for request in asked} == {"bus-1"}
