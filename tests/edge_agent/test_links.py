"""Every kind of port from the site file to rows: compiled, opened, polled from simulated devices, reloaded."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from contracts import quality
from contracts.batch import HealthRecord
from drivers import dial_in_listener
from drivers.dial_in import Packet
from drivers.port import ReadRequest
from edge_agent.bus.poller import Codes, Row
from edge_agent.compile import compile_site
from edge_agent.errors import ConfigError
from edge_agent.plan import Plan
from edge_agent.plan_diff import difference, keep_phases, unchanged_ports
from edge_agent.plan_ports import PortPlan
from edge_agent.ports import PortMaker
from edge_agent.ports_running import RunningPorts
from edge_agent.read_once import read_once
from simulators.app import Simulator
from simulators.dtu_client import DtuClient
from simulators.plant import read_plant
from tests.drivers.test_dial_in_listener import free_address
from tests.edge_agent.site_files import GATEWAY, write_site

TCP = '[[port]]\nid = "tcp"\nkind = "tcp"\nhost = "127.0.0.1"\nport = {tcp}\nin_flight = 2\ngateway_timeout_s = 0.5\n'
FAR = '[[port]]\nid = "far"\nkind = "rtu-tcp"\nhost = "127.0.0.1"\nport = {far}\nbaud = 115200\ngap_ms = 2\n'
DTU = (
    '[[port]]\nid = "dtu-{n}"\nkind = "dtu"\nlisten = "127.0.0.1:{dtu}"\nbaud = 115200\nnetwork_delay_s = 0.2\n'
    'heartbeat = {{ hex = "FE FE" }}\nregistration_timeout_s = 2.0\nregistration = {registration}\n'
)
DEVICE = '[[device]]\nid = "{id}"\nport = "{id}"\nunit_id = 1\nprofile = "qd-transmitter"\ninterval_s = 0.2\n'
REGISTRATION = "{ pattern = 'WELL-1 CSQ:\\d+', example = 'WELL-1 CSQ:21' }"
NUMBERS = {"tcp": 15021, "far": 15022, "dtu": 15023}


def text_of(numbers: dict[str, int], second: str = '{ text = "WELL-2" }') -> str:
    ports = TCP.format(**numbers) + FAR.format(**numbers)
    for n, registration in ((1, REGISTRATION), (2, second)):
        ports += DTU.format(n=n, registration=registration, **numbers)
    return GATEWAY + ports + "".join(DEVICE.format(id=id) for id in ("tcp", "far", "dtu-1", "dtu-2"))


def port_of(plan: Plan, id: str) -> PortPlan:
    return next(port for port in plan.ports if port.id == id)


def test_what_the_site_file_says_of_ports_is_in_the_plan(tmp_path: Path) -> None:
    plan = compile_site(write_site(tmp_path, text_of(NUMBERS))).plan
    plan = Plan.from_bytes(plan.to_bytes())
    tcp, far, dtu = port_of(plan, "tcp"), port_of(plan, "far"), port_of(plan, "dtu-1")
    assert (tcp.in_flight, tcp.gateway_timeout_s, tcp.is_line) == (2, 0.5, False)
    assert (far.host, far.port, far.baud, far.gap_ms, far.network_delay_s) == ("127.0.0.1", 15022, 115200, 2, 0.3)
    assert (dtu.host, dtu.port, dtu.network_delay_s, dtu.registration_timeout_s) == ("127.0.0.1", 15023, 0.2, 2.0)
    assert dtu.registration == Packet(kind="pattern", value=r"WELL-1 CSQ:\d+")
    assert dtu.heartbeat == Packet(kind="hex", value="FE FE")
    assert all(port.is_line for port in (far, dtu))


# (what is replaced, by what, the key that the problem must name, a word that it must have)
MISTAKES = [
    ('kind = "rtu-tcp"', 'kind = "rtu"', "port[far].kind", "'tcp', 'rtu-tcp', 'dtu' or 'serial'"),
    ("gap_ms = 2", "speed = 2", "port[far].speed", "known are id, kind, host, port, baud"),
    ("port = 15022\n", "", "port[far].port", "is missing"),
    ("in_flight = 2", "in_flight = 0", "port[tcp].in_flight", "1"),
    ('listen = "127.0.0.1:15023"', 'listen = "15023"', "port[dtu-1].listen", "0.0.0.0:9000"),
    ('listen = "127.0.0.1:15023"', 'listen = "well.example:15023"', "port[dtu-1].listen", "no IP address"),
    ('listen = "127.0.0.1:15023"', 'listen = "127.0.0.1:0"', "port[dtu-1].listen", "1 to 65535"),
    (REGISTRATION, "{ }", "port[dtu-1].registration", "none of text, hex, pattern"),
    (REGISTRATION, '{ text = "A", hex = "41" }', "port[dtu-1].registration", "text and hex"),
    (REGISTRATION, '{ hex = "4" }', "port[dtu-1].registration", "pairs of digits"),
    (REGISTRATION, "{ pattern = '(' }", "port[dtu-1].registration", "no regular expression"),
    (REGISTRATION, "{ pattern = 'A+', example = 'B' }", "port[dtu-1].registration", "does not fit"),
    (REGISTRATION, '{ text = "WELL-2" }', "port[dtu-2].registration", "that of port 'dtu-1' already"),
    ('{ text = "WELL-2" }', '{ word = "WELL-2" }', "port[dtu-2].registration.word", "text, hex, pattern"),
]


@pytest.mark.parametrize(("old", "new", "key", "word"), MISTAKES)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, old: str, new: str, key: str, word: str) -> None:
    text = text_of(NUMBERS)
    assert old in text
    path = write_site(tmp_path, text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        compile_site(path)
    named = [line for line in caught.value.problems if line.startswith(f"{path}: {key}: ")]
    assert any(word in line for line in named), caught.value.problems


def test_an_address_of_version_6_can_be_listened_on(tmp_path: Path) -> None:
    text = text_of(NUMBERS).replace("127.0.0.1:15023", "[::1]:15023")
    assert port_of(compile_site(write_site(tmp_path, text)).plan, "dtu-1").host == "::1"


# --- running --------------------------------------------------------------------------------


class Rows:
    """Keeps the newest row of each block, and waits for one."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._codes: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def take(self, block: int, sampled_us: int, row: Row, codes: Codes, replied_us: int) -> None:
        id = self.plan.devices[self.plan.blocks[block].device].id
        self._codes[id] = codes[0] if codes else quality.GOOD
        self._counts[id] = self._counts.get(id, 0) + 1

    async def until(self, wanted: Callable[[int], bool], *ids: str, within_s: float = 10.0) -> None:
        """Waits until each device's next rows are as wanted."""
        before, end = dict(self._counts), time.monotonic() + within_s
        while not all(self._counts.get(id, 0) > before.get(id, 0) and wanted(self._codes[id]) for id in ids):
            assert time.monotonic() < end, self._codes
            await asyncio.sleep(0.02)


