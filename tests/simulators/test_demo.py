"""The demo's pure parts: settings, site file, directory, children, the final count."""

from __future__ import annotations

import os
import socket
import sys
import time
import tomllib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import AlarmEvent, Batch, Genesis, Head, Header, Lane, Origin, encode_batch
from contracts.catalogue import Catalogue, CatalogueBlock, CatalogueDevice, CataloguePoint
from contracts.columns import encode_block
from contracts.envelope import Type, seal
from contracts.errors import SignatureError, UnknownKeyError
from contracts.keys import Signer
from contracts.quality import NO_REPLY
from simulators import cli
from simulators.children import Child
from simulators.demo import PLAYLIST, read_settings, shown_program
from simulators.demo_site import DemoDir, check_port, fill_template, free_ports
from simulators.demo_tally import Tally, compare, grid_length, read_sealed
from simulators.demo_words import one_liner, summary, what_to_try
from simulators.errors import DemoError
from simulators.scenario import load_scenario, scenarios_dir

SITES = Path(__file__).parents[2] / "config" / "sites"


# ---- settings ----------------------------------------------------------------------------------


def test_settings_when_nothing_is_said() -> None:
    settings = read_settings({})
    assert (settings.port, settings.seconds, settings.folder, settings.broker) == (8080, None, Path(".demo"), "amqtt")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEMO_PORT", "0"),
        ("DEMO_PORT", "http"),
        ("DEMO_PORT", "70000"),
        ("DEMO_SECONDS", "-1"),
        ("DEMO_SECONDS", "soon"),
        ("DEMO_SECONDS", "nan"),
        ("BROKER", "rabbit"),
        ("DEMO_DIR", "x" * 120),
    ],
)
def test_a_wrong_setting_is_named_with_status_2(name: str, value: str) -> None:
    with pytest.raises(DemoError) as found:
        read_settings({name: value})
    assert str(found.value).startswith(f"{name}={value}:")
    assert found.value.status == 2


def test_every_wrong_setting_is_told_at_once() -> None:
    with pytest.raises(DemoError) as found:
        read_settings({"DEMO_PORT": "x", "DEMO_SECONDS": "y", "BROKER": "z"})
    assert len(str(found.value).splitlines()) == 3


def test_a_busy_port_is_a_sentence_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("DEMO_PORT", str(port))
        monkeypatch.setenv("DEMO_DIR", str(tmp_path / "d"))
        assert cli.main(["demo"]) == 2
    assert f"port {port} is used by another program" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()
    check_port(port)


def test_free_ports_differ() -> None:
    assert len(set(free_ports(5))) == 5


# ---- site file ---------------------------------------------------------------------------------


def test_the_shipped_site_is_filled() -> None:
    values: dict[str, int | str] = {"link_port": 5, "collector_key": 'a "b".pub', "tcp_port_1": 6, "tcp_port_2": 7}
    site = tomllib.loads(fill_template((SITES / "demo.toml").read_text(encoding="utf-8"), values))
    assert (site["uplink"]["port"], site["uplink"]["collector_key"]) == (5, 'a "b".pub')
    assert [port["port"] for port in site["port"] if port["kind"] == "tcp"] == [6, 7]


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("a = 1  # demo: x\n", {}, "asks for 'x'"),
        ("a = 1\n", {"x": 2}, "no line for x"),
    ],
)
def test_a_template_and_values_that_do_not_fit(text: str, values: dict[str, int | str], message: str) -> None:
    with pytest.raises(DemoError, match=message):
        fill_template(text, values)


def test_lines_without_a_mark_stay() -> None:
    assert fill_template("a = 1 # x\nb = 2  # demo: b\n", {"b": 3}) == "a = 1 # x\nb = 3  # demo: b\n"


def test_the_playlist_is_made_of_shipped_scenarios() -> None:
    for name in PLAYLIST.split(","):
        load_scenario(name, scenarios_dir())


# ---- directory ---------------------------------------------------------------------------------


def test_a_demo_directory_is_made_anew_and_held(tmp_path: Path) -> None:
    folder = DemoDir(tmp_path / "d")
    folder.acquire()
    (tmp_path / "d" / "old").mkdir()
    (tmp_path / "d" / "link").symlink_to(tmp_path)
    with pytest.raises(DemoError, match="another demo runs"):
        DemoDir(tmp_path / "d").acquire()
    folder.release()
    folder.release()
    again = DemoDir(tmp_path / "d")
    again.acquire()
    assert sorted(entry.name for entry in (tmp_path / "d").iterdir()) == ["demo.lock"]
    assert tmp_path.is_dir()
    again.release()


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DemoError, match="not made by a demo") as found:
        DemoDir(tmp_path).acquire()
    assert found.value.status == 2
    assert (tmp_path / "thesis.txt").read_text() == "mine"


