"""TLS to Debian's mosquitto: whom the gateway believes, with a clock that is right, lost or unknown."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.clock import NEVER_BEFORE_US, SET_CLOCK, TimeBounds
from edge_agent.errors import TlsError
from edge_agent.mqtt_link import MqttLink
from edge_agent.tls import NO_CHECK_TIME, make_context, wrong_dates
from tests.edge_agent.certificates import DAY, Authority
from tests.mosquitto import Mosquitto

S = 1_000_000
NOW_US = int(time.time()) * S
DAY_US = 86_400 * S
#: nothing is known but when the program was made
UNSET = TimeBounds(earliest_us=NEVER_BEFORE_US, latest_us=None)
#: the collector signed the time; the system clock is anything
SIGNED = TimeBounds(earliest_us=NOW_US - S, latest_us=NOW_US + 60 * S)


class TlsBroker:
    """Mosquitto behind a certificate."""

    def __init__(self, tool: str, folder: Path) -> None:
        self._tool, self._folder = tool, folder
        self.running: Mosquitto | None = None

    def start(self, lines: str) -> int:
        self.stop()
        broker = Mosquitto(self._tool, self._folder)
        config = self._folder / "mosquitto.conf"
        # Started by root it would become somebody else, who may not read a test's folder.
        own = "user root\n" if os.geteuid() == 0 else ""
        config.write_text(config.read_text() + own + lines)
        broker.start()
        self.running = broker
        return broker.port

    def stop(self) -> None:
        if self.running is not None:
            self.running.kill()
            self.running = None


@pytest.fixture
def tls_broker(require_tool: Callable[[str], str], tmp_path: Path) -> Iterator[TlsBroker]:
    broker = TlsBroker(str(require_tool("mosquitto")), tmp_path)
    yield broker
    broker.stop()


async def try_once(port: int, ca: Path, bounds: TimeBounds, caplog: pytest.LogCaptureFixture) -> str | None:
    """Returns None when the broker took the session, else what was logged."""
    link = MqttLink(
        client_id="g", host="127.0.0.1", port=port, subscribe="t/#", tls_ca=str(ca), time_bounds=lambda: bounds
    )
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        link.start()
        end = time.monotonic() + 20
        while not link.is_up and "no connection" not in caplog.text:
            assert time.monotonic() < end, "neither up nor refused"
            await asyncio.sleep(0.01)
    was_up = link.is_up
    await link.stop()
    return None if was_up else caplog.text


@pytest.mark.parametrize(
    ("dates", "bounds", "said"),
    [
        ({}, SET_CLOCK, None),
        ({}, UNSET, None),
        ({}, SIGNED, None),
        ({"ends": -1 * DAY}, SET_CLOCK, "has expired"),
        ({"ends": -1 * DAY}, SIGNED, "certificate expired on"),
        # The gateway lost its clock and knows no better: it cannot tell, and gets in.
        ({"ends": -1 * DAY}, UNSET, None),
        ({"ends": -1 * DAY}, TimeBounds(earliest_us=NOW_US - 10 * S, latest_us=None), "certificate expired on"),
        ({"ends": -1 * DAY}, TimeBounds(earliest_us=NOW_US - 2 * DAY_US, latest_us=None), None),
        ({"begins": 1 * DAY}, SET_CLOCK, "is not valid yet"),
        ({"begins": 1 * DAY}, SIGNED, "is valid from"),
        ({"begins": 1 * DAY}, UNSET, None),
    ],
)
async def test_the_dates_are_judged_by_what_is_known_of_the_time(
    dates: dict[str, Any], bounds: TimeBounds, said: str | None, tls_broker: TlsBroker, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    authority = Authority(tmp_path / "ca")
    port = tls_broker.start(authority.broker(**dates).mosquitto_lines())
    found = await try_once(port, authority.file, bounds, caplog)
    assert (found is None) == (said is None), found
    assert said is None or said in (found or "")


@pytest.mark.parametrize("bounds", [SET_CLOCK, UNSET])
async def test_it_stays_pinned_whatever_the_clock_says(
    bounds: TimeBounds, tls_broker: TlsBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, other, same_name = (
        Authority(tmp_path / "ours"),
        Authority(tmp_path / "other", "Another authority"),
        Authority(tmp_path / "same"),
    )
    port = tls_broker.start(other.broker().mosquitto_lines())
    found = await try_once(port, ours.file, bounds, caplog)
    assert f"not signed by any in {ours.file}" in (found or "up")
    port = tls_broker.start(same_name.broker().mosquitto_lines())
    found = await try_once(port, ours.file, bounds, caplog)
    assert "not signed by" in (found or "up")
    port = tls_broker.start(ours.broker(address="127.0.0.2").mosquitto_lines())
    found = await try_once(port, ours.file, bounds, caplog)
    assert "for another address than 127.0.0.1" in (found or "up")


async def test_a_new_file_counts_from_the_next_connect_and_the_reason_is_said_once(
    tls_broker: TlsBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = Authority(tmp_path / "old", "Old"), Authority(tmp_path / "new", "New")
    pinned = tmp_path / "pinned.pem"
    pinned.write_bytes(old.file.read_bytes())
    port = tls_broker.start(new.broker().mosquitto_lines())
    tries = 0

    def bounds() -> TimeBounds:
        nonlocal tries
        tries += 1
        if tries == 3:
            pinned.write_bytes(new.file.read_bytes())
        return SET_CLOCK

    link = MqttLink(
        client_id="g", host="127.0.0.1", port=port, subscribe="t/#", tls_ca=str(pinned), time_bounds=bounds,
        roll=lambda: 0.0,
    )  # fmt: skip
    link.start()
    end = time.monotonic() + 30
    while not link.is_up:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    await link.stop()
    assert tries >= 3
    assert caplog.text.count("no connection to the broker") == 1


async def test_plain_text_and_a_bad_file_are_named(
    tls_broker: TlsBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path / "ca")
    # A captive portal: whatever is said to it, it answers in plain HTTP.

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n")
        await writer.drain()
        await reader.read(4096)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    found = await try_once(server.sockets[0].getsockname()[1], authority.file, SET_CLOCK, caplog)
    assert "does not speak TLS" in (found or "up")
    server.close()
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for file, words in ((empty, "holds no certificate"), (tmp_path / "none.pem", "No such file")):
        found = await try_once(1, file, SET_CLOCK, caplog)
        assert "uplink.tls_ca" in (found or "up")
        assert words in (found or "up")


def test_openssl_checks_dates_exactly_while_the_system_clock_is_disciplined(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for bounds, is_checked in ((SET_CLOCK, True), (UNSET, False), (SIGNED, False)):
        context = make_context(str(authority.file), bounds)
        assert bool(context.verify_flags & NO_CHECK_TIME) != is_checked
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert len(context.get_ca_certs()) == 1, "nobody else is trusted"


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ({}, "states no dates"),
        ({"notBefore": "Jan  1 00:00:00 2020 GMT", "notAfter": "Jan  1 00:00:00 2025 GMT"}, "expired on Jan  1"),
        ({"notBefore": "Jan  1 00:00:00 2020 GMT", "notAfter": "Jan  1 00:00:00 2199 GMT"}, None),
    ],
)
def test_dates_without_a_clock(certificate: dict[str, str], reason: str | None) -> None:
    found = wrong_dates(certificate, UNSET)
    assert (found or "").startswith(reason or "")
    assert (found is None) == (reason is None)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TlsError, match=r"uplink.tls_ca: .*none.pem: No such file"):
        make_context(str(tmp_path / "none.pem"), SET_CLOCK)
