"""The MQTT link against Debian's mosquitto."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.backoff import Backoff
from edge_agent.errors import ConfigError
from edge_agent.mqtt_link import MqttLink
from tests.mosquitto import Mosquitto, free_port


@pytest.fixture
def broker(require_tool: Callable[[str], str], tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(str(require_tool("mosquitto")), tmp_path)
    broker.start()
    yield broker
    broker.kill()


async def until(condition: Callable[[], bool], what: str, within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {within_s} s"
        await asyncio.sleep(0.01)


class Talker:
    def __init__(self, port: int, name: str, **options: object) -> None:
        self.ups = 0
        self.reasons: list[str] = []
        self.heard: list[tuple[str, bytes]] = []
        self.link = MqttLink(
            client_id=name,
            host="127.0.0.1",
            port=port,
            subscribe="t/#",
            backoff=Backoff(base_s=0.05, most_s=0.3),
            **options,  # type: ignore[arg-type]
        )
        self.link.on_up = self._up
        self.link.on_down = self.reasons.append
        self.link.on_message = lambda topic, payload: self.heard.append((topic, payload))

    def _up(self) -> None:
        self.ups += 1


async def subscribed(talker: Talker) -> None:
    """Waits until the broker has taken the subscription: it takes what one client sends in order."""
    ready = ("t/ready", b"%d" % len(talker.heard))
    assert talker.link.publish(*ready)
    await until(lambda: ready in talker.heard, "the subscription")


async def test_messages_go_both_ways(broker: Mosquitto) -> None:
    a, b = Talker(broker.port, "a"), Talker(broker.port, "b")
    a.link.start()
    b.link.start()
    await until(lambda: a.link.is_up and b.link.is_up, "both up")
    await subscribed(b)
    for number in range(200):
        assert a.link.publish("t/x", b"%d" % number)
    await until(lambda: len(b.heard) == 201, "all heard")
    assert [payload for topic, payload in b.heard if topic == "t/x"] == [b"%d" % n for n in range(200)]
    await a.link.stop()
    await b.link.stop()


async def test_a_password_that_cannot_be_read_is_named_once_and_tried_again(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def password() -> str:
        tries.append(1)
        if len(tries) < 4:
            raise ConfigError(["uplink.password_file: pw.txt: No such file or directory"])
        return "secret"

    talker = Talker(broker.port, "a", username="u", password=password)
    talker.link.start()
    await until(lambda: talker.link.is_up, "up")
    assert caplog.text.count("uplink.password_file: pw.txt: No such file") == 1
    await talker.link.stop()


async def test_it_comes_back_after_the_broker_was_killed(broker: Mosquitto) -> None:
    talker = Talker(broker.port, "a")
    talker.link.start()
    await until(lambda: talker.link.is_up, "up")
    broker.kill()
    await until(lambda: not talker.link.is_up, "down")
    assert talker.reasons
    assert not talker.link.publish("t/x", b"nobody")
    await asyncio.sleep(0.5)
    broker.start()
    await until(lambda: talker.link.is_up, "up again")
    assert talker.ups == 2
    await talker.link.stop()


async def test_the_last_will_is_made_anew_for_every_session(broker: Mosquitto) -> None:
    listener = Talker(broker.port, "listener")
    listener.link.start()
    await until(lambda: listener.link.is_up, "listener up")
    wills = iter([b"first will", b"second will"])
    dying = Talker(broker.port, "dying", will=("t/will", lambda: next(wills)))
    dying.link.start()
    await until(lambda: dying.link.is_up, "dying up")
    dying.link._hooked.shutdown(2)
    await until(lambda: ("t/will", b"first will") in listener.heard, "the will")
    await until(lambda: dying.ups == 2, "up again")
    await dying.link.stop()
    await listener.link.stop()


async def test_a_port_where_nobody_listens_is_tried_quietly_and_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    talker = Talker(free_port(), "a")
    talker.link.start()
    await until(lambda: "no connection" in caplog.text, "a failed try")
    await asyncio.sleep(1.0)
    assert not talker.link.is_up
    said = [record for record in caplog.records if "no connection" in record.message]
    assert len(said) == 1, "said once, not with every try"
    await talker.link.stop()
    await talker.link.stop()


async def test_a_broker_that_refuses_is_named_as_the_reason(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker.kill()
    config = tmp_path / "mosquitto.conf"
    config.write_text(config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
    broker.start()
    talker = Talker(broker.port, "a")
    talker.link.start()
    await until(lambda: "no connection to the broker" in caplog.text, "a refusal")
    await talker.link.stop()
    assert "the broker refuses: Not authorized" in caplog.text


async def test_a_message_that_nobody_can_take_costs_the_session_and_not_the_link(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = Talker(broker.port, "a"), Talker(broker.port, "b")

    def fail(topic: str, payload: bytes) -> None:
        b.link.on_message = lambda topic, payload: b.heard.append((topic, payload))
        raise TypeError("a defect")

    a.link.start()
    b.link.start()
    await until(lambda: a.link.is_up and b.link.is_up, "both up")
    await subscribed(b)
    b.link.on_message = fail
    a.link.publish("t/x", b"one")
    await until(lambda: b.ups == 2, "a new session")
    assert "a defect" in caplog.text
    await subscribed(b)
    a.link.publish("t/x", b"two")
    await until(lambda: ("t/x", b"two") in b.heard, "the next message")
    await a.link.stop()
    await b.link.stop()


async def test_an_on_up_that_fails_does_not_leave_a_link_that_is_up_and_silent(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    talker = Talker(broker.port, "a")
    ups = 0

    def up() -> None:
        nonlocal ups
        ups += 1
        if ups == 1:
            raise TypeError("a defect")

    talker.link.on_up = up
    talker.link.start()
    await until(lambda: ups == 2, "a second session")
    assert talker.reasons
    await talker.link.stop()
