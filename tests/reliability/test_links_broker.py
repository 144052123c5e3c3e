"""Brokers that deny, forget and limit, a link that breaks at every byte, and who pretends to be a broker."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent import unanswered
from edge_agent.backoff import Backoff
from edge_agent.mqtt_link import MqttLink
from simulators.link_proxy import LinkProxy
from tests.debian_tools import find_tool
from tests.reliability import scale
from tests.reliability.brokers import QUICK, Broker, Line
from tests.reliability.link_ends import Centre, Edge, judge, until
from tests.reliability.test_links_hostile import CLEAN, TakesPubackForReceipt

pytestmark = pytest.mark.usefixtures("patient_store")


@contextlib.asynccontextmanager
async def line_on(tmp_path: Path, settings: str = "", **more: Any) -> AsyncIterator[tuple[Line, Broker]]:
    broker = Broker(tmp_path / "broker", settings=settings)
    broker.start()
    line = Line(tmp_path, (broker.host, broker.port), **more)
    await line.start()
    try:
        yield line, broker
    finally:
        await line.stop()
        broker.kill()


def numbers(line: Line) -> tuple[int, int, int, int, int]:
    verdict = judge(line.edge, line.centre.read(line.edge.id, line.edge.catalogue))
    print(verdict)
    return verdict.numbers


# --- cut at every byte -----------------------------------------------------------------------


async def cut_often(tmp_path: Path, count: int, edge_class: type[Edge] = Edge) -> Line:
    """Breaks the connection at ``count`` places of an exchange, or at every byte where it has fewer."""
    broker = Broker(tmp_path / "broker")
    broker.start()
    proxy = LinkProxy("127.0.0.1", 0, broker.host, broker.port)
    await proxy.start()
    line = Line(
        tmp_path, ("127.0.0.1", proxy.port), collector_at=(broker.host, broker.port), edge_class=edge_class,
        backoff=Backoff(base_s=0.01, most_s=0.02),
    )  # fmt: skip
    await line.start()
    try:
        # Connect, subscribe, status, ask, catalogue, batch, alarm, and what comes back.
        line.edge.tick()
        line.edge.alarm()
        await line.edge.keeper.drain()
        await until(lambda: line.edge.uplink.is_up and not line.edge.waiting, "the first receipts")
        up, down = proxy.counts.bytes_up, proxy.counts.bytes_down
        every = [*range(1, up + 1), *range(-down, 0)]
        places = every if count >= len(every) else [every[int(n * len(every) / count)] for n in range(count)]
        for number, place in enumerate(places):
            proxy.break_after(up=place if place > 0 else None, down=-place if place < 0 else None)
            line.edge.tick()
            if number % 7 == 0:
                line.edge.alarm()
            before = proxy.counts.breaks
            await until(
                lambda before=before: proxy.counts.breaks > before or not line.edge.waiting, f"a cut at {place}"
            )
            if edge_class is Edge:
                assert not line.edge.believed() - line.centre.committed(line.edge.id)
        proxy.break_after()
        await line.edge.until_receipted()
        print(f"{proxy.counts.breaks} cuts in exchanges of {up} bytes up and {down} down")
        assert proxy.counts.breaks >= len(places) // 2
    finally:
        await line.stop()
        await proxy.stop()
        broker.kill()
    return line


@pytest.mark.slow
async def test_a_cut_at_some_bytes_costs_nothing(tmp_path: Path) -> None:
    assert numbers(await cut_often(tmp_path, 8)) == CLEAN


@pytest.mark.ci
async def test_a_cut_at_any_byte_of_an_exchange_costs_nothing(tmp_path: Path) -> None:
    assert numbers(await cut_often(tmp_path, scale.times(500, 1 << 20))) == CLEAN


@pytest.mark.ci
async def test_mutant_release_on_the_brokers_word_is_caught_by_cuts(tmp_path: Path) -> None:
    lost, _, _, _, _ = numbers(await cut_often(tmp_path, 60, TakesPubackForReceipt))
    assert lost


# --- brokers that say success and do something else ------------------------------------------

_RULES = """\
topic read #
user c
topic readwrite #
user g
topic read qianshao/#
topic write qianshao/v1/+/+/up/ask
topic write qianshao/v1/+/+/up/catalogue
topic write qianshao/v1/+/+/status
"""


def denying(folder: Path) -> str:
    """Returns the settings of a broker that denies batches; MQTT 3.1.1 has no word for it but success."""
    rules = folder / "rules.acl"
    rules.write_text(_RULES)
    rules.chmod(0o644)
    return f"acl_file {rules}\nuser root\n"


@pytest.mark.ci
async def test_denied_batches_show_and_nothing_is_let_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unanswered, "SAY_AFTER_US", 500_000)
    async with line_on(tmp_path, denying(tmp_path), username="g") as (line, broker):
        await until(lambda: line.edge.uplink.is_up, "the gateway on the broker")
        for _ in range(10):
            line.edge.tick()
        line.edge.alarm()
        await line.edge.keeper.drain()
        await until(lambda: "there is no receipt for them" in caplog.text, "the word that nothing is receipted")
        await until(lambda: (line.edge.uplink.unanswered_s or 0) >= 1, "its age in the health")
        assert line.edge.believed() == set()
        assert len(await line.edge.held()) == 11
        assert line.centre.committed(line.edge.id) == set()
        broker.kill()
        broker.set("")
        broker.start()
        await line.edge.until_receipted()
        await until(lambda: "batches are receipted again" in caplog.text, "the word that it is over")
        assert line.edge.uplink.unanswered_s is None
        assert numbers(line) == CLEAN


@pytest.mark.ci
async def test_mutant_release_on_the_brokers_word_is_caught_where_batches_are_denied(tmp_path: Path) -> None:
    async with line_on(tmp_path, denying(tmp_path), username="g", edge_class=TakesPubackForReceipt) as (line, broker):
        await until(lambda: line.edge.uplink.is_up, "the gateway on the broker")
        for _ in range(10):
            line.edge.tick()
        await line.edge.keeper.drain()
        await until(lambda: len(line.edge.believed()) == 10, "batches that are let go")
        await asyncio.sleep(0.5)  # the broker's word comes
        broker.kill()
        broker.set("")
        broker.start()
        await asyncio.sleep(1.0)
        lost, _, _, _, _ = numbers(line)
        assert lost


@pytest.mark.ci
async def test_a_batch_too_large_for_the_broker_shows_and_the_others_flow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unanswered, "SAY_AFTER_US", 500_000)
    async with line_on(tmp_path, "message_size_limit 1600\n") as (line, broker):
        await until(lambda: line.edge.uplink.is_up, "the gateway on the broker")
        line.edge.tick()
        line.edge.tick(1000, spread_us=1777)
        for _ in range(20):
            line.edge.tick()
            await asyncio.sleep(0.01)
        line.edge.alarm()
        await until(lambda: line.edge.waiting == 1, "receipts for all but one", 10)
        await until(lambda: "there is no receipt for them" in caplog.text, "the word that one is not receipted")
        broker.kill()
        broker.set("")
        broker.start()
        await line.edge.until_receipted()
        assert numbers(line) == CLEAN


@pytest.mark.ci
async def test_a_broker_whose_queue_is_full_costs_nothing(tmp_path: Path) -> None:
    async with line_on(tmp_path, "max_queued_messages 10\nmax_inflight_messages 5\n") as (line, _):
        stuck = threading.Event()
        taking = line.centre.take
        line.far._on_message = lambda topic, payload: (stuck.wait(20), taking(topic, payload))[1]
        for number in range(120):
            line.edge.tick()
            if number % 20 == 0:
                line.edge.alarm()
            await asyncio.sleep(0.005)
        await line.edge.keeper.drain()
        stuck.set()
        await line.edge.until_receipted()
        assert line.edge.uplink.counts["resent"] > 0, "the broker has dropped nothing: this shows nothing"
        assert numbers(line) == CLEAN


# --- who pretends to be a broker -------------------------------------------------------------


def make_certificates(folder: Path) -> dict[str, str]:
    """Makes two authorities and certificates: name -> path of a PEM file with key and certificate."""
    openssl = find_tool("openssl")

    def run(*words: str) -> None:
        subprocess.run([openssl, *words], check=True, capture_output=True, cwd=folder)

    found = {}
    for authority in ("ours", "other"):
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-subj", f"/CN={authority}")  # fmt: skip
    for name, authority, host, days in (
        ("good", "ours", "localhost", "2"),
        ("stranger", "other", "localhost", "2"),
        ("wrong-name", "ours", "elsewhere.example", "2"),
        ("expired", "ours", "localhost", "-1"),
    ):
        (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{host}\n")
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")  # fmt: skip
        run("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-days", days, "-extfile", f"{name}.ext", "-out", f"{name}.crt")  # fmt: skip
        found[name] = str(folder / f"{name}.both")
        Path(found[name]).write_text((folder / f"{name}.key").read_text() + (folder / f"{name}.crt").read_text())
    found["ca"] = str(folder / "ours.pem")
    return found


@contextlib.asynccontextmanager
async def portal(certificate: str = "", answer: bytes = b"") -> AsyncIterator[int]:
    """Listens, speaks TLS where it has a certificate, and answers whatever comes with ``answer``."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(64)
            writer.write(answer)
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    server_port: int = server.sockets[0].getsockname()[1]
    yield server_port
    server.close()


