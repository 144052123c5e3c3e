"""The commands: exit status, sentences, JSON."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

import pytest

from collector.cli import main
from collector.data_dir import Lock
from collector.database import FILE_NAME, open_reader, read_meta
from collector.keys import LOOK_AGAIN_S, Registry, add_gateway, load_signer
from collector.settings import load_settings
from contracts.keys import parse_key_line
from tests.collector.conftest import Bench
from tests.collector.gateways import Gateway

S = 1_000_000


def run(*words: str | Path) -> int:
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0)


def test_init_makes_a_private_key_and_a_public_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    assert run("init", "--data", data) == 0
    line = capsys.readouterr().out
    assert parse_key_line(line, "out") == parse_key_line((data / "collector.pub").read_text(), "file")
    assert stat.S_IMODE((data / "collector.key").stat().st_mode) == 0o600
    assert run("init", "--data", data) == 0
    assert capsys.readouterr().out == line


def test_add_gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, g = tmp_path / "data", Gateway()
    run("init", "--data", data)
    key = tmp_path / "key"
    key.write_text(g.signer.public.line("edge") + "\n")
    assert run("add-gateway", key, "--data", data, "--name", 'Well "1"', "--name-zh", "一号井") == 0
    assert g.id in capsys.readouterr().out
    registry = Registry(data)
    assert registry.keys(g.id) is not None
    found = registry.registration(g.id)
    assert found is not None
    assert (found.en, found.zh) == ('Well "1"', "一号井")
    assert run("gateways", "--json", "--data", data) == 0
    assert json.loads(capsys.readouterr().out)[0]["liveness"] == "never"


@pytest.mark.parametrize("text", ["", "nonsense", "qianshao-key ed25519 !!!", "qianshao-key rsa AAAA"])
def test_a_bad_key_file_is_bad_input(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("init", "--data", tmp_path)
    key = tmp_path / "key"
    key.write_text(text)
    assert run("add-gateway", key, "--data", tmp_path) == 2
    assert str(key) in capsys.readouterr().err


@pytest.mark.parametrize("command", [["verify"], ["gateways"], ["rebuild"], ["backup", "x"], ["add-gateway", "x"]])
def test_without_a_data_directory(tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--data", tmp_path / "none") == 2
    assert "collector init" in capsys.readouterr().err


def test_unknown_commands_and_arguments_are_bad_input() -> None:
    assert run("fly") == 2
    assert run("verify", "--wrong") == 2


def test_verify_says_what_is_false(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(10 * S), g.data(12 * S))
    assert run("verify", "--data", bench.data) == 0
    assert "all true" in capsys.readouterr().out
    bench.change("UPDATE latest SET value=1 WHERE key='well-0/ch4'")
    bench.change("UPDATE evidence SET envelope=zeroblob(9) WHERE id=1")
    assert run("verify", "--data", bench.data) == 1
    out = capsys.readouterr().out
    assert "well-0/ch4: value: the table says 0.1 %{LEL}, the signed bytes say 5.1 %{LEL}" in out
    assert "FALSE evidence" in out
    assert "batch 1" in out
    assert "2026-11-01T00:00:09.000Z to 2026-11-01T00:00:10.000Z" in out
    assert run("verify", "--json", "--data", bench.data) == 1
    assert json.loads(capsys.readouterr().out)["is_true"] is False
    assert run("rebuild", "--data", bench.data) == 1


def test_rebuild_needs_the_collector_stopped(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.send(bench.gateway.data(10 * S))
    with Lock(bench.data):
        assert run("rebuild", "--data", bench.data) == 1
    assert "stop it first" in capsys.readouterr().err
    assert run("rebuild", "--data", bench.data) == 0


def test_listings(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(10 * S), g.ask_message(11 * S, (g.event("active", 10 * S),)))
    for command in ("gateways", "alarms", "readings"):
        assert run(command, "--data", bench.data) == 0
        assert g.id in capsys.readouterr().out
        assert run(command, "--json", "--data", bench.data) == 0
        assert len(json.loads(capsys.readouterr().out)) >= 1


def test_backup_and_restore_begin_a_new_collector_epoch(bench: Bench, tmp_path: Path) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(10 * S))
    file, data = tmp_path / "backup", tmp_path / "restored"
    assert run("backup", file, "--data", bench.data) == 0
    assert run("backup", file, "--data", bench.data) == 2
    assert run("init", "--restore", file, "--data", data) == 0
    assert run("init", "--restore", file, "--data", data) == 2
    old, new = open_reader(bench.data / FILE_NAME), open_reader(data / FILE_NAME)
    assert new.execute("SELECT count(*) FROM evidence").fetchone() == (1,)
    assert read_meta(old, "collector_epoch") != read_meta(new, "collector_epoch")
    assert read_meta(new, "collector_since_us") > read_meta(old, "collector_since_us")
    (tmp_path / "text").write_text("no database")
    assert run("init", "--restore", tmp_path / "text", "--data", tmp_path / "third") == 2


def test_a_used_port_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "settings.toml").write_text(f"[http]\nport = {port}\n")
        assert run("serve", "--data", tmp_path) == 1
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[http]\nport = 0", ["http.port"]),
        ("[http]\nport = '8080'\nhots = 1", ["http.port", "http.hots"]),
        ("[http]\nhost = '0.0.0.0'", ["http.host"]),
        ("[broker]\nkind = 'kafka'", ["broker.kind"]),
        ("[retention]\ndays = -1", ["retention.days"]),
        ("[x]", ["x: there is no such key; there are http, broker, retention"]),
        ("[http]\nprt = 1", ["http.prt: there is no such key; there are host, port, names"]),
        ("[http\n", ["line 1"]),
    ],
)
def test_wrong_settings_are_all_named(
    tmp_path: Path, text: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    assert run("serve", path, "--data", tmp_path / "data") == 2
    shown = capsys.readouterr().err
    for word in words:
        assert word in shown


def test_settings_have_defaults(tmp_path: Path) -> None:
    settings = load_settings(tmp_path / "none")
    assert (settings.http.port, settings.broker.kind, settings.retention.days) == (8080, "embedded", 0)


def test_the_registry_looks_again_when_somebody_is_unknown(tmp_path: Path) -> None:
    load_signer(tmp_path, create=True)
    now = [0.0]
    registry = Registry(tmp_path, now=lambda: now[0])
    registry.load()
    g = Gateway()
    assert registry.keys(g.id) is None
    add_gateway(tmp_path, g.signer.public.line(), "test")
    assert registry.keys(g.id) is None
    now[0] += LOOK_AGAIN_S
    assert registry.keys(g.id) is not None


def test_a_registration_under_another_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("init", "--data", tmp_path)
    g = Gateway()
    add_gateway(tmp_path, g.signer.public.line(), "test")
    (tmp_path / "gateways" / f"{g.id}.toml").rename(tmp_path / "gateways" / "g-aaaaaaaaaaaa.toml")
    assert run("gateways", "--data", tmp_path) == 2
    assert g.id in capsys.readouterr().err


def test_a_registration_that_cannot_be_written_names_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("init", "--data", tmp_path)
    key = tmp_path / "key"
    key.write_text(Gateway().signer.public.line())
    (tmp_path / "gateways").rmdir()
    (tmp_path / "gateways").write_text("in the way")
    assert run("add-gateway", key, "--data", tmp_path) == 1
    assert f"{tmp_path}/gateways/g-" in capsys.readouterr().err


def test_a_wrong_registration_is_said_once_and_keeps_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_signer(tmp_path, create=True)
    g, now = Gateway(), [0.0]
    add_gateway(tmp_path, g.signer.public.line(), "test")
    registry = Registry(tmp_path, now=lambda: now[0])
    registry.load()
    wrong = tmp_path / "gateways" / "g-aaaaaaaaaaaa.toml"
    wrong.write_text('key = "x"')
    for _ in range(3):
        now[0] += LOOK_AGAIN_S
        assert registry.keys("g-bbbbbbbbbbbb") is None
    assert [str(wrong) in record.getMessage() for record in caplog.records] == [True]
    assert registry.keys(g.id) is not None


def test_a_text_in_a_fact_is_named_and_no_traceback(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(10 * S))
    bench.change("UPDATE boot SET rank='x'")
    assert run("verify", "--data", bench.data) == 1
    assert "boot, no 1: rank: the table says 'x'" in capsys.readouterr().out


def test_completeness_says_what_became_of_every_reading(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    g = bench.gateway
    bench.send(g.catalogue_message(), g.data(109 * S, ticks=10), g.data(129 * S, ticks=10), at_us=130 * S)
    words = ("--data", bench.data, "--from", "2026-11-01", "--to", "2026-11-01T00:02:10+00:00")
    assert run("completeness", *words, "--gateway", g.id, "--point", "well-0/ch4", "--lang", "en") == 0
    assert capsys.readouterr().out == (
        f"2026-11-01T00Z  {g.id}  well-0/ch4  expected 30: good 20, never sent 10 (in no batch; gateway)\n"
    )
    assert run("completeness", *words, "--day", "--lang", "zh") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0] == f"2026-11-01  {g.id}  well-0/ch4  应有 30: 良好 20, 从未发送 10（未写入任何批次；网关）"
    assert run("completeness", *words, "--json", "--point", "well-1/ch4") == 0
    (view,) = json.loads(capsys.readouterr().out)
    assert (view["expected"], view["counts"]) == (
        30,
        [["good", "", "", 20], ["never_sent", "not_sealed", "gateway", 10]],
    )
    assert run("completeness", "--data", bench.data, "--point", "none/such", "--lang", "en") == 0
    assert "nothing was expected" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [("--from", "yesterday"), ("--from", "2026-06-02", "--to", "2026-06-01"), ("--hour", "--day")]
)
def test_completeness_refuses_times_that_are_none(bench: Bench, words: tuple[str, ...]) -> None:
    assert run("completeness", "--data", bench.data, *words) == 2
