"""A data directory with a real database, and a store on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.database import FILE_NAME, upgrade
from collector.keys import add_gateway, load_signer
from collector.store import Store
from tests.collector.gateways import START_US, Gateway

S = 1_000_000


class Bench:
    """One collector's data directory in virtual time."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.data = folder
        folder.mkdir(parents=True)
        shutil.copy(template, folder / FILE_NAME)
        self.signer = load_signer(folder, create=True)
        self.now_us = START_US + 100 * S
        self.gateway = Gateway()
        self.register(self.gateway)
        self.store = Store(folder / FILE_NAME, lambda: self.now_us)
        self.store.open()

    def register(self, gateway: Gateway) -> None:
        add_gateway(self.data, gateway.signer.public.line(), "test", en="Test", zh="测试")

    def send(self, *messages: tuple[str, bytes], at_us: int = 100 * S, gateway: Gateway | None = None) -> Any:
        """Commits messages as one group that arrived at virtual ``at_us``."""
        sender = gateway or self.gateway
        self.now_us = max(self.now_us, START_US + at_us)
        return self.store.commit([sender.arrival(message, at_us) for message in messages])

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.store.run(lambda db: db.execute(sql).fetchall())
        return found

    def change(self, sql: str, *values: object) -> None:
        """Tampers with the database behind everybody's back."""
        self.store.run(lambda db: db.execute(sql, values))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, made once: applying the schema takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / FILE_NAME
    upgrade(path, START_US)
    return path


@pytest.fixture
def bench(tmp_path: Path, template: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "data", template)
    yield made
    made.store.close()


@pytest.fixture
def make_bench(tmp_path: Path, template: Path) -> Iterator[Callable[[], Bench]]:
    made: list[Bench] = []

    def make() -> Bench:
        made.append(Bench(tmp_path / str(len(made)), template))
        return made[-1]

    yield make
    for item in made:
        item.store.close()
