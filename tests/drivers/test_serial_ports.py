"""Trees of /dev, /sys and /proc as Linux shows them for common adapters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drivers.serial_ports import FoundPort, SerialPorts, list_ports


class Machine:
    """A file tree with serial ports in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("dev/serial/by-id", "dev/serial/by-path", "sys/class/tty", "proc"):
            (root / name).mkdir(parents=True)

    def add_usb(
        self,
        name: str,
        *,
        socket: str,
        usb_id: tuple[str, str],
        driver: str,
        serial: str | None = None,
        product: str = "USB Serial",
        by_id: str = "",
    ) -> None:
        usb = self.root / "sys/devices/usb1" / socket
        interface = usb / f"{socket}:1.0"
        # cdc_acm binds to the interface; usb-serial has a device of its own below it
        device = interface if driver == "cdc_acm" else interface / name
        device.mkdir(parents=True, exist_ok=True)
        for file, text in (("idVendor", usb_id[0]), ("idProduct", usb_id[1]), ("product", product), ("serial", serial)):
            if text is not None:
                (usb / file).write_text(f"{text}\n")
        self._bind(device, driver)
        self._tty(name, device)
        self._link("by-path", f"platform-usb-0:{socket}:1.0-port0", name)
        if by_id:
            self._link("by-id", by_id, name)

    def add_uart(self, name: str, *, driver: str, kind: str = "32", core: bool = False) -> None:
        chip = self.root / "sys/devices/platform" / f"{name}.serial"
        device = chip / f"{name}:0" / f"{name}:0.0" if core else chip
        device.mkdir(parents=True)
        self._bind(chip, driver)
        if core:
            self._bind(device.parent, "ctrl")
            self._bind(device, "port")
        self._tty(name, device)
        (self.root / "sys/class/tty" / name / "type").write_text(f"{kind}\n")

    def _bind(self, device: Path, driver: str) -> None:
        place = self.root / "sys/drivers" / driver
        place.mkdir(parents=True, exist_ok=True)
        if not (device / "driver").exists():
            (device / "driver").symlink_to(place)

    def _tty(self, name: str, device: Path) -> None:
        (self.root / "dev" / name).touch(mode=0o660)
        place = self.root / "sys/class/tty" / name
        place.mkdir()
        (place / "device").symlink_to(device)

    def _link(self, kind: str, link: str, name: str) -> None:
        place = self.root / "dev/serial" / kind / link
        place.unlink(missing_ok=True)  # the last one enumerated has it
        place.symlink_to(self.root / "dev" / name)

    def ports(self) -> dict[str, FoundPort]:
        finder = SerialPorts(dev=self.root / "dev", sys=self.root / "sys", proc=self.root / "proc")
        return {os.path.basename(port.path): port for port in finder.list_ports()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


FTDI = ("0403", "6001")
CH340 = ("1a86", "7523")


def test_an_adapter_with_a_serial_number(machine: Machine) -> None:
    machine.add_usb(
        "ttyUSB0",
        socket="1-1.2",
        usb_id=FTDI,
        driver="ftdi_sio",
        serial="A50285BI",
        product="FT232R USB UART",
        by_id="usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0",
    )
    port = machine.ports()["ttyUSB0"]
    assert (
        port.name == port.by_id == str(machine.root / "dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0")
    )
    assert (port.driver, port.chip, port.usb_id, port.product) == ("ftdi_sio", "FTDI FT232R", FTDI, "FT232R USB UART")
    assert (port.serial_number, port.socket) == ("A50285BI", "1-1.2")
    assert port.holders.found == ()


def test_two_alike_without_serial_numbers_are_named_by_their_sockets(machine: Machine) -> None:
    for number, socket in enumerate(("1-1.1", "1-1.3")):
        machine.add_usb(
            f"ttyUSB{number}", socket=socket, usb_id=CH340, driver="ch341", by_id="usb-1a86_USB_Serial-port0"
        )
    ports = machine.ports()
    assert ports["ttyUSB0"].by_id is None
    assert [port.name for port in ports.values()] == [port.by_path for port in ports.values()]
    assert len({port.name for port in ports.values()}) == 2
    assert {port.chip for port in ports.values()} == {"CH340"}


def test_one_without_a_serial_number_is_not_named_by_an_id_that_a_second_would_take(machine: Machine) -> None:
    machine.add_usb("ttyUSB0", socket="1-1.1", usb_id=CH340, driver="ch341", by_id="usb-1a86_USB_Serial-port0")
    port = machine.ports()["ttyUSB0"]
    assert port.by_id is not None
    assert port.name == port.by_path


def test_copies_with_one_serial_number_are_named_by_their_sockets(machine: Machine) -> None:
    for number, socket in enumerate(("1-1.1", "1-1.3")):
        machine.add_usb(
            f"ttyUSB{number}",
            socket=socket,
            usb_id=("10c4", "ea60"),
            driver="cp210x",
            serial="0001",
            by_id="usb-Silicon_Labs_CP2102_0001-if00-port0",
        )
    assert all(port.name == port.by_path for port in machine.ports().values())


def test_two_ports_of_one_adapter_keep_their_ids(machine: Machine) -> None:
    for number in range(2):
        machine.add_usb(
            f"ttyUSB{number}",
            socket="1-1.1",
            usb_id=("0403", "6010"),
            driver="ftdi_sio",
            serial="FT4X",
            by_id=f"usb-FTDI_Dual_FT4X-if0{number}-port0",
        )
    assert [port.name for port in machine.ports().values()] == [port.by_id for port in machine.ports().values()]


@pytest.mark.parametrize("core", [False, True], ids=["before 6.5", "from 6.5"])
def test_ports_of_the_board(machine: Machine, core: bool) -> None:
    machine.add_uart("ttyAMA0", driver="uart-pl011", core=core)
    machine.add_uart("ttyS0", driver="bcm2835-aux-uart", kind="4", core=core)
    ports = machine.ports()
    assert {name: port.chip for name, port in ports.items()} == {"ttyAMA0": "PL011", "ttyS0": "mini-UART"}
    assert ports["ttyAMA0"].name == ports["ttyAMA0"].path
    assert (ports["ttyAMA0"].usb_id, ports["ttyAMA0"].socket) == (None, None)


def test_places_without_a_chip_and_terminals_are_no_ports(machine: Machine) -> None:
    machine.add_uart("ttyS1", driver="serial8250", kind="0")
    (machine.root / "sys/class/tty/tty1").mkdir()
    (machine.root / "dev/tty1").touch()
    assert machine.ports() == {}


def test_cdc_acm_and_the_order_of_numbers(machine: Machine) -> None:
    for number in (10, 2):
        machine.add_usb(f"ttyACM{number}", socket=f"1-{number}", usb_id=("2341", "0043"), driver="cdc_acm")
    ports = machine.ports()
    assert list(ports) == ["ttyACM2", "ttyACM10"]
    assert ports["ttyACM2"].chip == "USB CDC-ACM"
    assert ports["ttyACM2"].socket == "1-2"


def test_the_holder_is_named(machine: Machine) -> None:
    machine.add_uart("ttyAMA0", driver="uart-pl011")
    folder = machine.root / "proc/77"
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text("ModemManager\n")
    (folder / "fd/5").symlink_to(machine.root / "dev/ttyAMA0")
    assert str(machine.ports()["ttyAMA0"].holders) == "ModemManager (pid 77)"


def test_an_empty_machine_and_this_one(tmp_path: Path) -> None:
    nothing = SerialPorts(dev=tmp_path / "dev", sys=tmp_path / "sys", proc=tmp_path / "proc")
    assert nothing.list_ports() == ()
    for port in list_ports():
        assert os.path.exists(port.name)