# ---- children ----------------------------------------------------------------------------------


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_child_that_dies_shows_the_end_of_its_log(tmp_path: Path) -> None:
    code = "import sys; [print('line', n) for n in range(40)]; sys.exit(3)"
    child = Child("agent", [sys.executable, "-c", code], tmp_path / "log", os.environ)
    wait_until(lambda: not child.is_running)
    with pytest.raises(DemoError) as found:
        child.check()
    assert "agent ended by itself (status 3)" in str(found.value)
    assert "line 39" in str(found.value)
    assert "line 20" not in str(found.value)
    child.stop()


def test_a_child_that_will_not_end_is_ended_with_its_own_children(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(p.pid, flush=True); "
        "time.sleep(60)"
    )
    child = Child("stubborn", [sys.executable, "-c", code], tmp_path / "log", os.environ)
    wait_until(lambda: (tmp_path / "log").read_text().strip() != "")
    grandchild = int((tmp_path / "log").read_text())
    child.check()
    child.stop(timeout_s=0.2)
    child.stop()
    assert not child.is_running
    wait_until(lambda: is_gone(grandchild))


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has collected yet has ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_program_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="cannot start broker: No such file"):
        Child("broker", [str(tmp_path / "none")], tmp_path / "log", os.environ)


# ---- the count ---------------------------------------------------------------------------------

SIGNER = Signer.generate()
BOOT = bytes(16)


def catalogue() -> Catalogue:
    point = CataloguePoint(
        key="d/gas",
        quantity="gas",
        unit="%{LEL}",
        kind="int",
        resolution=Fraction(1),
        low=None,
        high=None,
        longest_silence_ms=1000,
        device=0,
        en="g",
        zh="气",
    )
    device = CatalogueDevice(id="d", en="d", zh="d", port="p", unit_id=1, profile="x", profile_hash=bytes(32))
    return Catalogue(
        gateway=SIGNER.public.gateway_id,
        en="a",
        zh="甲",
        devices=(device,),
        points=(point,),
        blocks=(CatalogueBlock(points=(0,), interval_ms=1000, phase_ms=250),),
    )


CATALOGUE = catalogue()
CATALOGUES = {CATALOGUE.hash: seal(Type.CATALOGUE, CATALOGUE.body, SIGNER)[0]}


def make_header(lane: Lane, seq: int, sealed_us: int, *, readings: int) -> Header:
    return Header(
        gateway=SIGNER.public.gateway_id,
        epoch=bytes(8),
        lane=lane,
        seq=seq,
        previous=b"" if seq == 1 else bytes(32),
        other=Head(seq=0, digest=b""),
        boot_id=BOOT,
        boot_counter=1,
        sealed_us=sealed_us,
        anchors=(),
        catalogue=CATALOGUE.hash if readings else b"",
        origin=Origin.LIVE,
        readings=readings,
        genesis=Genesis(version="0", reason="first", parent=None) if seq == 1 else None,
    )


def data_batch(seq: int, ticks: list[int], codes: list[int | None] | None = None) -> tuple[Lane, bytes]:
    """One data batch; ticks are numbers of the grid, each sampled 20 ms late."""
    times = [(tick * 1000 + 270) * 1000 for tick in ticks]
    given = codes or [None] * len(ticks)
    rows = [(5,) if code is None else (None,) for code in given]
    block = encode_block(0, ["int"], times[-1], times, rows, [None if code is None else (code,) for code in given])
    header = make_header(Lane.DATA, seq, times[-1], readings=len(ticks))
    return Lane.DATA, seal(Type.DATA_BATCH, encode_batch(Batch(header=header, blocks=(block,))), SIGNER)[0]


def count(gateway: list[tuple[Lane, bytes]], collector: list[tuple[Lane, bytes]]) -> Tally:
    return compare(read_sealed(gateway, CATALOGUES, SIGNER.public), read_sealed(collector, CATALOGUES, SIGNER.public))


def test_everything_arrived() -> None:
    batches = [data_batch(1, [10, 11, 12]), data_batch(2, [13, 14])]
    assert count(batches, batches) == Tally(
        expected=5, stored=5, missing={}, alarms_raised=0, alarms_stored=0, duplicates=0
    )


def test_causes_are_told_apart() -> None:
    batches = [data_batch(1, [10, 11, 14], [None, NO_REPLY, None]), data_batch(2, [15, 16])]
    found = count(batches, batches[:1])
    assert (found.expected, found.stored) == (7, 2)
    assert found.missing == {"no_reply": 1, "not_delivered": 2, "unaccounted": 2}
    assert found.stored + sum(found.missing.values()) == found.expected


