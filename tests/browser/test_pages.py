"""The pages in a browser: filters, links, keyboard, themes and widths, without and with JavaScript."""

import re
import subprocess
from datetime import timedelta
from urllib.parse import quote, unquote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.support.builders import NOW
from tests.support.hostile import HOSTILE_NAMES

PATHS = (
    *("", "?state=at_risk&q=disk", "?q=no-such-instance", "instances/museum/failing", "instances/museum/replica"),
    *("windows", "windows?project=museum", "deleted", "exporter"),
)
PHONE = {"viewport": {"width": 360, "height": 740}}


def names(page: Page) -> list[str]:
    """The instances in the table."""
    return page.locator("tbody th a").all_inner_texts()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PATHS)
def test_pages_are_accessible(open_page: OpenPage, url: str, path: str, theme: str) -> None:
    page = open_page(url + path, color_scheme=theme)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert len(results.response["passes"]) > 20


def test_the_colors_are_those_of_the_scheme(open_page: OpenPage, url: str) -> None:
    backgrounds = [
        open_page(url, color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert backgrounds == ["rgb(255, 255, 255)", "rgb(21, 24, 27)"]


@pytest.mark.parametrize("path", PATHS)
def test_pages_fit_a_phone(open_page: OpenPage, url: str, path: str) -> None:
    page = open_page(url + path, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("path", ["", "windows?project=museum", "deleted"])
def test_pages_fit_a_phone_with_hostile_names(open_page: OpenPage, hostile_url: str, path: str) -> None:
    page = open_page(hostile_url + path, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_what_is_urgent_what_is_unknown_and_the_legend_are_seen_at_first_sight(open_page: OpenPage, url: str) -> None:
    page = open_page(url, viewport={"width": 1240, "height": 1000})
    bottoms = [
        page.locator(part).evaluate("element => element.getBoundingClientRect().bottom")
        for part in (".as-of", "#counts", ".urgent", ".banner", ".legend", "thead")
    ]
    assert bottoms == sorted(bottoms)
    assert bottoms[-1] < 1000
    assert page.locator(".legend").evaluate("element => element.clientHeight") < 30  # one line
    assert page.locator(".scroll").evaluate("({scrollWidth, clientWidth}) => scrollWidth - clientWidth") == 0
    kinds = page.locator(".strip .day").evaluate_all("days => [...new Set(days.map(day => day.className))]")
    shown = page.locator(".legend .day").evaluate_all("days => days.map(day => day.className)")
    assert sorted(shown) == sorted(kinds)


@pytest.mark.parametrize("javascript", [False, True])
def test_filter_sort_follow_and_go_back(open_page: OpenPage, url: str, javascript: bool) -> None:
    page = open_page(url, java_script_enabled=javascript)
    page.get_by_role("checkbox", name="at risk").check()
    page.get_by_role("checkbox", name="protected", exact=True).check()
    page.get_by_label("Project").fill("museum")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(r"state=at_risk&state=protected&q=&project=museum"))
    filtered = names(page)
    assert "missed" in filtered
    assert "failing" not in filtered
    expect(page.get_by_role("checkbox", name="at risk")).to_be_checked()
    page.get_by_role("link", name="Instance", exact=True).click()
    assert names(page) == sorted(filtered)
    sorted_url = page.url
    page.get_by_role("link", name="missed", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("missed")
    page.go_back()
    assert (page.url, names(page)) == (sorted_url, sorted(filtered))


def test_a_count_selects_its_state_and_clears_it(open_page: OpenPage, url: str) -> None:
    page = open_page(url)
    total = len(names(page))
    count = page.locator(".counts a", has_text="unprotected")
    number = int(count.locator("b").inner_text())
    count.click()
    assert len(names(page)) == number < total
    page.locator(".counts a[aria-current]").click()
    assert len(names(page)) == total


def test_typing_filters_and_keeps_the_focus(open_page: OpenPage, url: str) -> None:
    page = open_page(f"{url}?state=unprotected")
    field = page.get_by_label("Text")
    field.press_sequentially("disk_snapshot")
    expect(page.locator("caption")).to_have_text(re.compile("selected"))
    expect(page).to_have_url(re.compile(r"\?state=unprotected&q=disk_snapshot$"))
    assert "failing" in names(page)
    expect(field).to_be_focused()
    page.reload()
    expect(field).to_have_value("disk_snapshot")


def test_pages_of_10000_instances_follow_each_other_in_order(open_page: OpenPage, fleet_url: str) -> None:
    page = open_page(fleet_url)
    caption = page.locator("caption")
    expect(caption).to_have_text("1 to 100 of 10000 instances")
    page.get_by_role("link", name="Instance", exact=True).click()
    page.wait_for_url("**/?sort=instance")
    first = names(page)
    page.get_by_role("link", name="Next →").click()
    page.wait_for_url("**/?sort=instance&offset=100")
    expect(caption).to_have_text("101 to 200 of 10000 instances")
    second = names(page)
    assert (len(first), len(second), first + second) == (100, 100, sorted(first + second))
    page.get_by_role("link", name="← Previous").click()
    page.wait_for_url("**/?sort=instance")
    assert names(page) == first
    page.goto(f"{fleet_url}?sort=instance&offset=9900")
    expect(caption).to_have_text("9901 to 10000 of 10000 instances")
    assert min(names(page)) > max(second)
    assert page.get_by_role("link", name="Next →").count() == 0


def test_10000_instances_are_filtered(open_page: OpenPage, fleet_url: str) -> None:
    page = open_page(fleet_url)
    page.get_by_label("Text").press_sequentially("database-0005")
    expect(page.locator("caption")).to_have_text("1 to 40 of 40 selected instances")
    assert set(names(page)) == {"database-0005"}
    page.get_by_label("Project").fill("team-039-prod")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("caption")).to_have_text("1 to 1 of 1 selected instance")
    page.get_by_role("link", name="database-0005", exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("database-0005")
    page.go_back()
    expect(page.locator("caption")).to_have_text("1 to 1 of 1 selected instance")


def test_ages_advance_and_a_page_that_is_not_reloaded_loses_its_green(open_page: OpenPage, url: str) -> None:
    page = open_page(url, clock=NOW)
    time = page.locator("footer time.age")
    expect(time).to_have_text("0s ago")
    page.clock.run_for(90_000)
    expect(time).to_have_text("1m 30s ago")
    notice = page.get_by_text("more than 10 minutes old")
    expect(notice).to_be_hidden()
    page.clock.run_for(timedelta(minutes=10) // timedelta(milliseconds=1))
    expect(notice).to_be_visible()
    color = "getComputedStyle(document.querySelector('.badge.protected')).color"
    assert page.evaluate(color) == page.evaluate(color.replace("protected", "exempt"))


def test_the_keyboard_reaches_an_instance(open_page: OpenPage, url: str) -> None:
    page = open_page(url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('tbody') !== null"):
            break
    target = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(target)


LINKABLE = [name for name in HOSTILE_NAMES if name != ".."]  # a browser takes that as a step up, in any encoding


@pytest.mark.parametrize("name", LINKABLE, ids=lambda name: quote(name, safe=""))
def test_hostile_names_are_text_and_lead_to_their_page(open_page: OpenPage, hostile_url: str, name: str) -> None:
    page = open_page(hostile_url)
    assert sorted(names(page)) == sorted(HOSTILE_NAMES)
    page.get_by_role("link", name=name, exact=True).first.click()
    assert page.locator("h1 bdi").inner_text() == name
    assert name in unquote(page.url)


def test_a_terminal_browser_shows_the_page(url: str) -> None:
    text = subprocess.run(["w3m", "-dump", "-cols", "200", url], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607 (Debian's)
    assert "Most urgent: key-revoked in museum" in text
    assert re.search(r"✖ unprotected +failing +.*a restore would lose", text)
    assert re.search(r"As of \d{4}-\d\d-\d\d \d\d:\d\d UTC; newest facts \S+ ago", text)
    assert re.search(r"Last 14 days: ✔ successful .*✖ failed .*– no run", text)


def test_a_terminal_browser_shows_deleted_instances(url: str) -> None:
    command = ["w3m", "-dump", "-cols", "240", f"{url}deleted"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 (Debian's)
    assert re.search(r"former-final +museum +28d ago +▲ expires soon +in 2d, as the API reports +1 +12.0 GiB", text)
    assert "gcloud sql backups patch projects/museum/backups/" in text
