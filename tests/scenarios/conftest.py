"""One running city and one page of it per file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.test_page import ARGUMENTS
from tests.debian_tools import find_tool
from tests.scenarios.city import City

#: a machine that is busy shows everything, and late
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    # A short path: a socket's name holds 107 bytes.
    made = City(tmp_path_factory.mktemp("c"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def page(city: City) -> Iterator[Page]:
    """The city's page in Chromium, in English, open from the beginning."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_tool("chromium"), args=list(ARGUMENTS))
        shown = browser.new_page(viewport={"width": 1280, "height": 900})
        shown.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        shown.goto(f"http://127.0.0.1:{city.http_port}/?lang=en")
        expect(shown.locator("#stream")).to_have_attribute("data-state", "on")
        yield shown
        expect.set_options(timeout=5_000)  # as it is without a word; it holds for every file
        browser.close()
