"""The other side for ``edge-agent bench``: plain Modbus TCP devices and a collector's place, in a child process.

It is no simulator and no collector: registers count up, receipts are given for whatever verifies and comes in
order, and nothing is kept.  It lets the whole agent be measured on a gateway where nothing else of the project
is installed.  It runs beside the agent, so its own CPU is not in the agent's figures.

    python -m edge_agent.bench_peer --port P [--broker Q --agent-key FILE --key FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import struct
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from contracts.batch import Lane, decode_batch
from contracts.envelope import Type, open_envelope, seal
from contracts.errors import ContractError
from contracts.keys import Signer, Verifier, load_or_create, parse_key_line
from contracts.messages import Ask, Time
from contracts.receipt import Receipt
from contracts.topics import Channel, parse, subscription, topic

_LANES = {Channel.ALARM: (Lane.ALARM, Type.ALARM_BATCH), Channel.DATA: (Lane.DATA, Type.DATA_BATCH)}


def _no_delay(client: paho.Client, data: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Device(asyncio.Protocol):
    """Answers every read of holding registers; the first register counts the seconds, the others stand still."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if len(data) != 12 or data[7] != 3:
            self._transport.abort()
            return
        count = data[11]
        words = (int(time.monotonic()) & 0x7FFF, *range(100, 99 + count))
        reply = struct.pack(f">HBBB{count}H", 3 + 2 * count, data[6], 3, 2 * count, *words)
        self._transport.write(data[:4] + reply)


class ReceiptGiver:
    """Verifies batches and signs receipts for what came in order; answers asks with the time."""

    def __init__(self, *, broker_port: int, agent: Verifier, signer: Signer) -> None:
        self._port = broker_port
        self._keys = {agent.key_id: agent}
        self._signer = signer
        self._since_us = time.time_ns() // 1000
        self._epoch = self._since_us.to_bytes(8, "big")
        self._serial = 0
        self._heads: dict[tuple[bytes, Lane], tuple[int, bytes]] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench-peer", protocol=paho.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(subscription(channel), 1) for channel in (*_LANES, Channel.ASK)]
        )
        self._client.on_message = lambda client, data, message: self._take(message.topic, bytes(message.payload))
        self._client.on_socket_open = _no_delay

    def start(self) -> None:
        """Connects, and serves in paho's thread."""
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()

    def _take(self, where: str, envelope: bytes) -> None:
        try:
            place = parse(where)
            if place.channel is Channel.ASK:
                ask = Ask.from_body(open_envelope(envelope, Type.ASK, self._keys).body)
                answer = Time(gateway=ask.gateway, nonce=ask.nonce, wall_us=time.time_ns() // 1000)
                sealed = seal(Type.TIME, answer.to_body(), self._signer)[0]
                self._client.publish(topic(ask.gateway, Channel.TIME), sealed, qos=1)
                return
            lane, type = _LANES[place.channel]
            opened = open_envelope(envelope, type, self._keys)
            header = decode_batch(opened.body, type).header
        except ContractError:
            return
        key = (header.epoch, lane)
        if header.seq == self._heads.get(key, (0, b""))[0] + 1:
            self._heads[key] = (header.seq, opened.digest)
        seq, digest = self._heads.get(key, (0, b""))
        self._serial += 1
        receipt = Receipt(
            gateway=header.gateway,
            collector_epoch=self._epoch,
            collector_since_us=self._since_us,
            serial=self._serial,
            epoch=header.epoch,
            lane=lane,
            contiguous=seq,
            digest=digest,
        )
        sealed = seal(Type.RECEIPT, receipt.to_body(), self._signer)[0]
        self._client.publish(topic(header.gateway, Channel.RECEIPT), sealed, qos=1)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Device, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


def main() -> None:
    """Serves until it is ended by a signal."""
    parser = argparse.ArgumentParser(prog="python -m edge_agent.bench_peer")
    parser.add_argument("--port", type=int, required=True, help="of the devices")
    parser.add_argument("--broker", type=int, default=0, help="port of the broker; 0: none")
    parser.add_argument("--agent-key", type=Path, help="file with the agent's key line")
    parser.add_argument("--key", type=Path, help="private key that signs receipts; made where there is none")
    options = parser.parse_args()
    if options.broker:
        public = parse_key_line(options.agent_key.read_text(), str(options.agent_key))
        ReceiptGiver(broker_port=options.broker, agent=Verifier(public), signer=load_or_create(options.key)).start()
    asyncio.run(_serve(options.port))


if __name__ == "__main__":
    main()
