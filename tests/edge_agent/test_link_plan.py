"""What a site says of its link, in the plan: defaults, what is refused, and the way through the stored plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import PayloadError
from edge_agent.compile import compile_site
from edge_agent.errors import ConfigError
from edge_agent.link_plan import LinkPlan
from tests.edge_agent.running_agent import site
from tests.edge_agent.site_files import write_site

parts = st.floats(0.01, 1, allow_nan=False)
links = st.builds(
    LinkPlan,
    live_interval_s=st.floats(0.2, 3600),
    allowance_bytes=st.integers(0, 1 << 50),
    billing_day=st.integers(1, 28),
    warn_at=st.lists(parts, max_size=8).map(lambda found: tuple(sorted(found))),
    thin_from=parts,
    max_bytes_per_s=st.integers(0, 1 << 30),
    interface=st.text(max_size=8),
    first_spread_s=st.floats(0, 300),
    reconnect_most_s=st.floats(0.5, 60),
)


@given(links)
def test_reading_after_writing_is_identity(link: LinkPlan) -> None:
    assert LinkPlan.from_wire(link.to_wire()) == link


def test_a_part_that_is_no_number_is_refused() -> None:
    wire = LinkPlan().to_wire()
    wire[3] = ["half"]
    with pytest.raises(PayloadError, match="warn_at"):
        LinkPlan.from_wire(wire)


def _compiled(folder: Path, more: str) -> LinkPlan:
    uplink = f'[uplink]\nhost = "broker"\n{more}\n'
    return compile_site(write_site(folder, site({"a": 1001}, uplink=uplink))).plan.uplink.link


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", LinkPlan()),
        ("metered = true", LinkPlan()),
        ("seal_interval_s = 0.5", LinkPlan(live_interval_s=0.5)),
        ("allowance_mb = 100\nbilling_day = 28", LinkPlan(allowance_bytes=100_000_000, billing_day=28)),
        ("allowance_warn = [0.9, 0.25]\nallowance_thin = 1", LinkPlan(warn_at=(0.25, 0.9), thin_from=1.0)),
        ('max_bytes_per_s = 2000\ninterface = "wwan0"', LinkPlan(max_bytes_per_s=2000, interface="wwan0")),
        (
            "first_connect_spread_s = 30\nreconnect_most_s = 5",
            LinkPlan(first_spread_s=30.0, reconnect_most_s=5.0),
        ),
    ],
)
def test_what_the_site_file_says(tmp_path: Path, more: str, expected: LinkPlan) -> None:
    assert _compiled(tmp_path, more) == expected


@pytest.mark.parametrize(
    "more",
    [
        "allowance_mb = 0",
        "billing_day = 29",
        "allowance_warn = [1.5]",
        "allowance_thin = 0",
        "max_bytes_per_s = 10",
        "reconnect_most_s = 300",
        "first_connect_spread_s = -1",
    ],
)
def test_what_cannot_be_is_refused_with_its_key(tmp_path: Path, more: str) -> None:
    with pytest.raises(ConfigError, match=more.split(" = ", maxsplit=1)[0]):
        _compiled(tmp_path, more)
