"""Plan and key under kills and power cuts: the old or the new one, never neither.

The site file is changed and reloaded again and again while the agent is killed, or its disk cut off, at random moments.
Each start polls, with the plan of one of the two site files and the key that the gateway always had.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.errors import ContractError
from contracts.keys import load_or_create
from edge_agent.control import ask
from edge_agent.errors import ControlError
from edge_agent.plan_file import load_plan
from edge_agent.state_dir import CONTROL, KEY, PLAN
from tests.mosquitto import free_port
from tests.reliability.loop_disk import LoopDisk
from tests.reliability.scale import seed, times
from tests.reliability.stand import Gateway
from tests.system.rig import until

_COLLECTOR = "qianshao-key ed25519 BYaZmEfbgqv+Qz0n66LAIA/0q5ixOu1MDuZpB2wgvrk="


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    made = LoopDisk(tmp_path)
    made.mount()
    yield made
    made.close()


def _gateway(folder: Path, state: Path) -> Gateway:
    # Nobody listens at its broker's port: it seals into its spool.
    return Gateway(folder / "gateway", broker=free_port(), collector_key=_COLLECTOR, state=state)


def _reload(gateway: Gateway, dice: random.Random) -> None:
    """Has another site file taken, and lets the agent get to some point of it."""
    name = dice.choice(["Test", "Other"])
    gateway.site.write_text(gateway.text.replace('en = "Test"', f'en = "{name}"'))
    try:
        ask(gateway.state / CONTROL, "reload", timeout_s=dice.choice([0.02, 0.3, 1.0]))
    except ControlError:
        # It takes longer than this waits.
        pass
    time.sleep(dice.uniform(0.0, 0.2))


def _has_what_it_had(gateway: Gateway) -> None:
    """The key is the one that it was; the plan is whole and is that of one of the two files."""
    assert load_or_create(gateway.state / KEY).public == gateway.signer.public
    assert load_plan(gateway.state / PLAN).en in ("Test", "Other")


@pytest.mark.ci
def test_reloads_under_kills_leave_a_plan_and_the_key(tmp_path: Path) -> None:
    chosen = seed()
    print(f"seed {chosen}")
    dice = random.Random(chosen)
    gateway = _gateway(tmp_path, tmp_path / "state")
    try:
        gateway.start()
        gateway.polls(60.0)
        for _ in range(times(8, 300)):
            until(gateway.status, "an answer of the agent")
            _reload(gateway, dice)
            gateway.kill()
            _has_what_it_had(gateway)
            gateway.start()
            gateway.polls(20.0)
        assert gateway.stop() == 0
        assert "Traceback" not in gateway.agent.log, gateway.agent.log[-4000:]
    finally:
        gateway.agent.kill()
        gateway.device.close()


@pytest.mark.ci
def test_reloads_under_power_cuts_leave_a_plan_and_the_key(tmp_path: Path, disk: LoopDisk) -> None:
    chosen = seed()
    print(f"seed {chosen}")
    dice = random.Random(chosen)
    gateway = _gateway(tmp_path, disk.path / "state")
    try:
        gateway.start()
        gateway.polls(60.0)
        for _ in range(times(6, 100)):
            until(gateway.status, "an answer of the agent")
            _reload(gateway, dice)
            disk.cut()
            gateway.kill()
            until(lambda: _is_unmounted(disk), "the disk's end", 10.0, 0.02)
            disk.mount()
            _has_what_it_had(gateway)
            gateway.start()
            gateway.polls(20.0)
    finally:
        gateway.agent.kill()
        gateway.device.close()


def _is_unmounted(disk: LoopDisk) -> bool:
    try:
        disk.unmount()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("keeps", [0, 1, 40])
def test_a_key_file_that_was_cut_off_is_refused_and_never_replaced(tmp_path: Path, keeps: int) -> None:
    """A gateway that made itself a new key would be another gateway."""
    path = tmp_path / KEY
    load_or_create(path)
    path.write_bytes(path.read_bytes()[:keeps])
    with pytest.raises(ContractError):
        load_or_create(path)
    assert len(path.read_bytes()) == keeps
