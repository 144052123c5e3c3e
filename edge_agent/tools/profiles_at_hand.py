"""Every device profile of this gateway, ready for recognising: shipped ones and the gateway's own."""

from __future__ import annotations

import sys

from drivers.errors import ProfileError
from drivers.loader import load_profile, profile_ids, system_dirs
from edge_agent.tools.match import Candidate, candidate


def candidates() -> tuple[Candidate, ...]:
    """Returns what can be recognised; a profile with mistakes is told on stderr and left out."""
    folders = system_dirs()
    found = []
    for name in profile_ids(folders):
        try:
            found.append(candidate(load_profile(name, folders)))
        except ProfileError as error:
            print(error, file=sys.stderr)
    return tuple(found)
