"""The report in a browser: accessible, on paper, and on a phone."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from exporter.report.html import html_text
from tests.browser.conftest import OpenPage
from tests.report.test_formats import REPORT
from tests.report.test_summary import instance, missed, report_on


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html_text(REPORT), encoding="utf-8")
    return path.as_uri()


def test_report_is_accessible_with_every_day(open_page: OpenPage, file: str) -> None:
    page = open_page(file)
    page.locator("summary").first.click()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert len(results.response["passes"]) > 20


def test_report_fits_a_phone(open_page: OpenPage, file: str) -> None:
    page = open_page(file, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_every_day_is_printed_on_a4(open_page: OpenPage, file: str) -> None:
    page = open_page(file)
    cell = page.locator("table.days td").first
    assert not cell.is_visible()
    page.emulate_media(media="print")
    assert cell.is_visible()
    printed = page.pdf(prefer_css_page_size=True)
    sizes = {tuple(map(float, size)) for size in re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed)}
    assert sizes
    assert all(abs(width - 595) < 2 and abs(height - 842) < 2 for width, height in sizes)


def test_wide_tables_fit_the_page(open_page: OpenPage, tmp_path: Path) -> None:
    """Names of Google have up to 98 characters."""
    path = tmp_path / "report.html"
    path.write_text(html_text(report_on(instance(*[missed()] * 400, name="n" * 98))), encoding="utf-8")
    page = open_page(path.as_uri(), viewport={"width": 700, "height": 900})  # the width of A4 between its margins
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") == 700
