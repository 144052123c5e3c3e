"""Serves the page with the made-up city of the tests, to look at it: ``python -m tests.collector.web.preview``."""

from __future__ import annotations

import argparse
import asyncio
import math
from contextlib import suppress
from pathlib import Path

import uvicorn

from collector.web.app import STATIC, create_app, wall_us
from tests.collector.web.fake_city import GATEWAY, INFO, FakeChanges, FakeCity


async def _live(city: FakeCity, changes: FakeChanges) -> None:
    while True:
        await asyncio.sleep(1)
        city.now_us = wall_us()
        for gateway, key in [*city.point_views]:
            if gateway == GATEWAY:
                city.set_value(key, city.point_views[gateway, key].value)
        city.set_value("well-1/ch4", round(40 + 15 * math.sin(city.now_us / 1e7), 1))
        city.set_value("main-1/pressure", round(0.31 + 0.004 * math.sin(city.now_us / 4e6), 3))
        changes.tell(*(name for name in city.point_views if name[0] == GATEWAY))


async def serve(port: int, *, is_live: bool, static: Path) -> None:
    """Serves until it is stopped."""
    city, changes = FakeCity(now_us=wall_us()), FakeChanges()
    app = create_app(queries=city, actions=city, changes=changes, info=INFO, static=static)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    living = asyncio.create_task(_live(city, changes)) if is_live else None
    await server.serve()
    if living is not None:
        living.cancel()
        with suppress(asyncio.CancelledError):
            await living


def main() -> None:
    """Reads the options and serves."""
    parser = argparse.ArgumentParser(description="the page with made-up data")
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--still", action="store_true", help="no value changes")
    parser.add_argument("--static", type=Path, default=STATIC, help="another folder of scripts and styles")
    options = parser.parse_args()
    print(f"http://127.0.0.1:{options.port}/")
    asyncio.run(serve(options.port, is_live=not options.still, static=options.static))


if __name__ == "__main__":
    main()
