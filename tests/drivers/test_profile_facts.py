"""The shipped instruments beyond gas: how many of each kind, what one poll asks, which traps are known."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest

from contracts.quality import BY_REASON, GOOD
from drivers.build import PointChoice, identity_reads, plan_device, point_step
from drivers.decode import decode_words
from drivers.loader import load_profile, shipped_profile_ids
from drivers.numbering import line_steps, numbering_steps
from drivers.plan import compile_block

ALL = {id: load_profile(id) for id in shipped_profile_ids()}

POLLS = {
    "aplisens-pce-28": [("holding", 2, 2), ("holding", 6, 2)],
    "aquaread-leveline": [("input", 0, 3)],
    "balluff-bsi-r11a0": [("input", 17, 2), ("input", 0, 1), ("input", 10, 1)],
    "banner-dx85": [("holding", 0, 12)],
    "banner-qm42vt1-dx80": [("holding", 17, 5)],
    "banner-qm42vt2": [("holding", 5201, 5)],
    "ceyeko-ludp": [("holding", 0, 1)],
    "comwintop-cwt-uwd": [("holding", 0x1F4, 14)],
    "dfrobot-sen0591": [("holding", 0x101, 1)],
    "dfrobot-urm13": [("holding", 5, 1), ("holding", 6, 1)],
    "dinel-ulm-53l": [("holding", 100, 5)],
    "eletechsup-ld58a08": [("coil", 0, 8)],
    "eletechsup-n4d8b08": [("holding", 1, 8), ("holding", 0x81, 8), ("holding", 0xFD, 1)],
    "endress-fmr20": [("holding", 5000, 12)],
    "evikon-e2418-dp": [("holding", 258, 2), ("holding", 17, 1)],
    "geolux-rss2-300w": [("holding", 4, 8)],
    "in-situ-level-troll": [("holding", 45, 13)],
    "lctech-relay-8": [("discrete", 0, 8)],
    "machine-saver-trivibe": [("holding", 172, 12), ("holding", 31, 1)],
    "novus-np785": [("holding", 0, 2)],
    "pressure-float-0x16": [("holding", 0x16, 2), ("holding", 0x26, 2)],
    "qdy30a": [("holding", 2, 3)],
    "siemens-qfa3150": [("holding", 0, 4)],
    "tuf-2000": [("holding", 0, 6)],
    "vegabar-80": [("input", 2000, 4)],
    "vegapuls-c-21": [("input", 2000, 4), ("input", 2303, 5)],
    "waveshare-relay-8": [("coil", 0, 8)],
    "wellpro-wp8028": [("coil", 0, 8), ("discrete", 0, 8)],
    "wirenboard-wb-mcm8": [("discrete", 0, 8), ("input", 60, 16), ("input", 121, 1)],
    "wirenboard-wb-mr6c": [("coil", 0, 6), ("discrete", 0, 8), ("input", 121, 1)],
    "witmotion-hwt9073-485": [("holding", 0x34, 16)],
    "witmotion-wt53r-485": [("holding", 0x34, 1)],
    "witmotion-wtvb01-485": [("holding", 0x34, 16)],
    "xkc-y25-rs485": [("holding", 1, 2)],
    "xy-md02": [("input", 1, 2)],
}


@pytest.mark.parametrize("id", POLLS)
def test_default_polls(id: str) -> None:
    assert [(block.table, block.address, block.count) for block in plan_device(ALL[id])] == POLLS[id]


def test_there_are_enough_instruments_of_each_kind() -> None:
    kinds = Counter(str(profile.kind) for profile in ALL.values())
    assert len(ALL) >= 30
    least = {"pressure": 6, "level": 8, "acceleration": 5, "io": 3}
    assert {kind: kinds[kind] for kind in least if kinds[kind] < least[kind]} == {}


def test_nothing_is_shipped_from_memory() -> None:
    assert [id for id, profile in ALL.items() if profile.confidence == "M"] == []


@pytest.mark.parametrize("id", ALL)
def test_every_value_says_its_own_interval_and_silence(id: str) -> None:
    for name, point in ALL[id].points.items():
        assert point.longest_silence_s * 1000 > point.interval_ms, name


def decoded(id: str, name: str, address: int, words: list[int], *, unit: str | None = None) -> tuple[object, str]:
    """What the agent makes of one point when the registers from ``address`` hold these words."""
    (block,) = plan_device(ALL[id], {name: PointChoice(unit=unit)})
    start = block.address - address
    values, codes = compile_block(block)(words[start : start + block.count])
    reason = {code: word for word, code in BY_REASON.items()}[GOOD if codes is None else codes[0]]
    return values[0], reason


def test_the_sign_of_a_ludp_is_a_bit_and_not_a_complement() -> None:
    assert decoded("ceyeko-ludp", "level", 0, [0x8010]) == (-16, "ok")


def test_angles_of_the_precision_inclinometer_are_not_those_of_its_sister() -> None:
    words = [0x2000, 0x0000]  # 45 degrees on the one, 8.192 on the other
    for id, expected in (("witmotion-wt901c485", Fraction(45)), ("witmotion-hwt9073-485", Fraction("8.192"))):
        value, reason = decoded(id, "roll", 0x3D, words)
        resolution = point_step(ALL[id], "roll").resolution
        assert isinstance(value, int)
        assert resolution is not None
        assert (value * resolution, reason) == (expected, "ok")


def test_an_echo_that_was_not_captured_makes_the_old_number_worthless() -> None:
    assert decoded("dinel-ulm-53l", "level", 100, [1234, 766, 38, 20, 0]) == (None, "invalid")


def test_a_code_of_centimetres_is_never_read_as_metres() -> None:
    assert decoded("qdy30a", "level", 2, [0x11, 1, 5000], unit="m") == (None, "unit_mismatch")


def test_the_status_of_a_c21_is_found_in_either_word() -> None:
    for status in ([1, 0], [0, 1]):
        assert decoded("vegapuls-c-21", "level", 2000, [*status, 0x4018, 0]) == (None, "invalid")


def test_the_low_word_comes_first_where_the_document_says_so() -> None:
    for id, name in (("novus-np785", "pressure"), ("tuf-2000", "flow")):
        assert decoded(id, name, 0, [0x0000, 0x3E80]) == (0.25, "ok")
    assert decode_words([0x0000, 0x3E80], data_type="f32", byte_order="CDAB") == 0.25


def test_relays_of_the_n4d8b08_are_registers_and_take_commands() -> None:
    output = ALL["eletechsup-n4d8b08"].outputs["relay-1"]
    assert (output.table, output.address, output.on, output.off, output.write_function) == (
        "holding", 1, 0x0100, 0x0200, 6,
    )  # fmt: skip
    assert output.pulse is not None
    assert (output.pulse.add, output.pulse.count_ms, output.pulse.most) == (0x0600, 1000, 255)


@pytest.mark.parametrize("id", [id for id, profile in ALL.items() if profile.outputs])
def test_an_output_is_read_back_where_its_device_can_be_read(id: str) -> None:
    blind = {name for name, output in ALL[id].outputs.items() if output.readback is None}
    assert blind == (set(ALL[id].outputs) if id == "lctech-relay-8" else set())


def test_only_one_board_falls_into_a_safe_state_by_itself() -> None:
    assert [id for id, profile in ALL.items() if profile.watchdog is not None] == ["wirenboard-wb-mr6c"]
    assert ALL["wirenboard-wb-mr6c"].outputs["relay-6"].safe is not None


def test_a_witmotion_is_unlocked_renumbered_and_saved_at_its_new_address() -> None:
    for id in ("witmotion-wt901c485", "witmotion-hwt9073-485", "witmotion-wtvb01-485"):
        steps = numbering_steps(ALL[id], 0x50, 3)
        writes = [(step.unit_id, step.address, step.values) for step in steps]
        assert writes == [(0x50, 0x69, (0xB588,)), (0x50, 0x1A, (3,)), (3, 0x00, (0,))]


def test_a_qd_is_saved_at_its_new_address_and_keeps_its_speed_until_then() -> None:
    for id in ("qd-transmitter", "qdy30a"):
        assert [(step.unit_id, step.values) for step in numbering_steps(ALL[id], 1, 7)] == [(1, (7,)), (7, (0,))]
        assert [step.values for step in line_steps(ALL[id], 7, baud=19200)] == [(4,)]


def test_a_measurement_on_command_is_a_read_of_its_own() -> None:
    measured, other = plan_device(ALL["dfrobot-urm13"])
    assert measured.trigger is not None
    assert (measured.trigger.address, measured.trigger.values) == (8, (0x000C,))
    assert other.trigger is None


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("in-situ-level-troll", [("serial-number", 1, 2), ("device-id", 0, 1)]),
        ("machine-saver-trivibe", [("serial-number", 26, 2)]),
        ("wirenboard-wb-mcm8", [("serial-number", 270, 2)]),
        ("evikon-e2418-dp", [("serial-number", 3, 1)]),
    ],
)
def test_what_tells_one_unit_from_another(id: str, expected: list[tuple[str, int, int]]) -> None:
    assert [(read.name, read.address, read.count) for read in identity_reads(ALL[id])] == expected
