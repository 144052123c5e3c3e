"""Metrics as Prometheus reads them: by a parser of the exposition format, line by line, and over HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import HealthRecord
from edge_agent.metrics_server import MetricsServer
from edge_agent.prometheus_text import metrics_text

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LINE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? ([^ ]+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


class Parsed(NamedTuple):
    """What a scraper would have."""

    types: dict[str, str]
    values: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def value(self, name: str, **labels: str) -> float:
        return self.values[name, frozenset(labels.items())]


def parse(text: str) -> Parsed:
    """Reads the text exposition format, version 0.0.4, and refuses what a scraper would refuse."""
    types: dict[str, str] = {}
    helps: set[str] = set()
    values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    current = ""
    seen: set[str] = set()
    assert text.endswith("\n")
    for line in filter(None, text.split("\n")):
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helps, "HELP once"
            helps.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, "TYPE once"
            assert kind in ("counter", "gauge")
            assert name not in seen
            types[name] = kind
        else:
            match = _LINE.fullmatch(line)
            assert match, line
            name, raw, number = match[1], match[2] or "", match[3]
            assert name in types, f"{name} has no TYPE before it"
            assert name == current or name not in seen, "samples of one metric stand together"
            current = name
            seen.add(name)
            labels = list(_labels(raw))
            assert len({label for label, _ in labels}) == len(labels)
            key = name, frozenset(labels)
            assert key not in values, "a sample stands once"
            values[key] = float(number)
    return Parsed(types, values)


def _labels(raw: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(raw):
        match = _LABEL.match(raw, at)
        assert match, raw
        value = re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), match[2])
        yield match[1], value
        at = match.end()


def _record(subject: str, **facts: float | str | None) -> HealthRecord:
    return HealthRecord(subject=subject, mono_us=1, facts=tuple(facts.items()))


ERROR = 'a "quoted"\nline'
RECORDS = (
    _record("agent", version="0.1", cpu_s=1.5, pss_kb=40, link="up", oldest_unsent_s=None, receipt_latency_p95_ms=12.5),
    _record("port/bus-1", bus_load=0.25, late_worst_ms=3.5, requests=10, failed_no_reply=2),
    _record("device/d1", state="healthy", requests=6, good_per_s=1.0, latency_p50_ms=20.0, latency_max_ms=30.0),
    _record("device/d2", state="silent", requests=4, failed_no_reply=2, failed_bad_frame=1, last_error=ERROR),
)  # fmt: skip


def test_a_parser_of_the_format_reads_every_number() -> None:
    found = parse(metrics_text(RECORDS))
    assert found.value("qianshao_device_requests_total", device="d1") == 6
    assert found.types["qianshao_device_requests_total"] == "counter"
    assert found.value("qianshao_device_failed_total", device="d2", cause="bad_frame") == 1
    assert found.value("qianshao_device_latency_seconds", device="d1", quantile="0.5") == 0.02
    assert found.value("qianshao_device_latency_max_seconds", device="d1") == 0.03
    assert found.value("qianshao_device_good_per_s", device="d1") == 1.0
    assert found.value("qianshao_device_state_info", device="d2", state="silent") == 1
    assert found.value("qianshao_device_last_error_info", device="d2", last_error=ERROR) == 1
    assert found.value("qianshao_port_late_worst_seconds", port="bus-1") == 0.0035
    assert found.value("qianshao_port_bus_load", port="bus-1") == 0.25
    assert found.value("qianshao_cpu_seconds_total") == 1.5
    assert found.value("qianshao_pss_bytes") == 40 * 1024
    assert found.value("qianshao_receipt_latency_seconds", quantile="0.95") == 0.0125
    assert not [name for name, _ in found.values if "oldest_unsent" in name], "what is not known is left out"


_text = st.text(max_size=12)
_facts = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
    st.none() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False, width=32) | _text,
    max_size=6,
)


@given(st.lists(st.tuples(st.sampled_from(["agent", "port/a", "device/a", "device/b", "link/é"]), _facts), max_size=5,
                unique_by=lambda drawn: drawn[0]))  # fmt: skip
def test_whatever_the_facts_are_a_scraper_can_read_them(drawn: list[tuple[str, dict[str, float | str | None]]]) -> None:
    records = [_record(subject, **facts) for subject, facts in drawn if _is_plain(facts)]
    parse(metrics_text(records))


def _is_plain(facts: dict[str, float | str | None]) -> bool:
    """Whether no two names become one: ``a_s`` and ``a_seconds`` never occur together in health."""
    text = metrics_text([_record("agent", **dict.fromkeys(facts, 1))])
    return text.count("# TYPE") == len(facts)


async def _ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /metrics HTTP/1.1", 200),
        (b"GET /metrics?x=1 HTTP/1.0", 200),
        (b"HEAD /metrics HTTP/1.1", 200),
        (b"GET / HTTP/1.1", 404),
        (b"POST /metrics HTTP/1.1", 405),
        (b"nonsense", 400),
        (b"\xff\xfe\x00", 400),
    ],
)
async def test_it_answers_one_question(request_line: bytes, status: int) -> None:
    server = MetricsServer(lambda: metrics_text(RECORDS))
    await server.serve("127.0.0.1", 0)
    host, port = server.where
    assert host == "127.0.0.1"
    try:
        head, _, body = (await _ask(port, request_line + b"\r\nHost: x\r\n\r\n")).partition(b"\r\n\r\n")
    finally:
        await server.close()
    assert head.startswith(b"HTTP/1.1 %d " % status)
    if request_line.startswith(b"GET /metrics"):
        assert b"text/plain; version=0.0.4" in head
        assert b"Content-Length: %d" % len(body) in head
        parse(body.decode())
    elif status == 200:
        assert not body
    await server.close()
    assert server.where == ("", 0)


async def test_it_moves_and_a_taken_address_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    first, second = MetricsServer(lambda: "\n"), MetricsServer(lambda: "\n")
    await first.serve("127.0.0.1", 0)
    port = first.where[1]
    for _ in range(3):
        await second.serve("127.0.0.1", port)
    assert second.where == ("", 0)
    assert caplog.text.count("cannot be served") == 1
    await first.serve("", 0)
    assert first.where == ("", 0)
    await second.serve("127.0.0.1", port)
    assert second.where == ("127.0.0.1", port), "it is free now, and the same reload takes it"
    await second.serve("", 0)
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_who_takes_no_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.metrics_server._LIMIT_S", 0.05)
    server = MetricsServer(lambda: "x" * 20_000_000)
    await server.serve("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.where, limit=1)
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    await reader.readexactly(1)
    (talk,) = server._talks
    done, _ = await asyncio.wait({talk}, timeout=10)
    assert done
    writer.close()
    await server.close()


async def test_who_sends_too_much_is_sent_away() -> None:
    server = MetricsServer(lambda: "\n")
    await server.serve("127.0.0.1", 0)
    try:
        assert await _ask(server.where[1], b"x" * 100_000) == b""
    except ConnectionError:
        pass
    finally:
        await server.close()
