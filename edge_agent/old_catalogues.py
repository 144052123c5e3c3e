"""Old catalogues in the spool: those that no batch uses any more go.

A batch says in its signed header which catalogue explains it; nothing beside it is believed.  So the
batches are read through, oldest first and in small pieces, until one is found for every old
catalogue; that one is remembered, and while it is there nothing is read again.  Only to prove that a
catalogue is used by none are all of them read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

from contracts.batch import Header
from contracts.envelope import decode_payload, split
from contracts.errors import ContractError
from contracts.fields import Fields, unpack
from edge_agent.spool import Spool
from edge_agent.spool_thread import SpoolThread

#: batches read in one piece of work, and the rest after it (seconds): readings and alarms come first
_PIECE_ROWS = 100
_REST_S = 0.02


class OldCatalogues:
    """Finds and removes them; one call at a time."""

    def __init__(
        self, spool: SpoolThread, *, sealed_with: Callable[[], Collection[bytes]], rest_s: float = _REST_S
    ) -> None:
        """Takes what it needs.

        Args:
            sealed_with: the catalogue of now, those of batches that the store does not have yet, and those
                of every batch sealed since the last call.
        """
        self._spool = spool
        self._sealed_with = sealed_with
        self._rest_s = rest_s
        #: hash -> row id of a batch that uses it
        self._users: dict[bytes, int] = {}

    async def prune(self) -> int:
        """Removes what no batch uses; returns how many catalogues went.

        Raises:
            SpoolError: the store has failed; nothing of this was removed.
        """
        held = set(self._sealed_with())
        old = {hash for hash in await self._spool.run(Spool.catalogues) if hash not in held}
        users = {hash: id for hash, id in self._users.items() if hash in old}
        here = await self._spool.run(partial(_here, ids=users.values()))
        self._users = users = {hash: id for hash, id in users.items() if id in here}
        after = 0
        while old - users.keys():
            found, last = await self._spool.run(partial(_read_piece, after=after))
            for hash, id in found.items():
                users.setdefault(hash, id)
            if last is None:
                break
            after = last
            await asyncio.sleep(self._rest_s)
        unused = old - users.keys() - set(self._sealed_with())
        if unused:
            await self._spool.run(lambda spool: spool.forget_catalogues(unused))
        return len(unused)


def _here(spool: Spool, *, ids: Iterable[int]) -> set[int]:
    """Returns those of the given row ids that are in the spool."""
    return spool.ask(
        lambda db: {id for id in ids if db.execute("SELECT 1 FROM batch WHERE id=?", (id,)).get is not None}
    )


def _read_piece(spool: Spool, *, after: int) -> tuple[dict[bytes, int], int | None]:
    """Returns the catalogues that some data batches name, and the last row id; None at the end."""
    rows: Any = spool.ask(
        lambda db: db.execute(
            "SELECT id, envelope FROM batch WHERE id>? AND (id>>33)&1=1 ORDER BY id LIMIT ?", (after, _PIECE_ROWS)
        ).fetchall()
    )
    found: dict[bytes, int] = {}
    for id, envelope in rows:
        try:
            header = Header.from_wire(Fields("batch", unpack(decode_payload(split(envelope)[1])), 2).raw())
        except ContractError:
            continue  # its bytes are not those that were written: no catalogue explains them
        found.setdefault(header.catalogue, id)
    return found, rows[-1][0] if rows else None
