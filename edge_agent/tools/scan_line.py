"""The loop of a scan: listen, ask pass by pass, then ask the found ones what they are.

It decides nothing: whom to ask says ``scan_state``, what came says ``heard``, what it means
``match``.  Between two calls the state is whole, so stopping anywhere loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edge_agent.errors import ToolError
from edge_agent.tools.asking import Asker
from edge_agent.tools.heard import Idle, Outcome, whole_answers
from edge_agent.tools.heard import joined as all_bytes
from edge_agent.tools.identify import Identified, identify
from edge_agent.tools.match import Candidate
from edge_agent.tools.scan_plan import Kind, Pass, Settings
from edge_agent.tools.scan_state import ScanState, credit, next_question, refuse, take

#: listening before anything is sent (seconds)
LISTEN_S = 3.0
#: after a fast pass replies of slow units may still be on their way
_STRAGGLERS_S = 0.3
#: questions in a row that found no silence to be sent in; each has waited a second for it
_MOST_REFUSALS = 3
#: a look at whether the port is still there (seconds)
_STILL_THERE_S = 0.01


class Line(Protocol):
    """A line that can be opened with settings: our own, or the running agent's."""

    @property
    def settings(self) -> Settings: ...

    @property
    def is_borrowed(self) -> bool: ...

    async def at(self, settings: Settings) -> Asker:
        """Returns the line with these settings; a borrowed one knows its own only."""

    async def close(self) -> None: ...


Show = Callable[[ScanState], None]


@dataclass(slots=True)
class Scan:
    """One scan of one line; ``state`` is always whole."""

    line: Line
    state: ScanState
    identified: list[Identified] = field(default_factory=list)

    async def listen(self, seconds: float = LISTEN_S) -> Idle:
        """Listens and sends nothing; raises ToolError."""
        asker = await self.line.at(self.line.settings)
        return await asker.listen(seconds)

    async def search(self, show: Show) -> None:
        """Asks until all passes are done; may be cancelled at any time.

        Raises:
            ToolError: the port is not there, or its line is never silent.
        """
        asked: Pass | None = None
        refusals = 0
        while True:
            state, question = next_question(self.state)
            if asked is not None and state.now is not asked and asked.kind is not Kind.SLOW:
                # Before the line is set otherwise, and before it is said that nobody else is there.
                await self._stragglers(asked)
                state, question = next_question(self.state)
            self.state, asked = state, state.now
            if question is None or asked is None:
                show(self.state)
                return
            try:
                asker = await self.line.at(asked.settings)
                answer = await asker.ask(question.frame(), asked.wait_s)
            except ToolError as error:
                if asked.kind is not Kind.OTHER:
                    raise
                # Not every driver takes every baud rate and parity; that the port itself is gone shows next.
                await (await self.line.at(self.line.settings)).overhear(_STILL_THERE_S)
                self.state, asked = refuse(self.state, asked, str(error)), None
                continue
            refusals = refusals + 1 if answer.outcome is Outcome.NOT_ASKED else 0
            if refusals >= _MOST_REFUSALS:
                raise ToolError(
                    "the line is never silent, so nothing can be asked; `edge-agent doctor` looks for the reason"
                )
            self.state = take(self.state, question, answer)
            show(self.state)

    async def _stragglers(self, asked: Pass) -> None:
        asker = await self.line.at(asked.settings)
        for frame in whole_answers(all_bytes(await asker.overhear(_STRAGGLERS_S))):
            self.state = credit(self.state, frame, asked)

    async def identify(self, candidates: Sequence[Candidate], show: Callable[[Identified], None]) -> None:
        """Asks each unit that was found what it is; may be cancelled at any time."""
        done = {one.seen.unit_id for one in self.identified}
        # Where only damaged bytes came, the same question again and again shows whether two units share the address.
        seen_units = (*self.state.found, *self.state.only_damaged)
        # Grouped by settings, so that the line is set once for each.
        for seen in sorted(seen_units, key=lambda seen: (str(seen.settings), seen.unit_id)):
            if seen.unit_id in done:
                continue
            asker = await self.line.at(seen.settings)
            one = await identify(asker, seen, candidates, self.state.slow_s)
            self.identified.append(one)
            show(one)
