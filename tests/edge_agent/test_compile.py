"""Compiling: every mistake is named with its key, all at once; a good file becomes the plan it says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from drivers.rs485 import Rs485Settings
from edge_agent import config
from edge_agent.compile import compile_site, main
from edge_agent.errors import ConfigError
from edge_agent.plan import Plan, PointPlan
from edge_agent.plan_file import is_current, load_or_compile, load_plan, state_dir_of
from tests.edge_agent.site_files import COLLECTOR, GATEWAY, MAIN, PORTS, SITE, UPLINK, WELL, write_site

ROOT = Path(__file__).parents[2]


def problems_of(folder: Path, text: str) -> list[str]:
    path = write_site(folder, text)
    with pytest.raises(ConfigError) as caught:
        compile_site(path)
    assert caught.value.exit_status == 2
    prefix = f"{path}: "
    return [line.removeprefix(prefix) for line in caught.value.problems]


def point(plan: Plan, key: str) -> PointPlan:
    return next(item for item in plan.points if item.key == key)


# (what is replaced, by what, the key that the problem must name, a word that it must have)
MISTAKES = [
    ("[gateway]", "[gateway]\nspeed = 3", "gateway.speed", "known are name, state_dir"),
    ('name = { en = "Test gateway", zh = "测试网关" }', "", "gateway.name", "is missing"),
    ('zh = "测试网关"', "zh = 7", "gateway.name.zh", "string"),
    ("port = 1884", "port = 99999", "uplink.port", "65535"),
    (COLLECTOR.line(), "no-such-file.key", "uplink.collector_key", "cannot be read"),
    (COLLECTOR.line(), "qianshao-key ed25519 AAAA", "uplink.collector_key", "32 bytes"),
    (
        'host = "127.0.0.1"\nport = 1884',
        'host = "127.0.0.1"\nport = 1884\ntls_ca = "x.pem"',
        "uplink.tls_ca",
        "no file",
    ),
    ('kind = "tcp"', 'kind = "udp"', "port[tcp-1].kind", "'dtu' or 'serial'"),
    ('kind = "tcp"', "", "port[tcp-1].kind", "is missing"),
    ("baud = 9600", "", "port[bus-1].baud", "is missing"),
    ("baud = 9600", 'baud = 9600\nparity = "mark"', "port[bus-1].parity", "'none', 'even' or 'odd'"),
    ("baud = 9600", "baud = 9600\nrs485 = { rts_after_send = true }", "port[bus-1].rs485", "never switched"),
    ("baud = 9600", "baud = 9600\nrs485 = { delay_after_ms = 500 }", "port[bus-1].rs485.delay_after_ms", "100"),
    ("baud = 9600", "baud = 9600\nlisten_only = true\nrs485 = {}", "port[bus-1]", "leave one of them out"),
    ('id = "bus-1"', 'id = "tcp-1"', "port[tcp-1].id", "stands twice"),
    ('id = "bus-1"', 'id = "Bus 1"', "port[Bus 1].id", "small letters"),
    ('id = "main-1"', 'id = "well-1"', "device[well-1].id", "stands twice"),
    ('port = "bus-1"', 'port = "bus-9"', "device[main-1].port", "there are tcp-1, bus-1"),
    ('profile = "keller-30"', 'profile = "keller-99"', "device[main-1].profile", "keller-30"),
    ("unit_id = 2", "unit_id = 300", "device[main-1].unit_id", "255"),
    ("unit_id = 2", "unit_id = true", "device[main-1].unit_id", "integer"),
    ('port = "bus-1"\nunit_id = 2', 'port = "tcp-1"\nunit_id = 1', "device[main-1].unit_id", "'well-1' already"),
    ("interval_s = 2.0", "interval_s = 0.05", "device[main-1].interval_s", "0.1"),
    ("interval_s = 2.0", "interval_s = nan", "device[main-1].interval_s", "not finite"),
    ("[device.points.p1]", "[device.points.p9]", "device[main-1].points.p9", "it has p1"),
    ("[device.points.p1]", '[device.points.p1]\nunit = "furlong"', "device[main-1].points.p1.unit", "bar"),
    ("[device.points.p1]", '[device.points.p1]\nquantity = "speed"', "device[main-1].points.p1.quantity", "known are"),
    ("[device.points.p1]", '[device.points.p1]\nquantity = "ch4"', "device[main-1].points.p1.quantity", "bar"),
    (
        "[device.points.p1]",
        "[device.points.p1]\nlongest_silence_s = 3",
        "device[main-1].points.p1.longest_silence_s",
        "4 s or more",
    ),
    ('["water.pressure.end.v1"]', '["water.v9"]', "device[main-1].points.p1.rules", "water.pressure.end.v1"),
    ('["water.pressure.end.v1"]', '["gas.o2.v1"]', "device[main-1].points.p1.rules", "this point measures pressure"),
    (
        '["water.pressure.end.v1"]',
        '["water.pressure.end.v1"]\nlimits = { low = { value = 5.0, unit = "m" } }',
        "device[main-1].points.p1.limits.low.unit",
        "measures length",
    ),
    (
        '["water.pressure.end.v1"]',
        '["water.pressure.end.v1"]\nlimits = { lowest = { value = 5.0 } }',
        "device[main-1].points.p1.limits.lowest",
        "it has low",
    ),
    (
        '["gas.ch4.adjacent.v1"]',
        '["gas.ch4.adjacent.v1"]\nlimits = { L1 = { value = 99.0 } }',
        "device[well-1].points.gas.limits.L1.value",
        "ceiling",
    ),
]


@pytest.mark.parametrize(("old", "new", "key", "word"), MISTAKES)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, old: str, new: str, key: str, word: str) -> None:
    assert old in SITE
    found = problems_of(tmp_path, SITE.replace(old, new, 1))
    named = [line for line in found if line.startswith(f"{key}: ")]
    assert named, found
    assert any(word in line for line in named), named


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = SITE.replace("port = 15020", "port = 0").replace("baud = 9600", "baud = 9").replace("unit_id = 2", "")
    keys = [line.split(": ")[0] for line in problems_of(tmp_path, text)]
    assert keys == ["port[tcp-1].port", "port[bus-1].baud", "device[main-1].unit_id"]
    text = SITE.replace("keller-30", "keller-99").replace("honeywell-xnx", "x").replace('port = "bus-1"', 'port = "b"')
    keys = [line.split(": ")[0] for line in problems_of(tmp_path, text)]
    assert keys == ["device[well-1].profile", "device[main-1].profile", "device[main-1].port"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"[gateway\nname = 1\n", "line 1"),
        (b"[gateway]\nname = \n", "line 2"),
        (b"[gateway]\nname = '\xff'\n", "line 2: not UTF-8"),
        (b"", "gateway: is missing"),
        (b"port = 3", "port"),
    ],
)
def test_a_file_that_is_no_site_is_refused_with_its_line(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        compile_site(path)
    assert word in str(caught.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        compile_site(tmp_path / "none.toml")


def test_a_wrong_profile_of_the_site_is_named_with_its_own_keys(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    text = (ROOT / "drivers" / "profiles" / "keller-30.toml").read_text()
    (tmp_path / "mine" / "keller-30.toml").write_text(text.replace('unit = "bar"', 'unit = "beer"'))
    found = problems_of(tmp_path, 'profile_dirs = ["mine"]\n' + SITE)
    assert any("keller-30.toml: points.p1.unit" in line and "'beer' is not known" in line for line in found)
    assert "profile_dirs: 'none' is no directory" in problems_of(tmp_path, 'profile_dirs = ["none"]\n' + SITE)[0]


def test_a_wrong_rule_pack_of_the_site_is_named_with_its_own_keys(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "own.toml").write_text('id = "own.v1"\nquantities = ["pressure"]\n')
    found = problems_of(tmp_path, 'rule_dirs = ["packs"]\n' + SITE)
    assert any("own.toml: unit: is missing" in line for line in found)


def test_a_line_that_cannot_carry_the_reads_is_refused_with_numbers(tmp_path: Path) -> None:
    text = SITE.replace("baud = 9600", "baud = 300").replace("interval_s = 2.0", "interval_s = 0.5")
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith("port[bus-1]: its reads need ")
    assert "% of the line's time at 300 baud" in problem


# -- a good file ---------------------------------------------------------------------------


def test_a_site_becomes_the_plan_that_it_says(tmp_path: Path) -> None:
    plan = compile_site(write_site(tmp_path)).plan
    assert (plan.en, plan.zh) == ("Test gateway", "测试网关")
    assert [(port.id, port.kind) for port in plan.ports] == [("tcp-1", "tcp"), ("bus-1", "serial")]
    assert plan.ports[1].device == str(tmp_path / "bus-1")
    assert (plan.ports[1].parity, plan.ports[1].stop_bits) == ("N", 1)
    assert plan.uplink.collector_keys == (COLLECTOR.line(),)
    assert (plan.uplink.seal_interval_s, plan.uplink.metered) == (2.0, False)
    assert plan.spool.quota_bytes > plan.spool.reserve_bytes
    gas = point(plan, "well-1/ch4")
    assert (gas.en, gas.zh) == ("Well 1 · methane", "1号井 · 甲烷")
    assert gas.rules.gas
    assert [rule.unit for rule in gas.rules.limits] == ["%{LEL}"] * len(gas.rules.limits)
    assert all(len(block.points) == len(block.read.points) for block in plan.blocks)
    assert sorted(number for block in plan.blocks for number in block.points) == list(range(len(plan.points)))


def test_direction_by_the_kernel_reaches_the_line_settings_and_outlives_the_plan_file(tmp_path: Path) -> None:
    text = SITE.replace("baud = 9600", "baud = 9600\nrs485 = { delay_after_ms = 2, rx_during_tx = true }")
    plan = compile_site(write_site(tmp_path, text)).plan
    assert plan.ports[1].rs485 == Rs485Settings(delay_after_ms=2, rx_during_tx=True)
    assert Plan.from_bytes(plan.to_bytes()).ports == plan.ports
    assert compile_site(write_site(tmp_path, SITE)).plan.ports[1].rs485 is None


def test_limits_come_in_the_points_unit(tmp_path: Path) -> None:
    plan = compile_site(write_site(tmp_path)).plan
    pressure = point(plan, "main-1/pressure")
    assert (pressure.unit, pressure.kind, pressure.resolution) == ("bar", "f32", Fraction(1))
    low = next(rule for rule in pressure.rules.limits if rule.id.endswith("/low"))
    assert (low.value, low.unit, low.deadband) == (1.4, "bar", 0.1)


def test_a_sites_limit_may_be_in_any_unit_of_the_dimension(tmp_path: Path) -> None:
    change = 'limits = { low_low = { value = 90.0, unit = "kPa", basis = "site survey", set_by = "Li Wei" } }'
    rules = 'rules = ["water.pressure.end.v1"]\n'
    plan = compile_site(write_site(tmp_path, SITE.replace(rules, rules + change + "\n"))).plan
    low_low = next(rule for rule in point(plan, "main-1/pressure").rules.limits if rule.id.endswith("/low_low"))
    assert (low_low.value, low_low.unit, low_low.set_by, low_low.basis) == (0.9, "bar", "Li Wei", "site survey")


def test_points_can_be_left_out_added_and_slowed(tmp_path: Path) -> None:
    extra = "[device.points.tob1]\nread = false\n[device.points.p2]\nread = true\ninterval_s = 60.0\n"
    plan = compile_site(write_site(tmp_path, SITE + extra)).plan
    keys = {item.key: item for item in plan.points if item.key.startswith("main-1/")}
    assert set(keys) == {"main-1/pressure", "main-1/pressure/p2"}
    assert keys["main-1/pressure/p2"].longest_silence_ms == 180_000
    intervals = sorted(block.interval_ms for block in plan.blocks if plan.devices[block.device].id == "main-1")
    assert intervals == [2000, 60_000]
    none = SITE + "[device.points.tob1]\nread = false\n"
    none = none.replace("[device.points.p1]\n", "[device.points.p1]\nread = false\n")
    assert problems_of(tmp_path, none)[0].startswith("device[main-1].points: every point is left out")


def test_phases_are_even_on_a_serial_line_and_zero_on_tcp(tmp_path: Path) -> None:
    more = "".join(
        f'[[device]]\nid = "main-{n}"\nport = "bus-1"\nunit_id = {n + 2}\n'
        'profile = "qd-transmitter"\ninterval_s = 2.0\n'
        for n in (2, 3)
    )
    plan = compile_site(write_site(tmp_path, SITE + more)).plan
    own = [block for block in plan.blocks if plan.ports[plan.devices[block.device].port].kind == "serial"]
    phases = sorted(block.phase_ms for block in own)
    apart = {later - earlier for earlier, later in pairwise(phases)}
    assert phases[0] == 0
    assert max(apart) - min(apart) <= 1
    assert phases[-1] < 2000
    # Two blocks of one device are not asked one after the other.
    in_order = [block.device for block in sorted(own, key=lambda block: block.phase_ms)]
    assert all(earlier != later for earlier, later in pairwise(in_order))
    assert {b.phase_ms for b in plan.blocks if plan.devices[b.device].port == 0} == {0}


def test_alarm_blocks_are_those_with_limits(tmp_path: Path) -> None:
    plan = compile_site(write_site(tmp_path)).plan
    for block in plan.blocks:
        assert block.is_alarm == any(plan.points[number].rules.limits for number in block.points)
    assert any(block.is_alarm for block in plan.blocks)


def test_warnings_name_what_a_person_should_know(tmp_path: Path) -> None:
    text = GATEWAY + PORTS + WELL + MAIN.replace("unit_id = 2", "unit_id = 250")
    warnings = compile_site(write_site(tmp_path, text)).warnings
    assert any(": uplink: there is none" in line for line in warnings)
    assert any(": device[main-1].unit_id: 250: 248 to 255 are reserved" in line for line in warnings)
    no_key = SITE.replace(f'collector_key = "{COLLECTOR.line()}"\n', "")
    assert any(
        ": uplink.collector_key: there is none" in w for w in compile_site(write_site(tmp_path, no_key)).warnings
    )


def test_a_metered_link_seals_rarely_unless_told(tmp_path: Path) -> None:
    metered = SITE.replace("port = 1884\n", "port = 1884\nmetered = true\n")
    assert compile_site(write_site(tmp_path, metered)).plan.uplink.seal_interval_s == 60.0
    told = metered.replace("metered = true\n", "metered = true\nseal_interval_s = 5\n")
    assert compile_site(write_site(tmp_path, told)).plan.uplink.seal_interval_s == 5.0


def test_a_collector_key_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "collector.pub").write_text(f"# the collector\n{COLLECTOR.line('main')}\n")
    plan = compile_site(write_site(tmp_path, SITE.replace(COLLECTOR.line(), "collector.pub"))).plan
    assert plan.uplink.collector_keys == (COLLECTOR.line(),)
    assert str(tmp_path / "collector.pub") in dict(plan.inputs)


def test_the_shipped_example_compiles() -> None:
    compiled = compile_site(ROOT / "config" / "sites" / "first-device.toml")
    assert [item.key for item in compiled.plan.points] == ["main-1/pressure"]


def test_the_committed_schema_is_that_of_the_model() -> None:
    assert config.main(["--check"]) == 0


def test_links_without_an_uplink_are_the_same_site(tmp_path: Path) -> None:
    alone = compile_site(write_site(tmp_path, SITE.replace(UPLINK, ""))).plan
    assert (alone.uplink.host, alone.uplink.collector_keys) == ("", ())


# -- the plan on disk ----------------------------------------------------------------------


def test_a_plan_is_compiled_once_and_again_when_an_input_changes(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    plan_path = tmp_path / "state" / "plan.bin"
    first = load_or_compile(path, plan_path)
    written = plan_path.stat().st_mtime_ns
    assert first == compile_site(path).plan
    assert load_or_compile(path, plan_path) == first
    assert plan_path.stat().st_mtime_ns == written
    path.write_text(SITE.replace("1号井", "一号井"), encoding="utf-8")
    assert not is_current(plan_path.read_bytes())
    assert load_or_compile(path, plan_path).hash != first.hash


def test_a_refused_file_keeps_the_last_good_plan(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    plan_path = tmp_path / "state" / "plan.bin"
    good = load_or_compile(path, plan_path)
    path.write_text(SITE.replace("unit_id = 2", "unit_id = 999"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"device\[main-1\]\.unit_id"):
        load_or_compile(path, plan_path)
    assert load_plan(plan_path) == good


def test_a_damaged_plan_is_compiled_anew(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    plan_path = tmp_path / "state" / "plan.bin"
    plan_path.parent.mkdir()
    plan_path.write_bytes(b"not a plan")
    assert load_or_compile(path, plan_path) == compile_site(path).plan


def test_a_new_profile_in_an_overlay_makes_the_plan_stale(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    plan = compile_site(write_site(tmp_path, 'profile_dirs = ["mine"]\n' + SITE)).plan
    assert is_current(plan.to_bytes())
    shutil.copy(ROOT / "drivers" / "profiles" / "keller-30.toml", tmp_path / "mine")
    assert not is_current(plan.to_bytes())


def test_the_child_says_warnings_and_refusals_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.bin"
    assert main([str(write_site(tmp_path, SITE.replace(UPLINK, ""))), "--out", str(out)]) == 0
    assert "uplink: there is none" in capfd.readouterr().err
    assert main([str(write_site(tmp_path, "")), "--out", str(out)]) == 2
    assert "gateway: is missing" in capfd.readouterr().err
    blocked = write_site(tmp_path) / "plan.bin"
    assert main([str(write_site(tmp_path)), "--out", str(blocked)]) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_the_state_directory_is_found_without_compiling(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    assert state_dir_of(path) == tmp_path / "state"
    bare = write_site(tmp_path, "[gateway]\n")
    assert state_dir_of(bare, {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}) == Path("/var/lib/a")
    assert state_dir_of(bare, {}) == Path("/var/lib/qianshao-agent")


def test_the_daemons_side_never_loads_pydantic() -> None:
    code = (
        "import sys, edge_agent.plan_file, edge_agent.control, edge_agent.readings, edge_agent.health, edge_agent.cli\n"
        "bad = {'pydantic', 'sqlite_utils', 'rich', 'zeroconf'} & set(sys.modules)\n"
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


TIGHT = SITE.replace("interval_s = 2.0", "interval_s = 2.0\ndeadline_s = 2.5")


def test_an_alarm_that_can_miss_its_deadline_is_refused_with_the_numbers(tmp_path: Path) -> None:
    (line,) = problems_of(tmp_path, TIGHT)
    assert line.startswith("device[main-1].deadline_s: main-1/pressure: an alarm can come 3.")
    for part in ("2.5 s are allowed", "the seconds between two readings take 2.0 s", "a shorter interval_s", "budget"):
        assert part in line


def test_an_overrun_can_be_allowed_by_the_file_or_the_person(tmp_path: Path) -> None:
    compiled = compile_site(write_site(tmp_path, TIGHT), allow_overrun=True)
    assert not compiled.allow_overrun
    assert sum("deadline_s: main-1/pressure" in line for line in compiled.warnings) == 1
    compiled = compile_site(write_site(tmp_path, "allow_overrun = true\n" + TIGHT))
    assert compiled.allow_overrun
    assert sum("deadline_s: main-1/pressure" in line for line in compiled.warnings) == 1


def test_deadlines_and_time_outs_are_in_the_plan(tmp_path: Path) -> None:
    text = SITE.replace("interval_s = 2.0", "interval_s = 2.0\ndeadline_s = 20.0\ntimeout_s = 0.3")
    plan = compile_site(write_site(tmp_path, text)).plan
    assert [device.timeout_s for device in plan.devices] == [0.0, 0.3]
    by_alarm = {block.is_alarm: block.deadline_ms for block in plan.blocks if block.device == 1}
    assert by_alarm == {True: 20_000, False: 0}
    own = text.replace("[device.points.p1]", "[device.points.p1]\ndeadline_s = 12.5")
    assert 12_500 in {block.deadline_ms for block in compile_site(write_site(tmp_path, own)).plan.blocks}
    idle = SITE + "[device.points.tob1]\ndeadline_s = 5.0\n"
    warnings = compile_site(write_site(tmp_path, idle)).warnings
    assert any("points.tob1.deadline_s: counts for nothing" in line for line in warnings)


def test_units_behind_one_gateway_are_spread_too(tmp_path: Path) -> None:
    more = WELL.replace('id = "well-1"', 'id = "well-2"').replace("unit_id = 1", "unit_id = 2")
    plan = compile_site(write_site(tmp_path, SITE + more)).plan
    own = [block.phase_ms for block in plan.blocks if plan.devices[block.device].port == 0]
    assert own == [0, 500]
