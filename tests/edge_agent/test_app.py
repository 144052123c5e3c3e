"""The agent as a whole, where no part alone can promise it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.keys import Signer
from edge_agent.app import Agent
from edge_agent.compile import compile_site
from edge_agent.seal import Boot
from tests.edge_agent.site_files import GATEWAY, MAIN, PORTS, write_site


async def test_a_failed_step_of_sealing_is_reported_and_the_next_one_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = write_site(tmp_path, GATEWAY + PORTS + MAIN)
    plan = compile_site(site).plan
    agent = Agent(
        config_path=site,
        state_dir=tmp_path,
        plan=replace(plan, uplink=replace(plan.uplink, seal_interval_s=0.001)),
        signer=Signer.from_seed(b"\x01" * 32),
        boot=Boot(boot_id=bytes(16), counter=1),
    )
    steps = 0
    went_on = asyncio.Event()

    def seal() -> None:
        nonlocal steps
        steps += 1
        if steps == 1:
            raise TypeError("a defect")
        went_on.set()

    monkeypatch.setattr(agent, "_seal_data", seal)
    sealing = asyncio.create_task(agent._seal_forever())
    try:
        await asyncio.wait_for(went_on.wait(), 5)
    finally:
        sealing.cancel()
    assert "a step of sealing failed" in caplog.text
    assert "a defect" in caplog.text
