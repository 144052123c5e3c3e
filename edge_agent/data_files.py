"""Where the data files that come with the distribution live: rule packs, example sites, schemas.

They are data, not a package: an installed wheel puts them under ``share/qianshao`` of its
environment, a source tree has them beside the rooms, and ``QIANSHAO_DATA`` overrides both.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from edge_agent.errors import ConfigError

_SOURCE_TREE = Path(__file__).resolve().parent.parent
_ENVIRONMENT_ROOT = Path(sys.prefix)


def data_dir(
    environment: Mapping[str, str] = os.environ, prefix: Path = _ENVIRONMENT_ROOT, source: Path = _SOURCE_TREE
) -> Path:
    """Returns the directory that holds ``config/``.

    A source tree wins over an installed copy, so that an edited file is the one in use.

    Raises:
        ConfigError: there is none; the message lists where it was sought.
    """
    named = environment.get("QIANSHAO_DATA")
    places = [Path(named)] if named else [source, prefix / "share" / "qianshao"]
    for place in places:
        if (place / "config").is_dir():
            return place
    sought = ", ".join(str(place / "config") for place in places)
    raise ConfigError([f"the shipped data files are not there; sought {sought}; set QIANSHAO_DATA"])


def rules_dir() -> Path:
    """Returns the directory of the shipped rule packs.

    Raises:
        ConfigError: there are no data files.
    """
    return data_dir() / "config" / "rules"