def is_good(code: int) -> bool:
    return code == quality.GOOD


def is_missing(code: int) -> bool:
    return quality.quality_of(code) is quality.Quality.MISSING


@contextlib.asynccontextmanager
async def simulated(path: Path) -> AsyncIterator[Simulator]:
    simulator = Simulator(read_plant(path), scenario_folder=path.parent)
    for far in simulator.far:
        if isinstance(far, DtuClient):
            far._dial_again_s = 0.05
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_in_listener, "QUIET_S", 0.03)


async def test_devices_behind_every_link_are_polled_cut_and_back(tmp_path: Path) -> None:
    numbers = {name: free_address()[1] for name in NUMBERS}
    path = write_site(tmp_path, text_of(numbers))
    plan = compile_site(path).plan
    rows, maker = Rows(plan), PortMaker()
    running = RunningPorts(rows.take, maker)
    ids = ("tcp", "far", "dtu-1", "dtu-2")
    assert sorted(running.start(plan)) == sorted(ids)
    try:
        await rows.until(is_missing, *ids)
        for _ in range(2):
            async with simulated(path):
                await rows.until(is_good, *ids)
            await rows.until(is_missing, *ids)
        facts = {record.subject: dict(record.facts) for record in running.health()}
        assert facts[f"dial-in/127.0.0.1:{numbers['dtu']}"]["registered"] == 4
        assert {"port/tcp", "port/far", "port/dtu-1", "port/dtu-2"} <= set(facts)
        assert facts["link/tcp"]["connects"] == 2
        assert facts["link/tcp"]["connect_failures"]
        assert (facts["link/far"]["reopened"], facts["link/dtu-1"]["reopened"]) == (1, 1)
        HealthRecord.from_wire(next(record for record in running.health()).to_wire())
    finally:
        await running.stop_all()
    assert not [record for record in maker.health() if record.subject.startswith("dial-in/")]


