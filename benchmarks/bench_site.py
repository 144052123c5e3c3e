"""Site files for the benchmarks: plain Modbus TCP devices, one connection each, limits on every point."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REGISTERS = 20
#: beyond the high limit of ``rules/bench.toml``
ALARM_VALUE = 5000
#: the point whose register the alarm benchmark writes to
ALARM_POINT = 7
PROFILES = Path(__file__).resolve().parent / "profiles"
RULES = PROFILES.parent / "rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is polled."""

    devices: int
    interval_s: float = 1.0
    seal_interval_s: float = 2.0
    #: of each device; there is a profile ``plain-N`` for it
    registers: int = REGISTERS
    #: of the spool
    quota_mb: int = 256

    @property
    def readings_per_s(self) -> float:
        return self.devices * self.registers / self.interval_s

    @property
    def name(self) -> str:
        return f"{self.devices} x {self.registers} every {self.interval_s:g} s"


def device_host(number: int) -> str:
    """Returns the loopback address of a device of the bank, counted from 0."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


def site_text(load: Load, *, state_dir: Path, bank_port: int, broker_port: int, collector_key: str) -> str:
    """Returns a whole site file; without a broker port it has no uplink.

    Args:
        collector_key: a key line.
    """
    parts = [
        f'profile_dirs = ["{PROFILES}"]\nrule_dirs = ["{RULES}"]\n',
        f'[gateway]\nname = {{ en = "Benchmark", zh = "基准测试" }}\nstate_dir = "{state_dir}"\n',
        f"[spool]\nquota_mb = {load.quota_mb}\nreserve_mb = 16\nretention_days = 1\n",
    ]
    if broker_port:
        parts.append(
            f'[uplink]\nhost = "127.0.0.1"\nport = {broker_port}\n'
            f'collector_key = "{collector_key}"\nseal_interval_s = {float(load.seal_interval_s)}\n'
            # One gateway alone needs no patience for the sake of a fleet; the usual bound is 60 s.
            "reconnect_most_s = 5.0\n"
        )
    for number in range(load.devices):
        parts.append(_device(number, load, bank_port))
    return "\n".join(parts)


def _device(number: int, load: Load, bank_port: int) -> str:
    id = f"d{number + 1:02}"
    lines = [
        f'[[port]]\nid = "{id}"\nkind = "tcp"\nhost = "{device_host(number)}"\nport = {bank_port}',
        f'[[device]]\nid = "{id}"\nport = "{id}"\nunit_id = 1\nprofile = "plain-{load.registers}"\n'
        f"interval_s = {float(load.interval_s)}",
        f'name = {{ en = "{id}", zh = "{id}" }}',
    ]
    for register in range(1, load.registers + 1):
        rules = "bench.counter" if register == 1 else "bench.slow"
        lines.append(f'[device.points.r{register}]\nrules = ["{rules}"]')
    return "\n".join(lines) + "\n"
