"""The files that ``edge-agent bench`` runs the agent on: a plain device, a rule pack, a site.

Twenty registers of one device, one connection for each device, a high and a low limit on every point.
"""

from __future__ import annotations

from pathlib import Path

REGISTERS = 20
SEAL_INTERVAL_S = 2.0


def write_site(
    folder: Path, *, devices: int, interval_s: float, port: int, broker_port: int, collector_key: str
) -> Path:
    """Writes profile, rule pack and site file into a folder; returns the site file.

    Args:
        folder: the state directory ``state`` will be in it.
        port: of the Modbus TCP server on this machine that is every device.
        broker_port: 0: the site has no uplink.
        collector_key: a key line.
    """
    for name, text in (("profiles/bench-20.toml", _profile()), ("rules/bench.toml", _RULES)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    parts = [
        'profile_dirs = ["profiles"]\nrule_dirs = ["rules"]',
        '[gateway]\nname = { en = "Benchmark", zh = "性能测试" }\nstate_dir = "state"',
        "[spool]\nquota_mb = 64\nreserve_mb = 8",
    ]
    if broker_port:
        link = f'host = "127.0.0.1"\nport = {broker_port}\ncollector_key = "{collector_key}"'
        parts.append(f"[uplink]\n{link}\nseal_interval_s = {SEAL_INTERVAL_S}")
    parts += [_device(f"d{number:03}", interval_s, port) for number in range(1, devices + 1)]
    site = folder / "site.toml"
    site.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return site


def _profile() -> str:
    head = (
        'id = "bench-20"\nnames = { en = "Plain registers", zh = "普通寄存器" }\nmaker = "none"\nmodel = "none"\n'
        'kind = "other"\nconfidence = "M"\nsources = ["made for measuring; no device"]\n'
    )
    points = (
        f'[points.r{number}]\nnames = {{ en = "register {number}", zh = "寄存器 {number}" }}\n'
        f'quantity = "raw"\nsuffix = "{number}"\naddress = {number - 1}\ntype = "u16"\nresolution = "1"\nunit = "1"\n'
        for number in range(1, REGISTERS + 1)
    )
    return "\n".join((head, *points))


def _device(id: str, interval_s: float, port: int) -> str:
    points = "\n".join(f'[device.points.r{number}]\nrules = ["bench"]' for number in range(1, REGISTERS + 1))
    return (
        f'[[port]]\nid = "{id}"\nkind = "tcp"\nhost = "127.0.0.1"\nport = {port}\n\n'
        f'[[device]]\nid = "{id}"\nname = {{ en = "{id}", zh = "{id}" }}\nport = "{id}"\nunit_id = 1\n'
        f'profile = "bench-20"\ninterval_s = {interval_s:.3f}\n{points}'
    )


_RULES = """\
id = "bench"
en = "limits for measuring"
zh = "性能测试限值"
quantities = ["raw"]
unit = "1"
scheme = "bench"

[[limit]]
name = "high"
en = "high"
zh = "高"
direction = "high"
value = 40000
severity = "orange"
basis = "made for measuring"
mark = "D"

[[limit]]
name = "low"
en = "low"
zh = "低"
direction = "low"
value = -1
severity = "yellow"
basis = "made for measuring"
mark = "D"
"""
