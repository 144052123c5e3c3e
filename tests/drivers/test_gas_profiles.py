"""The gas profiles: what one head means by a code its sister means otherwise, and states that are no measurement."""

from __future__ import annotations

import pytest

from contracts.quality import BY_REASON, CODES, INSTRUMENT_WARNING, UNIT_MISMATCH, WITH_VALUE
from drivers.build import PointChoice, plan_device, point_step
from drivers.loader import load_profile, shipped_profile_ids
from drivers.plan import compile_block

GAS = [id for id in shipped_profile_ids() if load_profile(id).kind == "gas"]

#: profile -> code of its unit register -> what it means
UNIT_CODES = {
    "honeywell-xnx": {1: "mg/m3", 2: "g/m3", 3: "%{vol}", 4: "[ppm]", 5: "%{LEL}", 8: "%{LEL}.m"},
    "honeywell-xcd": {1: "mg/m3", 3: "%{vol}", 4: "[ppm]", 5: "%{LEL}"},
    "honeywell-xcd-rfd": {1: "mg/m3", 3: "%{vol}", 4: "[ppm]", 5: "%{LEL}"},
    "honeywell-xrl": {1: "%{LEL}", 3: "mg/m3", 4: "g/m3", 5: "%{vol}", 6: "[ppm]"},
}
#: profile -> (bits of the status word that are a fault, number of its first fault); the tables of the XRL disagree
FAULTS = {"honeywell-xnx": ((6,), 1000), "honeywell-xcd": ((5,), 1100), "honeywell-xrl": ((5, 6), 1200)}


def gas_code(id: str, unit: str, *, unit_code: int, state: int = 1, event: int = 0, bits: int = 0) -> int:
    """Returns the quality code of 50.0 on a Honeywell head that is set so."""
    words = (0x4248, 0, event, bits, state, 0, 0, 0, unit_code)
    (block,) = plan_device(load_profile(id), {"gas": PointChoice(unit=unit)})
    assert block.count == len(words)
    values, codes = compile_block(block)(words)
    code = 0 if codes is None else codes[0]
    assert values[0] == (50.0 if code in WITH_VALUE else None)
    return code


def test_there_are_gas_profiles() -> None:
    assert len(GAS) >= 8


@pytest.mark.parametrize("id", UNIT_CODES)
def test_a_unit_code_means_what_it_means_on_this_model(id: str) -> None:
    units = {unit for codes in UNIT_CODES.values() for unit in codes.values()}
    own = load_profile(id)
    for code in range(16):
        for unit in units & set(own.points["gas"].unit_from.codes.values() if own.points["gas"].unit_from else ()):
            expected = 0 if UNIT_CODES[id].get(code) == unit else UNIT_MISMATCH
            assert gas_code(id, unit, unit_code=code) == expected, (code, unit)


@pytest.mark.parametrize("id", FAULTS)
def test_the_fault_bit_and_the_fault_numbers_are_those_of_this_model(id: str) -> None:
    faults, first = FAULTS[id]
    code = next(code for code, unit in UNIT_CODES[id].items() if unit == "%{LEL}")
    for number in range(5, 16):
        expected = "fault" if number in faults else "ok"
        assert gas_code(id, "%{LEL}", unit_code=code, bits=1 << number) == BY_REASON[expected]
    assert gas_code(id, "%{LEL}", unit_code=code, event=first + 3) == BY_REASON["fault"]
    assert gas_code(id, "%{LEL}", unit_code=code, event=999) == INSTRUMENT_WARNING
    assert gas_code(id, "%{LEL}", unit_code=code, event=2000) == BY_REASON["invalid"]
    if first > 1000:
        assert gas_code(id, "%{LEL}", unit_code=code, event=first - 1) == BY_REASON["invalid"]


@pytest.mark.parametrize("id", FAULTS)
def test_no_state_but_the_normal_one_passes_for_a_clean_measurement(id: str) -> None:
    code = next(code for code, unit in UNIT_CODES[id].items() if unit == "%{LEL}")
    good = [state for state in range(64) if gas_code(id, "%{LEL}", unit_code=code, state=state) == 0]
    assert good == [1]


@pytest.mark.parametrize("id", GAS)
def test_every_alarm_is_shown_by_an_example(id: str) -> None:
    profile = load_profile(id)
    raised = {name for example in profile.examples for name, item in example.expect.items() if item.value == "1"}
    assert set(profile.alarms) <= raised


