"""The running agent and its spool: what the control socket may hand it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge_agent.delivery import Delivery
from edge_agent.errors import ControlError, EdgeError
from edge_agent.keeper import StoreState
from edge_agent.spool_care import SpoolCare
from edge_agent.spool_thread import SpoolThread
from tests.edge_agent.damaged_spool import GATEWAY_ID


@pytest.fixture
async def care(tmp_path: Path) -> AsyncIterator[SpoolCare]:
    spool = SpoolThread(tmp_path / "spool.db")
    await spool.open()
    yield SpoolCare(
        tmp_path,
        spool=spool,
        delivery=Delivery(GATEWAY_ID),
        keeper=lambda: None,
        uptime_s=lambda: 0,
        has_polled=lambda: True,
        taken=lambda sentence: None,
    )
    await spool.close()


async def test_nothing_is_taken_while_the_store_does_not_answer(care: SpoolCare) -> None:
    with pytest.raises(EdgeError, match="does not answer now"):
        await care.take_recovered("spool.recovered-1.db")


@pytest.mark.parametrize("name", ["../spool.recovered-1.db", "spool.db", "spool.recovered-none.db", "/etc/passwd"])
async def test_only_a_file_of_recovered_batches_in_the_state_directory_is_taken(
    care: SpoolCare, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    class Normal:
        state = StoreState.NORMAL

    monkeypatch.setattr(care, "_keeper", Normal)
    with pytest.raises(EdgeError, match="no file of recovered batches"):
        await care.take_recovered(name)


async def test_the_request_must_name_a_file(care: SpoolCare) -> None:
    with pytest.raises(ControlError, match="'file' is needed"):
        await care.operations()["spool-take"]({})


def test_health_tells_of_the_check_and_of_files_put_aside(care: SpoolCare) -> None:
    assert care.facts() == {"spool_check": "not yet", "spool_damaged_files": 0}
