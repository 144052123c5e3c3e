"""The floor of draining: SELECT in order, publish with QoS 1, wait for the broker, and nothing else.

Nothing is checked, nobody answers with a receipt, and no live data or alarms go between.

    python -m benchmarks.bare_drain SPOOL PORT SECONDS

It prints how many readings the broker has acknowledged, and in how many seconds.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections import deque
from typing import Any

import apsw
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

TOPIC = "bare/history"
#: not acknowledged yet, at most: paho's own bound is as large in the agent
_IN_FLIGHT = 200


def _no_delay(client: paho.Client, data: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def drain(spool: str, port: int, seconds: float) -> tuple[int, float]:
    """Returns readings and seconds."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bare-drain", protocol=paho.MQTTv311)
    client.max_inflight_messages_set(_IN_FLIGHT)
    client.on_socket_open = _no_delay
    client.connect("127.0.0.1", port)
    client.loop_start()
    rows: Any = apsw.Connection(spool, flags=apsw.SQLITE_OPEN_READONLY).execute(
        "SELECT readings, envelope FROM batch ORDER BY id"
    )
    begun = time.monotonic()
    waiting: deque[tuple[int, paho.MQTTMessageInfo]] = deque()
    done = 0
    for readings, envelope in rows:
        waiting.append((readings, client.publish(TOPIC, envelope, qos=1)))
        while len(waiting) >= _IN_FLIGHT:
            count, info = waiting.popleft()
            info.wait_for_publish(10)
            done += count
        if time.monotonic() - begun >= seconds:
            break
    for count, info in waiting:
        info.wait_for_publish(10)
        done += count
    took_s = time.monotonic() - begun
    client.loop_stop()
    return done, took_s


if __name__ == "__main__":
    print(json.dumps(drain(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))), flush=True)
