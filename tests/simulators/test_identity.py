"""A simulated device says what and which it is, so that a scan can recognise it."""

from __future__ import annotations

import pytest

from drivers.build import field_read, serial_read
from drivers.loader import load_profile, shipped_profile_ids
from drivers.matching import Surely, match_profile, recognition_reads
from drivers.plan import IdentityRead, read_identity
from simulators.device import Memory, answer
from simulators.errors import ImageError
from simulators.identity import known_spans
from simulators.image import DeviceImage

PROFILES = [load_profile(id) for id in shipped_profile_ids()]


def said(memory: Memory, read: IdentityRead) -> str:
    content = memory.words.get(read.table, {})
    return read_identity(read, [content.get(read.address + place, 0) for place in range(read.count)])


@pytest.mark.parametrize("profile", [item for item in PROFILES if item.recognise], ids=lambda item: item.id)
def test_a_simulated_device_is_recognised(profile: object) -> None:
    found = next(item for item in PROFILES if item is profile)
    memory = DeviceImage(found, unit_id=17).memory({})
    readings: dict[str, str | None] = {read.name: said(memory, read) for read in recognition_reads(found)}
    match = match_profile(found, readings, 17)
    assert match.surely >= Surely.POSSIBLE, match.evidence


def test_the_serial_number_is_where_the_profile_says() -> None:
    profile = load_profile("senseair-s8")
    read = serial_read(profile)
    assert read is not None
    memory = DeviceImage(profile, serial="123456").memory({})
    assert said(memory, read) == "123456"
    assert said(memory, field_read(profile, "firmware")) == "0"


def test_a_serial_number_that_does_not_fit_is_told() -> None:
    profile = load_profile("evikon-e26xx")
    with pytest.raises(ImageError, match="70000 does not fit the register serial-number"):
        DeviceImage(profile, serial="70000")


def test_registers_that_are_written_exist() -> None:
    profile = load_profile("evikon-e26xx")
    assert {("holding", 4, 1), ("holding", 5, 1), ("holding", 7, 1)} <= set(known_spans(profile))
    memory = DeviceImage(profile, unit_id=1).memory({})
    reply = answer(bytes.fromhex("0600040009"), memory)
    assert reply is not None
    assert reply.pdu == bytes.fromhex("0600040009")
    assert reply.writes == (("holding", 4, 9),)