async def test_a_link_that_is_well_has_nothing_to_tell(tmp_path: Path) -> None:
    path = write_site(tmp_path, text_of({name: free_address()[1] for name in NUMBERS}))
    plan, maker = compile_site(path).plan, PortMaker()
    async with simulated(path):
        port = maker(port_of(plan, "tcp"))
        await port.open()
        request = ReadRequest(unit_id=1, table="holding", address=0, count=1, timeout_s=1.0, max_reply_s=1.0)
        assert (await port.read(request)).code == quality.GOOD
        assert maker.health() == []
        await port.close()


async def test_a_reload_of_one_dtu_leaves_the_other_connected(tmp_path: Path) -> None:
    numbers = {name: free_address()[1] for name in NUMBERS}
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old_path = write_site(tmp_path / "old", text_of(numbers))
    new_path = write_site(tmp_path / "new", text_of(numbers, second='{ text = "WELL-3" }'))
    old, new = compile_site(old_path).plan, compile_site(new_path).plan
    same = unchanged_ports(old, new)
    assert sorted(same) == ["dtu-1", "far", "tcp"]
    rows = Rows(old)
    running = RunningPorts(rows.take, PortMaker())
    running.start(old)
    try:
        async with simulated(old_path) as simulator:
            await rows.until(is_good, "dtu-1", "dtu-2")
            await running.stop(["dtu-2"])
            running.renumber(same)
            running.start(new)
            await rows.until(is_missing, "dtu-2")
            await rows.until(is_good, "dtu-1")
            first = next(far for far in simulator.far if far.line.id == "dtu-1")
            assert first.units.counts.connections == 1
        async with simulated(new_path):
            await rows.until(is_good, "dtu-1", "dtu-2")
    finally:
        await running.stop_all()


async def test_a_single_reading_waits_for_the_dtus_to_dial_in(tmp_path: Path) -> None:
    path = write_site(tmp_path, text_of({name: free_address()[1] for name in NUMBERS}))
    async with simulated(path):
        ticks = await read_once(compile_site(path).plan, PortMaker())
    assert [codes for _, _, _, codes in ticks] == [[quality.GOOD]] * 4


async def test_a_device_more_leaves_every_kind_of_link_open(tmp_path: Path) -> None:
    serial = f'[[port]]\nid = "line"\nkind = "serial"\ndevice = "{tmp_path}/line"\nbaud = 115200\n'
    text = text_of({name: free_address()[1] for name in NUMBERS}) + serial + DEVICE.format(id="line")
    ids = ("tcp", "far", "dtu-1", "dtu-2", "line")
    one = DEVICE.replace('port = "{id}"', 'port = "{port}"').replace("unit_id = 1", "unit_id = 2")
    more = "".join(one.format(id=f"{id}-more", port=id) for id in ids)
    path = write_site(tmp_path, text)
    old = compile_site(path).plan
    write_site(tmp_path, text + more)
    new = keep_phases(old, compile_site(path).plan)
    differs = difference(old, new)
    assert sorted(differs.handed) == sorted(ids)
    rows = Rows(old)
    running = RunningPorts(rows.take, PortMaker())
    async with simulated(path) as simulator:
        running.start(old)
        try:
            await rows.until(is_good, *ids)
            left = await running.hand_over(differs.handed)
            assert sorted(left) == sorted(ids)
            rows.plan = new
            assert sorted(running.start(new, left=left)) == sorted(ids)
            await rows.until(is_good, *ids, *(f"{id}-more" for id in ids))
            assert {far.units.counts.connections for far in simulator.far} == {1}
        finally:
            await running.stop_all()
