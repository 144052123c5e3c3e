"""The journal of what persons did: a line in the file, and a note where an agent runs."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edge_agent.control import ControlServer, Request
from edge_agent.errors import ControlError, StateDirError
from edge_agent.journal import FILE, MAX_TEXT, keep_journal, seal_journal, write_journal
from edge_agent.state_dir import CONTROL


def noon() -> datetime:
    return datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_a_line_is_kept_where_no_agent_runs(tmp_path: Path) -> None:
    write_journal(tmp_path, "written", "陈 set 26 to 3", noon)
    write_journal(tmp_path, "numbered", "x" * 2000, noon)
    first, second = map(json.loads, (tmp_path / FILE).read_text(encoding="utf-8").splitlines())
    assert first == {"at": "2026-06-01T12:00:00Z", "kind": "written", "text": "陈 set 26 to 3"}
    assert len(second["text"]) == MAX_TEXT


async def test_the_running_agent_gets_it(tmp_path: Path) -> None:
    got: list[Request] = []

    async def take(request: Request) -> Any:
        if request["kind"] == "replaced":
            raise ControlError("no")
        got.append(request)
        return {}

    server = ControlServer(tmp_path / CONTROL, {"journal": take})
    await server.start()
    try:
        assert await asyncio.to_thread(seal_journal, tmp_path, "written", "a text")
        with pytest.raises(ControlError, match="no"):
            await asyncio.to_thread(seal_journal, tmp_path, "replaced", "a text")
    finally:
        await server.close()
    assert [(request["kind"], request["text"]) for request in got] == [("written", "a text")]
    assert not seal_journal(tmp_path / "elsewhere", "written", "a text")


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDirError, match="file"):
        write_journal(tmp_path / "file", "written", "x")


def test_a_torn_line_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"at": "2026-06')
    write_journal(tmp_path, "written", "a text", noon)
    assert json.loads((tmp_path / FILE).read_text().splitlines()[1])["text"] == "a text"


async def test_who_may_not_write_the_file_has_the_agent_keep_it(tmp_path: Path) -> None:
    got: list[Request] = []

    async def take(request: Request) -> Any:
        got.append(request)
        return {}

    (tmp_path / FILE).mkdir()  # root, as which tests may run, may write any file
    server = ControlServer(tmp_path / CONTROL, {"journal": take})
    await server.start()
    try:
        keep = partial(asyncio.to_thread, keep_journal, tmp_path, "written", "a text")
        await keep(through_agent=True)
        with pytest.raises(StateDirError):
            await keep(through_agent=False)
    finally:
        await server.close()
    assert [request["text"] for request in got] == ["a text"]
    with pytest.raises(StateDirError):
        keep_journal(tmp_path, "written", "a text", through_agent=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_is_the_agents(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    write_journal(tmp_path, "written", "x")
    found = (tmp_path / FILE).stat()
    assert (found.st_uid, found.st_gid) == (12345, 12346)
