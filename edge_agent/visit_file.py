"""The records of visits that are not yet safe elsewhere: one small file in the state directory.

It holds what would have to be sealed if the agent ended now: of a running visit its record with the result
``interrupted``, of one that ended a moment ago its record as it was handed to the sealer.  Whoever
starts next seals what it finds; a record that was sealed already has the same id, which makes that harmless.

    msgpack [1, [visit, ...]], each visit as on the wire
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from contracts.errors import ContractError
from contracts.fields import Fields, pack, unpack
from contracts.keys import write_atomically
from contracts.visit import MAX_VISITS, Visit

FILE = "visits.bin"
_FORMAT = 1
_LOG = logging.getLogger(__name__)


def write_visits(folder: Path, visits: Sequence[Visit]) -> None:
    """Replaces the file; without visits there is none.

    Raises:
        OSError: the disk does not take it.
    """
    if not visits:
        (folder / FILE).unlink(missing_ok=True)
        return
    write_atomically(folder / FILE, pack([_FORMAT, [visit.to_wire() for visit in visits]]), mode=0o600)


def read_visits(folder: Path) -> tuple[Visit, ...]:
    """Returns what the last run left; a file that cannot be read is put aside and said."""
    path = folder / FILE
    try:
        f = Fields("visits", unpack(path.read_bytes()), 2)
        f.integer("format", _FORMAT, _FORMAT)
        return tuple(Visit.from_wire(item) for item in f.items("visits", MAX_VISITS))
    except FileNotFoundError:
        return ()
    except (OSError, ContractError) as error:
        aside = path.with_name(path.name + ".damaged")
        _LOG.error("%s cannot be read (%s): it is kept as %s, what it said of visits is not sealed", path, error, aside)
        try:
            path.replace(aside)
        except OSError as refusal:
            _LOG.error("%s cannot be put aside: %s", path, refusal)
        return ()
