"""The control socket's operations on the annunciator.  Known on every gateway; most have none, and say so.

::

    annunciator          {}                     how it stands, and each output
    annunciator-silence  {by}                   the sounder is off until the next new alarm
    annunciator-test     {by, seconds}          beacon and sounder on for so long; answers when they read back on
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from edge_agent.control import Handler, Request, text_of
from edge_agent.errors import ControlError

if TYPE_CHECKING:
    from edge_agent.annunciator import Annunciator

#: seconds
SHORTEST_TEST_S, LONGEST_TEST_S = 1.0, 120.0
_MOST_NAME = 80


class Holder(Protocol):
    """Whoever has it, where there is one."""

    @property
    def annunciator(self) -> Annunciator | None: ...


def annunciator_operations(holder: Holder) -> dict[str, Handler]:
    """Returns operation -> handler for the control server."""

    def there() -> Annunciator:
        if holder.annunciator is None:
            raise ControlError("this gateway drives no annunciator; [annunciator] in the site file would name one")
        return holder.annunciator

    async def status(request: Request) -> Any:
        return there().status()

    async def silence(request: Request) -> Any:
        there().silence(text_of(request, "by", _MOST_NAME))
        return {}

    async def test(request: Request) -> Any:
        seconds = request.get("seconds")
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
            seconds = 0.0
        if not SHORTEST_TEST_S <= seconds <= LONGEST_TEST_S:
            raise ControlError(f"'seconds' is needed: {SHORTEST_TEST_S:g} to {LONGEST_TEST_S:g}", exit_status=2)
        return await there().test(text_of(request, "by", _MOST_NAME), float(seconds))

    return {"annunciator": status, "annunciator-silence": silence, "annunciator-test": test}
