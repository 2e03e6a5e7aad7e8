"""The reference of the web configuration file is complete, and its example is valid."""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from exporter.web.config import load
from exporter.web.config.rules import HEADERS
from exporter.web.config.schema import WebConfigSchema
from tests.support.certificates import authority, issue

TEXT = (Path(__file__).parents[3] / "docs" / "web-configuration.md").read_text(encoding="utf-8")


def keys(section: type[BaseModel]) -> Iterator[str]:
    """Every key of a section and of the sections in it."""
    for name, field in section.model_fields.items():
        yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation)


def test_every_key_and_header_is_documented() -> None:
    named = set(re.findall(r"`([\w-]+)`", TEXT))
    expected = {*keys(WebConfigSchema), *HEADERS}
    assert len(expected) == 26
    assert expected - named == set()


def test_the_example_is_valid(tmp_path: Path) -> None:
    issue(authority()).write(tmp_path, "server")
    example = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[0]
    (tmp_path / "web.yml").write_text(example)
    config = load(tmp_path / "web.yml")
    assert config.tls
    assert list(config.users) == [b"prometheus"]
