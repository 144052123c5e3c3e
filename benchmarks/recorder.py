"""Writes down every message that passes the broker, with the time it arrived: the measuring end of the pipeline.

It decodes nothing while it runs.  One record per message in the file: ``[monotonic us, topic, payload]`` in
msgpack, written when ``on_message`` is entered.  The clock is the machine's, the same as the agent's, so that
sample times in signed bytes and arrival times here can be subtracted.

    python -m benchmarks.recorder PORT FILE
"""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Any

import msgpack
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

_pack: Any = msgpack.packb


def main(port: int, path: str) -> None:
    """Records until it is ended; connects again by itself after an outage."""
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def connected(client: paho.Client, *_: Any) -> None:
        client.subscribe([("qianshao/#", 1), ("bare/#", 1)])

    def subscribed(*_: Any) -> None:
        os.write(out, _pack([time.monotonic_ns() // 1000, "recorder/ready", b""]))

    def received(client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        os.write(out, _pack([time.monotonic_ns() // 1000, message.topic, message.payload]))

    def opened(client: paho.Client, data: Any, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="recorder", protocol=paho.MQTTv311)
    client.on_connect, client.on_subscribe, client.on_message = connected, subscribed, received
    client.on_socket_open = opened
    # An outage is measured from its end: be there before the agent is.
    client.reconnect_delay_set(0.05, 0.05)  # type: ignore[arg-type]  # floats work and are not declared
    client.connect("127.0.0.1", port)
    client.loop_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
