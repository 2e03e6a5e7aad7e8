"""The documents agree with the code and with each other."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from exporter.metrics import catalogue
from scripts.metrics_docs import FILE, document

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
METRICS = [metric.name for section in catalogue.sections() for metric in section.metrics]
METRICS += [metric.name for metric in catalogue.DIRECT_METRICS]


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_code_blocks(text: str) -> str:
    return re.sub(r"^ *(```|~~~).*?^ *\1 *$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub generates for the headings of a document, and explicit ones."""
    text = without_code_blocks(text)
    slugs: Counter[str] = Counter()
    found = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#{1,6} +(.+?)(?: +#+)? *$", text, re.MULTILINE):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(f"{slug}-{slugs[slug]}" if slugs[slug] else slug)
        slugs[slug] += 1
    return found


def broken_links(page: Path) -> list[str]:
    """The links of a page to files of the repository, or to headings of documents, that do not exist."""
    broken = []
    links = re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", read(page))
    pictures = re.findall(r'\b(?:src|srcset)="([^":]+)()"', read(page))
    for target, anchor in links + pictures:
        file = page.parent / target if target else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(read(file))):
            broken.append(f"{page.relative_to(ROOT)}: {target}" + (f"#{anchor}" if anchor else ""))
    return broken


def test_metrics_page_is_current() -> None:
    assert read(FILE) == document(), "run `make docs`"


def test_metric_names_are_unique() -> None:
    assert len(METRICS) == len(set(METRICS))


def test_documented_metrics_are_string_literals_with_the_prefix() -> None:
    """A search for a metric name finds its declaration."""
    documented = set(re.findall(r"^\| `(\w+)` \|", read(FILE), re.MULTILINE))
    assert documented == set(METRICS)
    literals = {
        node.value
        for file in ROOT.glob("exporter/**/*.py")
        for node in ast.walk(ast.parse(read(file)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert documented - literals == set()
    assert {name for name in documented if not name.startswith("cloudsql_backup_")} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_documents_exist(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("# Rate limits and retries", "rate-limits-and-retries"),
        ("## `poll.interval`: how often?", "pollinterval-how-often"),
        ("### A [link](x.md) & more", "a-link--more"),
        ("# State_folder", "state_folder"),
        ("# Twice\n\n# Twice", "twice-1"),
    ],
)
def test_anchors_follow_the_rules_of_github(heading: str, anchor: str) -> None:
    assert anchor in anchors(heading)


def test_headings_in_code_blocks_have_no_anchor() -> None:
    assert anchors("```sh\n# comment\n```\n# Heading\n") == {"heading"}


def test_broken_anchors_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# Heading\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        '# Here\n[a](#here) [b](#gone) [c](other.md#heading) [d](other.md#none) [e](no.md)\n<img alt="f" src="no.png">',
        encoding="utf-8",
    )
    assert broken_links(page) == ["page.md: #gone", "page.md: other.md#none", "page.md: no.md", "page.md: no.png"]


def test_metrics_named_in_the_documents_exist() -> None:
    named = {
        (page.name, name)
        for page in PAGES
        for name in re.findall(r"(?<![:\w])cloudsql_backup_[a-z_]+[a-z]\b(?!:)", read(page))
    }
    assert {(page, name) for page, name in named if name not in METRICS} == set()
