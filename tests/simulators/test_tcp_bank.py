"""The bank of plain devices for measurements."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import pytest

from simulators.tcp_bank import BankDevice, TcpBank, device_host, words_at


def request(pdu: str, transaction: int = 1, unit_id: int = 1) -> bytes:
    data = bytes.fromhex(pdu)
    return struct.pack(">HHHB", transaction, 0, len(data) + 1, unit_id) + data


def test_the_counter_counts_and_the_rest_moves_slowly() -> None:
    for tick in range(400):
        words, after = words_at(3, 20, tick), words_at(3, 20, tick + 1)
        assert after[0] == words[0] + 1
        assert all(100 <= word <= 199 and abs(word - new) <= 1 for word, new in zip(words[1:], after[1:], strict=True))


def test_replies_and_refusals() -> None:
    device = BankDevice(0, 20)
    device.refresh(7)
    reply = device.reply(request("03 00 00 00 14", transaction=9))
    assert reply[:9] == bytes.fromhex("00 09 00 00 00 2b 01 03 28")
    assert list(struct.unpack(">20H", reply[9:])) == words_at(0, 20, 7)
    assert device.reply(request("03 00 00 00 14", transaction=10))[2:] == reply[2:]
    assert device.reply(request("03 00 01 00 14"))[7:] == b"\x83\x02"
    assert device.reply(request("03 00 00 00 00"))[7:] == b"\x83\x03"
    assert device.reply(request("04 00 00 00 01"))[7:] == b"\x84\x01"


def test_a_written_register_holds_until_it_is_released() -> None:
    device = BankDevice(0, 4)
    assert device.reply(request("06 00 02 01 f4"))[7:] == bytes.fromhex("06 00 02 01 f4")
    device.refresh(50)
    assert device.reply(request("03 00 02 00 01"))[9:] == b"\x01\xf4"
    device.reply(request("06 00 02 ff ff"))
    device.refresh(51)
    assert device.reply(request("03 00 02 00 01"))[9:] != b"\x01\xf4"


async def test_each_device_has_its_own_address(free_port: Callable[[], int]) -> None:
    port = free_port()
    bank = TcpBank(devices=3, registers=20, port=port)
    await bank.start()
    try:
        for number in range(3):
            reader, writer = await asyncio.open_connection(device_host(number), port)
            frame = request("03 00 00 00 14")
            writer.write(frame[:3])
            await writer.drain()
            writer.write(frame[3:] + frame)
            data = await asyncio.wait_for(reader.readexactly(98), 10)
            assert list(struct.unpack(">20H", data[9:49])) == words_at(number, 20, 0)
            writer.close()
    finally:
        await bank.stop()


@pytest.mark.parametrize("frame", [b"\0\1\0\0\1\5\1\3", b"\0\1\0\0\0\1\1\3"])
async def test_nonsense_ends_the_connection(frame: bytes, free_port: Callable[[], int]) -> None:
    port = free_port()
    bank = TcpBank(devices=1, registers=2, port=port)
    await bank.start()
    reader, writer = await asyncio.open_connection(device_host(0), port)
    writer.write(frame)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 10)
    writer.close()
    await bank.stop()
