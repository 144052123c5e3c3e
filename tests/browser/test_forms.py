"""Forms of an alarm's row in a real browser, while the row changes under the person who fills them in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from collector.inhibit_views import InhibitView
from collector.views import AlarmView
from collector.web.app import wall_us
from tests.browser.test_page import Site, browser, page, site  # noqa: F401  fixtures

pytestmark = [pytest.mark.browser, pytest.mark.ci]


def test_a_form_that_is_filled_in_never_becomes_another_one(page: Page, site: Site) -> None:  # noqa: F811
    """Somebody else acknowledges, or takes it back, while a name stands in the form beside it."""
    trial = replace(site.city.alarm_views[0], decision="nothing", decision_reason="trial", marks=("trial",))
    seen = replace(trial, acknowledged_by="Wang Fang", acknowledged_us=wall_us())

    def show(view: AlarmView) -> None:
        site.city.alarm_views[0] = view
        site.tell(alarms=[view.id])

    row = page.locator(f'[id="a:{trial.id}"]')
    warn, take_back = row.locator('form[action$="/warn"]'), row.locator('form[action$="/unacknowledge"]')
    show(trial)
    row.get_by_text("Make it a real warning").first.click()
    warn.get_by_label("Your name").fill("Li Wei")
    show(seen)
    expect(row.locator(".acknowledged")).to_be_visible()
    expect(warn.get_by_label("Your name")).to_have_value("Li Wei")
    expect(take_back).not_to_be_visible()
    expect(take_back.locator("input[name=by]")).to_have_value("")
    warn.get_by_label("Your name").fill("")
    row.get_by_text("Make it a real warning").first.click()
    row.get_by_text("Take back").first.click()
    take_back.get_by_label("Your name").fill("Li Wei")
    show(trial)
    expect(row.locator('form[action$="/acknowledge"]')).to_be_visible()
    expect(warn).not_to_be_visible()
    expect(warn.locator("input[name=by]")).to_have_value("")


def test_without_scripts_the_second_desk_sees_the_page_and_why(browser: Browser, site: Site) -> None:  # noqa: F811
    """A form that our script does not send is answered with a page."""
    trial = replace(site.city.alarm_views[0], decision="nothing", decision_reason="trial", marks=("trial",))
    site.city.alarm_views[0] = trial
    context = browser.new_context(viewport={"width": 390, "height": 800}, java_script_enabled=False)
    desk = context.new_page()
    desk.set_default_timeout(10_000)
    desk.goto(f"{site.url}?lang=zh")
    row = desk.locator(f'[id="a:{trial.id}"]')
    row.locator(".warn-box summary").click()
    row.locator(".warn-box input[name=by]").fill("Li Wei")
    site.city.warn(trial.id, "Wang Fang", "", "page")  # at another desk
    row.locator(".warn-box button").click()
    expect(desk.locator("#alarms-section .notice.trouble")).to_contain_text("已不在试运行保留之列")
    expect(row).to_contain_text("Wang Fang")
    edges = [desk.locator(f"#alarms-section {part}").bounding_box() for part in (".notice", "#alarms")]
    assert len({(box["x"], box["width"]) for box in edges if box is not None}) == 1, (
        "a notice is as wide as what is below"
    )
    assert [name for _, name, _, _ in site.city.warned] == ["Wang Fang"]
    context.close()


@pytest.mark.parametrize("path", ["?lang=zh", "alarms?lang=zh"])
def test_a_reason_of_one_long_word_stays_inside_its_row_on_a_phone(browser: Browser, site: Site, path: str) -> None:  # noqa: F811
    """An order number has no place to break; what ran out of the row could not be read."""
    now_us = site.city.now_us
    work = InhibitView(since_us=now_us, until_us=now_us + 900_000_000, reason="x" * 200, by="W" * 80)
    for key, point in site.city.point_views.items():
        site.city.point_views[key] = replace(point, is_inhibited=True, inhibit=work)
    site.city.alarm_views[0] = replace(site.city.alarm_views[0], inhibit=work)
    context = browser.new_context(viewport={"width": 390, "height": 800})
    desk = context.new_page()
    desk.goto(f"{site.url}{path}")
    tags = desk.locator(".tag", has_text="xxx")
    expect(tags.first).to_be_visible()
    for tag in tags.all():
        box = tag.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert tag.evaluate("tag => tag.getClientRects().length") == 1, "one frame around all of it"
    context.close()
