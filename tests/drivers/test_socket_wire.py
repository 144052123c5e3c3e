"""RTU bytes over real sockets of this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from drivers.dial_in import HeartbeatFilter, Packet, PacketForm
from drivers.errors import PortGone, PortRefused
from drivers.socket_wire import MOST_SILENT, Dialler, SocketSettings, SocketWire


class Pairs:
    """A source of connected sockets; the far ends stay with the test."""

    def __init__(self) -> None:
        self.far: list[socket.socket] = []
        self.waiting: list[socket.socket] = []
        self.let_go_of = 0
        self._listening = socket.create_server(("127.0.0.1", 0))

    def add(self) -> None:
        near = socket.create_connection(self._listening.getsockname())
        self.far.append(self._listening.accept()[0])
        self.waiting.append(near)

    def take(self) -> socket.socket:
        if not self.waiting:
            raise PortGone("nobody is there")
        return self.waiting.pop()

    def newer(self) -> socket.socket | None:
        return self.waiting.pop() if self.waiting else None

    def let_go(self) -> None:
        self.let_go_of += 1

    def close(self) -> None:
        for connection in (*self.far, *self.waiting, self._listening):
            connection.close()


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    made = Pairs()
    yield made
    made.close()


def opened(pairs: Pairs, **more: object) -> SocketWire:
    pairs.add()
    wire = SocketWire(pairs, "the server", **more)  # type: ignore[arg-type]
    wire.open()
    return wire


def test_bytes_go_both_ways(pairs: Pairs) -> None:
    wire = opened(pairs)
    wire.write(b"\x01\x03")
    assert pairs.far[0].recv(10) == b"\x01\x03"
    assert wire.read() == b""
    pairs.far[0].send(b"\x01\x83\x02")
    wire.wait(1.0)
    assert wire.read() == b"\x01\x83\x02"
    wire.close()
    wire.close()
    assert pairs.let_go_of == 1
    assert pairs.far[0].recv(10) == b""


def test_a_closed_wire_says_so(pairs: Pairs) -> None:
    wire = SocketWire(pairs, "the server")
    for use in (lambda: wire.write(b"x"), wire.read, lambda: wire.wait(0.0)):
        with pytest.raises(PortGone, match="the server is closed"):
            use()
    with pytest.raises(PortGone, match="nobody is there"):
        wire.open()


def test_hanging_up_is_noticed(pairs: Pairs) -> None:
    wire = opened(pairs)
    pairs.far[0].close()
    wire.wait(1.0)
    with pytest.raises(PortGone, match="the server has hung up"):
        wire.read()


def test_a_newer_connection_replaces_the_old_one(pairs: Pairs) -> None:
    wire = opened(pairs)
    pairs.add()
    wire.write(b"a")
    assert pairs.far[1].recv(10) == b"a"
    assert pairs.far[0].recv(10) == b""
    pairs.add()
    pairs.far[1].close()
    wire.wait(1.0)
    assert wire.read() == b""
    pairs.far[2].send(b"b")
    wire.wait(1.0)
    assert wire.read() == b"b"
    wire.close()


def test_nothing_in_return_for_long_ends_the_connection(pairs: Pairs) -> None:
    wire = opened(pairs)
    for _ in range(MOST_SILENT):
        wire.write(b"x")
    with pytest.raises(PortGone, match="gave nothing back for 20 requests"):
        wire.write(b"x")
    wire.close()
    wire = opened(pairs)
    for _ in range(3):
        for _ in range(MOST_SILENT):
            wire.write(b"x")
        pairs.far[-1].send(b"a")
        wire.wait(1.0)
        assert wire.read() == b"a"
    wire.close()


def test_a_stalled_network_ends_the_connection(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback acknowledges at once, so the kernel's count is given here; ``SIOCOUTQ`` itself is tested below."""
    now, left = 100.0, 0
    monkeypatch.setattr("drivers.socket_wire._unacknowledged", lambda connection: left)
    wire = opened(pairs, stall_s=1.0, clock=lambda: now)
    wire.write(b"x")
    left = 1
    now = 100.5
    wire.write(b"x")
    now = 101.0
    wire.write(b"x")
    left = 0
    now = 101.5
    wire.write(b"x")
    left = 1
    now = 102.4
    wire.write(b"x")
    now = 102.6
    with pytest.raises(PortGone, match="the network stalls"):
        wire.write(b"x")
    wire.close()


def test_what_the_kernel_counts_as_unacknowledged(pairs: Pairs) -> None:
    from drivers.socket_wire import _unacknowledged

    pairs.add()
    near = pairs.waiting[0]
    assert _unacknowledged(near) == 0
    near.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while near.send(b"x" * 65536):
            pass  # the far end reads nothing, until its window closes
    assert _unacknowledged(near) > 0


def test_a_far_end_that_takes_no_bytes(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.socket_wire._WRITE_PATIENCE_S", 0.01)
    wire = opened(pairs)
    with pytest.raises(PortGone, match="takes no bytes"):
        wire.write(b"x" * 10_000_000)
    wire.close()


def test_heartbeats_are_swallowed(pairs: Pairs) -> None:
    taken = HeartbeatFilter(PacketForm(Packet(kind="text", value="HB")))
    wire = opened(pairs, heartbeats=taken)
    wire.write(b"x")
    pairs.far[0].send(b"HB")
    wire.wait(1.0)
    assert wire.read() == b""
    pairs.far[0].send(b"\x01\x83\x02")
    wire.wait(1.0)
    assert wire.read() == b"\x01\x83\x02"
    assert taken.swallowed == 1
    wire.close()


def test_dialling(pairs: Pairs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.getsockname()[1]
        source = Dialler("127.0.0.1", number)
        source.take().close()
        assert source.newer() is None
        source.let_go()
    with pytest.raises(PortGone, match=f"no connection to 127.0.0.1:{number}: Connection refused"):
        source.take()
    with pytest.raises(PortRefused, match="no such host"):
        Dialler("no-such-host.invalid", 1).take()


def test_a_dial_that_nobody_answers_takes_its_time_out() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        where = full.getsockname()
        held = [socket.socket() for _ in range(4)]  # fills the backlog: the kernel then answers nobody
        for connection in held:
            connection.setblocking(False)
            connection.connect_ex(where)
        with pytest.raises(PortGone, match=r"within 0\.05 s"):
            Dialler(*where, timeout_s=0.05).take()
        for connection in held:
            connection.close()


def test_the_settings_of_a_far_line() -> None:
    far = SocketSettings(path="10.0.0.5:4001", baud=9600)
    assert far.char_bits == 11
    assert far.silence_s == 0.0
    assert SocketSettings(path="x", gap_s=0.05).silence_s == 0.05


def test_waiting_ends_when_bytes_come(pairs: Pairs) -> None:
    wire = opened(pairs)
    sender: Callable[[], object] = lambda: pairs.far[0].send(b"x")  # noqa: E731
    timer = threading.Timer(0.02, sender)
    timer.start()
    wire.wait(5.0)
    assert wire.read() == b"x"
    timer.join()
    wire.close()


def read_on(wire: SocketWire) -> None:
    while True:
        wire.wait(1.0)
        wire.read()


def test_a_server_that_sends_on_and_on_loses_its_connection(pairs: Pairs) -> None:
    wire = opened(pairs)

    def babble() -> None:
        with contextlib.suppress(OSError):
            while True:
                pairs.far[0].sendall(bytes(4096))

    thread = threading.Thread(target=babble, daemon=True)
    thread.start()
    try:
        with pytest.raises(PortGone, match="sends on and on"):
            read_on(wire)
    finally:
        wire.close()
        thread.join(5.0)
