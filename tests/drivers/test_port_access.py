from __future__ import annotations

import fcntl
import grp
import os
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.port_access import Holder, Holders, group_of, holders_of, why_refused


def program(proc: Path, pid: int, name: str, opened: Path | None, command: str = "") -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cmdline").write_text(command.replace(" ", "\0"))
    if opened is not None:
        (folder / "fd" / "3").symlink_to(opened)


@pytest.fixture
def port(tmp_path: Path) -> Path:
    (tmp_path / "dev").mkdir()
    port = tmp_path / "dev/ttyUSB0"
    port.touch()
    return port


def test_who_has_it_open(tmp_path: Path, port: Path) -> None:
    proc = tmp_path / "proc"
    program(proc, 42, "minicom", port)
    program(proc, 7, "python3.11", port, "python3.11 -u /opt/logger.py --port x")
    program(proc, 8, "bash", tmp_path / "dev/ttyUSB1")
    program(proc, 9, "sshd", None)
    (proc / "sys").mkdir()
    link = tmp_path / "by-id"
    link.symlink_to(port)
    found = holders_of(link, proc=proc)
    assert found.found == (Holder(pid=7, name="python3.11 logger.py"), Holder(pid=42, name="minicom"))
    assert str(found) == "python3.11 logger.py (pid 7) and minicom (pid 42)"


def test_a_lock_is_seen_where_open_files_are_not(tmp_path: Path, port: Path) -> None:
    proc = tmp_path / "proc"
    program(proc, 42, "minicom", None)
    status = os.stat(port)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    (proc / "locks").write_text(
        f"1: POSIX  ADVISORY  WRITE 9 00:17:99 0 EOF\n2: FLOCK  ADVISORY  WRITE 42 {place} 0 EOF\n"
        f"2: -> FLOCK  ADVISORY  WRITE 43 {place} 0 EOF\n"
    )
    assert holders_of(port, proc=proc).found == (Holder(pid=42, name="minicom"),)


def test_nobody_and_no_such_place(tmp_path: Path, port: Path) -> None:
    assert holders_of(port, proc=tmp_path / "none") == Holders(found=(), is_blind=False)
    assert holders_of(tmp_path / "gone", proc=tmp_path / "none").found == ()


def test_what_may_not_be_seen_is_said(tmp_path: Path, port: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc = tmp_path / "proc"
    program(proc, 42, "minicom", port)
    look = os.listdir

    def refuse(folder: Path) -> list[str]:
        if folder == proc / "42/fd":
            raise PermissionError
        return look(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    assert holders_of(port, proc=proc) == Holders(found=(), is_blind=True)
    assert "may not see" in str(Holders(found=(), is_blind=True))
    assert str(Holders(found=(), is_blind=False)) == "another program"


def test_a_real_lock_of_a_real_program(port: Path) -> None:
    script = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('locked', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            with port.open() as ours, pytest.raises(BlockingIOError):
                fcntl.flock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert [holder.pid for holder in holders_of(port).found] == [child.pid]
        finally:
            child.communicate(b"\n")


def test_the_group_whose_members_may(port: Path) -> None:
    port.chmod(0o660)
    assert group_of(port) == grp.getgrgid(port.stat().st_gid).gr_name
    port.chmod(0o640)
    assert group_of(port) is None
    port.chmod(0o600)
    assert group_of(port) is None
    assert group_of("/nowhere/at/all") is None


@pytest.mark.parametrize(
    ("group", "cure"),
    [
        ("dialout", "sudo usermod -aG dialout $USER"),
        ("uucp", "sudo usermod -aG uucp $USER"),
        ("root", "udev rule"),
        (None, "udev rule"),
    ],
)
def test_a_refusal_names_the_cure(group: str | None, cure: str) -> None:
    assert cure in why_refused("/dev/ttyUSB0", group)


def test_a_name_that_was_cut_inside_a_character_is_still_a_name(tmp_path: Path) -> None:
    # The kernel keeps fifteen bytes of a name; of "气体采集程序" that is no whole character at the end.
    device = tmp_path / "ttyUSB0"
    device.touch()
    folder = tmp_path / "proc" / "77"
    (folder / "fd").mkdir(parents=True)
    (folder / "fd" / "3").symlink_to(device)
    (folder / "comm").write_bytes("气体采集程序".encode()[:14])
    [holder] = holders_of(device, proc=tmp_path / "proc").found
    assert holder.name.startswith("气体采集")
