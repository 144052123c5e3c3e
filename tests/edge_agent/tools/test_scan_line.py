"""A whole scan in virtual time: who is found, how long it takes, and what is said of whom."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from drivers.frames import FrameRequest, build_exception, build_reply
from drivers.loader import load_profile, shipped_profile_ids
from drivers.matching import Surely
from edge_agent.errors import ToolError
from edge_agent.tools.asking import Asker
from edge_agent.tools.heard import Outcome
from edge_agent.tools.match import candidate, shared_addresses
from edge_agent.tools.scan_line import Scan
from edge_agent.tools.scan_plan import Kind, Settings, first_passes, further_passes
from edge_agent.tools.scan_state import ScanState, from_json, next_question, to_json
from tests.edge_agent.tools.lines import OwnSickLine
from tests.edge_agent.tools.sick_line import (
    Devices,
    SickLine,
    conversation,
    damaging,
    healthy,
    refusing,
    together,
    twins,
)

NINE6 = Settings()
CANDIDATES = tuple(candidate(load_profile(name)) for name in shipped_profile_ids())
KNOWN = tuple(one.known() for one in CANDIDATES)


def scan_of(devices: Devices, *, passes: int = 3, others: Sequence[Settings] = (), **line: object) -> Scan:
    sick = SickLine(devices, **line)  # type: ignore[arg-type]
    state = ScanState(passes=(*first_passes(KNOWN, NINE6)[:passes], *further_passes(others, KNOWN)))
    return Scan(OwnSickLine(sick), state)


async def search(scan: Scan) -> list[int]:
    await scan.search(lambda state: None)
    return sorted(seen.unit_id for seen in scan.state.found)


async def test_the_fast_pass_over_a_silent_line_takes_at_most_12_s_at_9600_8n1() -> None:
    scan = scan_of(healthy())
    scan.state = replace(scan.state, passes=scan.state.passes[1:2])
    assert await search(scan) == []
    assert isinstance(scan.line, OwnSickLine)
    assert (scan.line.line.now_us - 1e6) / 1e6 <= 12.0
    assert len(scan.line.line.sent) == 247


async def test_everybody_who_answers_is_found_also_with_an_exception() -> None:
    scan = scan_of(together(healthy(1, 17, 247), refusing(5, 2), refusing(126, 1)))
    assert await search(scan) == [1, 5, 17, 126, 247]
    by_unit = {seen.unit_id: seen for seen in scan.state.found}
    assert by_unit[5].outcome is Outcome.EXCEPTION
    assert by_unit[5].exception == 2
    assert by_unit[17].seen_in is Kind.FAST
    assert by_unit[1].seen_in is Kind.FACTORY
    assert by_unit[17].delay_s == pytest.approx(0.002, abs=0.0005)


@pytest.mark.parametrize("delay_s", [0.032, 0.05, 0.06, 0.1, 0.15, 0.25, 0.29])
async def test_a_slow_device_is_found_in_the_end(delay_s: float) -> None:
    """VEGAPULS: 50 ms as shipped, 10 to 250 ms by the manual."""
    scan = scan_of(healthy(77, delay_s=delay_s))
    assert await search(scan) == [77]


async def test_a_reply_that_comes_while_the_next_is_asked_belongs_to_the_unit_that_it_names() -> None:
    scan = scan_of(healthy(77, delay_s=0.05), passes=2)
    assert await search(scan) == [77]
    (seen,) = scan.state.found
    assert seen.is_late
    assert seen.delay_s is None


async def test_the_last_address_gets_its_time_too() -> None:
    assert await search(scan_of(healthy(247, delay_s=0.12), passes=2)) == [247]


@pytest.mark.parametrize("all_settings", [False, True])
async def test_other_settings_are_tried_until_somebody_answers_and_the_slow_ones_there_are_looked_for(
    all_settings: bool,
) -> None:
    other, last = Settings(baud=19200, parity="E"), Settings(baud=115200)
    slow = together(healthy(9), healthy(30, delay_s=0.2))
    scan = scan_of(slow, passes=2, others=(Settings(baud=4800), other, last), speaks=other)
    scan.state = replace(scan.state, all_settings=all_settings)
    assert await search(scan) == [9, 30]
    assert {seen.settings for seen in scan.state.found} == {other}
    assert isinstance(scan.line, OwnSickLine)
    assert scan.line.asked_settings == [NINE6, Settings(baud=4800), other, *([last] if all_settings else [])]
    assert scan.state.left_out == (() if all_settings else (last,))


async def test_a_line_where_another_client_talks_is_only_listened_to() -> None:
    sick = SickLine(healthy(1), background=conversation(3, 0.5, 3.0))
    scan = Scan(OwnSickLine(sick), ScanState(passes=first_passes(KNOWN, NINE6)))
    idle = await scan.listen()
    assert idle.is_busy
    assert sick.sent == []
    (talk,) = idle.conversations
    assert (talk.unit_id, talk.function, talk.address, talk.count) == (3, 3, 0, 2)
    assert talk.every_s == pytest.approx(0.5, abs=0.01)
    assert talk.answered == talk.times


async def test_a_scan_that_was_stopped_goes_on_where_it_was() -> None:
    scan = scan_of(healthy(1, 200))
    steps = 0

    def stop(state: ScanState) -> None:
        nonlocal steps
        steps += 1
        if steps == 100:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await scan.search(stop)
    kept = from_json(to_json(scan.state, "bus"), "bus")
    assert kept == scan.state
    assert from_json(to_json(scan.state, "bus"), "other") is None
    assert from_json("{}", "bus") is None
    assert kept is not None
    later = Scan(OwnSickLine(SickLine(healthy(1, 200))), kept)
    assert await search(later) == [1, 200]
    assert isinstance(later.line, OwnSickLine)
    assert 1 not in {frame[0] for frame in later.line.line.sent}


async def test_time_left_falls_and_ends_at_nothing() -> None:
    scan = scan_of(healthy(1))
    left: list[float] = []
    await scan.search(lambda state: left.append(state.seconds_left()))
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(left))
    assert left[0] == pytest.approx(95, abs=10)
    assert left[-1] == 0
    assert next_question(scan.state)[1] is None


async def identified(scan: Scan) -> dict[int, tuple[str, Surely]]:
    await scan.search(lambda state: None)
    await scan.identify(CANDIDATES, lambda one: None)
    return {
        one.seen.unit_id: (one.fits[0].profile, one.fits[0].surely) if one.fits else ("", Surely.UNKNOWN)
        for one in scan.identified
    }


def qd(request: FrameRequest) -> list[tuple[float, bytes]]:
    """A QD transmitter at 1: kPa, 3 decimals, 1.234."""
    if request.unit_id != 1:
        return []
    map_ = {0: 1, 1: 3, 2: 1, 3: 3, 4: 1234, 5: 0, 6: 2000}
    wanted = range(request.address, request.address + request.count)
    if request.function != 3 or any(address not in map_ for address in wanted):
        return [(0.005, build_exception(1, request.function, 2))]
    return [(0.005, build_reply(1, 3, [map_[address] for address in wanted]))]


async def test_a_unit_whose_unit_code_fits_is_told_likely() -> None:
    found = await identified(scan_of(qd, passes=2))
    assert found == {1: ("qd-transmitter", Surely.LIKELY)}


async def test_nothing_is_ever_written() -> None:
    scan = scan_of(together(qd, healthy(9)), passes=2)
    await identified(scan)
    assert isinstance(scan.line, OwnSickLine)
    assert {frame[1] for frame in scan.line.line.sent} <= {1, 2, 3, 4}


async def test_two_units_on_one_address_are_told_and_noise_is_not_taken_for_them() -> None:
    scan = scan_of(together(healthy(4, 7), twins(5)), passes=2)
    await identified(scan)
    tallies = {one.seen.unit_id: one.repeats for one in scan.identified}
    assert shared_addresses(tallies) == (5,)
    noisy = scan_of(damaging(healthy(4, 5, 7), 0.4), passes=2)
    await identified(noisy)
    assert shared_addresses({one.seen.unit_id: one.repeats for one in noisy.identified}) == ()


async def test_a_line_that_is_never_silent_ends_the_scan_in_words() -> None:
    scan = scan_of(healthy(1), is_never_silent=True)
    with pytest.raises(ToolError, match="never silent"):
        await search(scan)
    assert isinstance(scan.line, OwnSickLine)
    assert scan.line.line.sent == []


class Refusing(OwnSickLine):
    """A port whose driver does not take even parity."""

    async def at(self, settings: Settings) -> Asker:
        if settings.parity == "E":
            raise ToolError("the driver does not take it")
        return await super().at(settings)


async def test_settings_that_the_port_does_not_take_are_told_and_left_out() -> None:
    others = (Settings(parity="E"), Settings(baud=4800))
    state = ScanState(passes=(*first_passes(KNOWN, NINE6)[:2], *further_passes(others, KNOWN)))
    scan = Scan(Refusing(SickLine(healthy(3), speaks=Settings(baud=4800))), state)
    assert await search(scan) == [3]
    assert scan.state.refused == ((others[0], "the driver does not take it"),)
