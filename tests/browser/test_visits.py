"""The page of visits in a real browser: found from the main page, both languages, a phone, and back to a point."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_page import Site, browser, site  # noqa: F401  fixtures
from tests.collector.web.fake_city import GATEWAY

pytestmark = [pytest.mark.browser, pytest.mark.ci]


def _open(browser: Browser, width: int) -> Page:  # noqa: F811
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(10_000)
    return page


def test_the_list_is_found_from_the_main_page_and_leads_to_a_point(browser: Browser, site: Site) -> None:  # noqa: F811
    page = _open(browser, 1280)
    page.goto(f"{site.url}?lang=en")
    page.get_by_role("link", name="visits: where to go").click()
    expect(page.get_by_role("heading", name="To be visited")).to_be_visible()
    street = page.locator(".place", has_text="Harbour Road")
    expect(street.locator("tr.errand")).to_have_count(3)
    expect(street.locator(".bring").first).to_contain_text("span gas: methane")
    expect(street).to_contain_text("the last bump test failed")
    page.get_by_label("job").select_option("calibration")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tr.visit")).to_have_count(1)
    expect(page.locator("tr.visit")).to_contain_text("after the work")
    page.locator("tr.visit a").first.click()
    expect(page).to_have_url(re.compile("point="))
    expect(page.locator("#trend-panel")).to_have_attribute("data-key", "well-1/ch4")
    page.close()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_on_a_phone_nothing_runs_off_the_page(browser: Browser, site: Site, language: str) -> None:  # noqa: F811
    page = _open(browser, 360)
    page.goto(f"{site.url}visits?lang={language}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    words = {"en": ("calibration overdue", "not passed"), "zh": ("校准逾期", "未通过")}[language]
    expect(page.locator("#errands")).to_contain_text(words[0])
    expect(page.locator(f'[id="v:{9:032x}"]')).to_contain_text(words[1])
    for cell in page.locator("#errands td").all():
        box = cell.bounding_box()
        assert box is None or (box["x"] >= 0 and box["x"] + box["width"] <= 360)
    expect(page.locator(f'[id="v:{8:032x}"] .figure').first).to_have_attribute(
        "data-label", {"en": "before", "zh": "通气前"}[language]
    )
    assert GATEWAY in page.locator("#errands").inner_text()
    page.close()