def test_a_batch_that_is_there_twice_is_a_duplicate() -> None:
    first = data_batch(1, [10, 11])
    assert count([first], [first, first]).duplicates == 2


def test_bytes_that_were_changed_or_signed_by_another_are_refused() -> None:
    lane, envelope = data_batch(1, [10])
    with pytest.raises(SignatureError):
        read_sealed([(lane, envelope[:-1] + bytes((envelope[-1] ^ 1,)))], CATALOGUES, SIGNER.public)
    with pytest.raises(UnknownKeyError):
        read_sealed([(lane, envelope)], CATALOGUES, Signer.generate().public)


@given(
    start=st.integers(min_value=0, max_value=10**9),
    ticks=st.integers(min_value=1, max_value=50),
    interval=st.integers(min_value=100, max_value=10_000),
    data=st.data(),
)
def test_a_grid_counts_its_own_ticks(start: int, ticks: int, interval: int, data: st.DataObject) -> None:
    phase = data.draw(st.integers(min_value=0, max_value=interval - 1))
    late = data.draw(st.lists(st.integers(min_value=0, max_value=interval - 1), min_size=ticks, max_size=ticks))
    times = [((start + tick) * interval + phase + late[tick]) * 1000 for tick in range(ticks)]
    assert grid_length(times, interval, phase) == ticks


@pytest.mark.parametrize(
    ("times_ms", "ticks"),
    [
        ([], 0),
        ([270], 1),
        ([270, 1270, 2270], 3),
        # the first was asked at 950 and took until after the next tick
        ([1255, 1280, 2270], 3),
        ([270, 2255, 2280, 3270], 4),
        # a tick that nothing came of
        ([270, 2270], 3),
    ],
)
def test_a_late_sample_belongs_to_the_tick_before(times_ms: list[int], ticks: int) -> None:
    assert grid_length([time * 1000 for time in times_ms], 1000, 250) == ticks


# ---- words -------------------------------------------------------------------------------------


def test_the_summary_has_a_line_for_each() -> None:
    tally = Tally(expected=10, stored=8, missing={"no_reply": 2}, alarms_raised=1, alarms_stored=1, duplicates=0)
    lines = summary(tally, is_verified=True).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "readings 读数",
        "alarms 报警",
        "duplicates 重复",
        "verification 验证",
    ]
    assert "expected 应有 10, stored 已存 8, missing by cause 缺失: no_reply 2" in lines[0]
    assert "FAILED" in summary(tally, is_verified=False)


def test_what_to_try_names_the_commands_and_the_address() -> None:
    text = what_to_try(
        url="http://127.0.0.1:8080",
        simulator=".venv/bin/simulator",
        collector=".venv/bin/collector",
        edge_agent=".venv/bin/edge-agent",
        python=".venv/bin/python",
        folder=".demo",
    )
    for wanted in ("http://127.0.0.1:8080", "link cut", "link restore", "verify", "make test", "gas-well-1/gas 65"):
        assert wanted in text


def test_the_one_liner_is_python_that_compiles() -> None:
    line = one_liner("python", "x.sqlite3", "d.execute('SELECT 1')")
    compile(line.removeprefix('python -c "').removesuffix('"'), "one-liner", "exec")


def test_how_a_program_is_called_from_here(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "collector").touch()
    python = str(tmp_path / "bin" / "python")
    assert shown_program("collector", python, tmp_path) == "bin/collector"
    assert shown_program("collector", python, tmp_path / "bin" / "x") == str(tmp_path / "bin" / "collector")
    assert shown_program("edge-agent", python, tmp_path) == f"{python} -m edge_agent.cli"


def event(id: bytes, raised_by: bytes, state: str) -> AlarmEvent:
    return AlarmEvent(
        id=id,
        raised_by=raised_by,
        boot_id=BOOT,
        point="d/gas",
        quantity="gas",
        unit="%{LEL}",
        en="g",
        zh="气",
        rule_id="r",
        rule_hash=bytes(16),
        rule_en="r",
        rule_zh="r",
        severity="red",
        scheme="s",
        state=state,
        cause="limit",
        limit=20.0,
        value=30.0,
        code=0,
        sampled_us=1,
        judged_us=2,
    )


def test_only_events_that_raise_count_as_alarms() -> None:
    first, second = bytes(16), bytes([1]) * 16
    header = make_header(Lane.ALARM, 2, 9, readings=0)
    body = encode_batch(Batch(header=header, events=(event(first, first, "active"), event(second, first, "cleared"))))
    batch = Lane.ALARM, seal(Type.ALARM_BATCH, body, SIGNER)[0]
    found = count([batch], [])
    assert (found.alarms_raised, found.alarms_stored) == (1, 0)
