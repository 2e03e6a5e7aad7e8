"""The main page in Firefox: filters, order, links, going back, the dark scheme and the width of a phone."""

from tests.browser.conftest import OpenTab
from tests.support.builders import eventually
from tests.support.firefox import Firefox, Tab


def names(tab: Tab) -> list[str]:
    """The instances in the table."""
    return tab.texts("tbody th a")


def test_filter_sort_follow_and_go_back(open_tab: OpenTab, url: str) -> None:
    tab = open_tab(url)
    tab.click("input[value=at_risk]")
    tab.click("input[value=protected]")
    tab.type("input[name=project]", "museum")
    tab.follow(".filters button")
    assert "?state=at_risk&state=protected&q=&project=museum" in tab.evaluate("location.href")
    filtered = names(tab)
    assert "missed" in filtered
    assert "failing" not in filtered
    assert tab.evaluate("document.querySelector('input[value=at_risk]').checked")
    tab.follow("thead a[href*='sort=instance']")
    assert names(tab) == sorted(filtered)
    sorted_url = tab.evaluate("location.href")
    tab.follow("tbody a[href$='/missed']")
    assert tab.texts("h1 bdi") == ["missed"]
    tab.go_back()
    assert eventually(lambda: tab.evaluate("[location.href, document.readyState]") == [sorted_url, "complete"])
    assert names(tab) == sorted(filtered)


def test_typing_filters_and_keeps_the_focus(open_tab: OpenTab, url: str) -> None:
    tab = open_tab(f"{url}?state=unprotected")
    tab.type("input[name=q]", "disk_snapshot")
    assert eventually(lambda: "?state=unprotected&q=disk_snapshot" in tab.evaluate("location.href"))
    assert "failing" in names(tab)
    assert tab.evaluate("document.activeElement.name") == "q"


def test_the_page_is_dark_where_the_browser_prefers_that(open_tab: OpenTab, url: str) -> None:
    colors = "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
    assert open_tab(url).evaluate(colors) == ["rgb(230, 233, 236)", "rgb(21, 24, 27)"]


def test_the_page_fits_a_phone(open_tab: OpenTab, url: str) -> None:
    tab = open_tab(url, width=360, height=740)
    width = "(({scrollWidth, clientWidth}) => [innerWidth, scrollWidth - clientWidth])(document.documentElement)"
    assert tab.evaluate(width) == [360, 0]


def test_10000_instances_are_sorted_and_paged(open_tab: OpenTab, fleet_url: str) -> None:
    tab = open_tab(f"{fleet_url}?sort=instance")
    tab.follow("a[rel=next]")
    assert tab.texts("caption") == ["101 to 200 of 10000 instances"]
    assert names(tab) == sorted(names(tab))


def test_errors_and_forbidden_styles_are_found(open_tab: OpenTab, firefox: Firefox, url: str) -> None:
    tab = open_tab(url)
    tab.evaluate("document.body.setAttribute('style', 'color: red')")
    tab.evaluate("setTimeout(() => undefinedFunction())")
    found: list[str] = []

    def all_found() -> bool:
        found.extend(firefox.problems())
        return len(found) == 2

    assert eventually(all_found)
    assert "Content-Security-Policy" in found[0]
    assert found[1] == "error: ReferenceError: undefinedFunction is not defined"