@pytest.mark.parametrize("id", GAS)
def test_nothing_claims_to_be_proved_on_a_unit(id: str) -> None:
    assert load_profile(id).proved == "nothing"


def test_a_midas_set_to_ppb_is_in_ppm() -> None:
    step = point_step(load_profile("honeywell-midas"), "gas", unit="[ppm]")
    assert step.unit_from is not None
    assert step.unit_from.accepted == (1, 2)


def test_an_inhibited_head_has_no_number_whatever_it_holds() -> None:
    inhibited = {"honeywell-xnx": (3, 5), "honeywell-xcd": (3, 5), "honeywell-xrl": (3, 1)}
    for id, (state, code) in inhibited.items():
        assert CODES[gas_code(id, "%{LEL}", unit_code=code, state=state)].reason == "inhibited"


def own_alarm(id: str, name: str, words: tuple[int, ...]) -> tuple[object, str]:
    """What one alarm of an instrument comes to when its block holds these words from its first register on."""
    (block,) = plan_device(load_profile(id), {name: PointChoice()})
    values, codes = compile_block(block)(words[-block.count :])
    return values[0], CODES[0 if codes is None else codes[0]].reason


@pytest.mark.parametrize("id", ["honeywell-xnx", "honeywell-xcd", "honeywell-xcd-rfd", "honeywell-xrl"])
@pytest.mark.parametrize(("state", "word"), [(2, "warm_up"), (3, "inhibited"), (12, "calibrating")])
def test_an_alarm_bit_of_a_head_that_does_not_watch_is_no_calm(id: str, state: int, word: str) -> None:
    profile = load_profile(id)
    with_beat = profile.alarms["a1"].heartbeat is not None
    beat = (0,) if with_beat else ()
    assert own_alarm(id, "a1", (0, 1, *beat)) == (0, "ok")
    assert own_alarm(id, "a1", (0, state, *beat)) == (None, word)
    assert own_alarm(id, "a2", (2, 99, *beat)) == (1, "instrument_warning")
    for bit in FAULTS.get(id, ((5,), 1100))[0]:
        assert own_alarm(id, "a2", (2 | 1 << bit, 1, *beat)) == (1, "instrument_warning")
        assert own_alarm(id, "a2", (1 << bit, 1, *beat)) == (0, "instrument_warning")


@pytest.mark.parametrize("state", range(16))
def test_a_gas_head_that_cannot_alarm_shows_no_calm(state: int) -> None:
    value, reason = own_alarm("gas-head-10reg", "high-alarm", (state,))
    assert ((value, reason) == (0, "ok")) == (state in (1, 4, 5, 0xB, 0xC))
    assert ((value, reason) == (1, "ok")) == (state == 6)


@pytest.mark.parametrize("status", range(16))
def test_a_relay_of_a_detcon_is_judged_against_how_it_normally_is(status: int) -> None:
    """Four bits: energised and normally energised, of the alarm relay and of the fault relay."""
    alarm, alarm_normal, fault, fault_normal = (bool(status >> bit & 1) for bit in range(4))
    word = alarm << 3 | alarm_normal << 5 | fault | fault_normal << 2
    expected = "ok" if fault == fault_normal else "instrument_warning"
    assert own_alarm("detcon-1000", "a1", (word,)) == (int(alarm != alarm_normal), expected)
    assert own_alarm("detcon-1000", "a2", (alarm << 7 | alarm_normal << 9,)) == (int(alarm != alarm_normal), "ok")
    (block,) = plan_device(load_profile("detcon-1000"), {"gas": PointChoice()})
    assert (block.address, block.count) == (2, 4)
    values, codes = compile_block(block)((7, 10, 20, word))
    assert (values[0], codes) == ((7, None) if fault == fault_normal else (None, (BY_REASON["fault"],)))


def test_the_unit_of_a_midas_is_the_high_byte_whatever_its_decimals() -> None:
    (block,) = plan_device(load_profile("honeywell-midas"), {"gas": PointChoice(unit="%{LEL}")})
    for decimals in range(4):
        words = (1, 0, 0, 0x4248, 0, 0, 0x0800 | decimals, 0, 0, 0)
        assert compile_block(block)(words) == ((50.0,), None)
    assert compile_block(block)((1, 0, 0, 0x4248, 0, 0, 0x0008, 0, 0, 0))[1] == (UNIT_MISMATCH,)
