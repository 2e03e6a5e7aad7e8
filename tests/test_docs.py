"""What is written beside the code agrees with it."""

import re
from pathlib import Path

from exporter.metrics import catalogue
from scripts.metrics_docs import FILE, document

ROOT = Path(__file__).parent.parent


def test_the_metrics_page_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == document(), "run `make docs`"


def test_no_two_metrics_share_a_name() -> None:
    names = [metric.name for section in catalogue.sections() for metric in section.metrics]
    names += [meter.name for meter in catalogue.DIRECT_METRICS]
    assert len(names) == len(set(names))


def test_every_link_within_the_documents_leads_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_metrics_named_in_the_documents_exist() -> None:
    known = {metric.name for section in catalogue.sections() for metric in section.metrics}
    known |= {meter.name for meter in catalogue.DIRECT_METRICS}
    named = {
        (page.name, name)
        for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        for name in re.findall(r"(?<![:\w])cloudsql_backup_[a-z_]+[a-z]\b(?!:)", page.read_text(encoding="utf-8"))
    }
    assert {(page, name) for page, name in named if name not in known} == set()