_PAGE = b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n"
#: name -> (host, certificate, pinned, answer, a word of the reason)
STRANGERS: dict[str, tuple[str, str, bool, bytes, str]] = {
    "another authority": ("localhost", "stranger", True, b"", "wrong authority"),
    "another name": ("localhost", "wrong-name", True, b"", "another name"),
    "expired": ("localhost", "expired", True, b"", "expired"),
    "no TLS where it is wanted": ("localhost", "", True, _PAGE, "does not speak TLS"),
    "a captive portal without TLS": ("127.0.0.1", "", False, _PAGE, "no connection to the broker"),
    "hangs up": ("127.0.0.1", "", False, b"", "no connection to the broker"),
    "a name that nobody knows": ("nobody.invalid", "", False, b"", "no connection to the broker: nobody.invalid"),
}


@pytest.mark.ci
@pytest.mark.parametrize("who", STRANGERS)
async def test_who_is_not_our_broker_is_refused_with_the_reason_and_sealing_goes_on(
    who: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host, certificate, is_pinned, answer, word = STRANGERS[who]
    files = make_certificates(tmp_path) if certificate or is_pinned else {}
    async with portal(files.get(certificate, ""), answer) as port:
        link = MqttLink(
            client_id="g", host=host, port=port, subscribe="down/#", tls_ca=files["ca"] if is_pinned else "",
            backoff=QUICK,
        )  # fmt: skip
        centre = Centre(tmp_path / "collector")
        edge = Edge(tmp_path / "gateway", link, centre.signer.public)
        await edge.start()
        try:
            # Where no name server answers, asking for a name takes half a minute.
            await until(lambda: word in caplog.text, f"the reason {word!r}", 90.0)
            for _ in range(20):
                edge.tick()
                await asyncio.sleep(0.005)
            await edge.keeper.drain()
            assert not edge.uplink.is_up
            assert len(edge.written.stored) == 20
            assert edge.uplink.counts["sent"] == 0
            said = [record for record in caplog.records if "no connection to the broker" in record.message]
            assert len(said) <= 2, "said once, not with every try"
        finally:
            await edge.stop()
            centre.store.close()


@pytest.mark.ci
async def test_our_own_broker_is_taken_over_tls(tmp_path: Path) -> None:
    """What the strangers above are refused for is not something that the right one is refused for too."""
    files = make_certificates(tmp_path)
    key, certificate = files["good"].removesuffix(".both") + ".key", files["good"].removesuffix(".both") + ".crt"
    Path(key).chmod(0o644)
    broker = Broker(tmp_path / "broker", settings=f"keyfile {key}\ncertfile {certificate}\nuser root\n")
    broker.start()
    id = "g-of-tls"
    link = MqttLink(client_id=id, host="localhost", port=broker.port, subscribe="x", tls_ca=files["ca"], backoff=QUICK)
    link.start()
    try:
        await until(lambda: link.is_up, "the session")
    finally:
        await link.stop()
        broker.kill()
