"""A sick line as the tools' loops see a line."""

from __future__ import annotations

from edge_agent.tools.asking import Asker
from edge_agent.tools.scan_plan import Settings
from tests.edge_agent.tools.sick_line import SickLine


class OwnSickLine:
    """Opens the line with whatever settings."""

    def __init__(self, line: SickLine, settings: Settings | None = None, *, is_borrowed: bool = False) -> None:
        self.line = line
        self.settings = settings or Settings()
        self.is_borrowed = is_borrowed
        self.asked_settings: list[Settings] = []

    async def at(self, settings: Settings) -> Asker:
        if not self.asked_settings or self.asked_settings[-1] != settings:
            self.asked_settings.append(settings)
        return Asker(port=self.line.port(settings), char_s=settings.char_s)

    async def close(self) -> None:
        pass
