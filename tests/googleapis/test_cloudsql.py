"""Pages of listings: items stay apart, whatever one of them contains."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.googleapis.cloudsql import _page, _tolerant_listing
from exporter.scan.parse import json_value
from exporter.scan.source import SourceError
from tests.support.strategies import json_values

KIND = "sql#backupRunsList"


@given(st.lists(json_values, max_size=4), st.none() | st.text())
def test_items_are_those_of_the_tolerant_decoder(items: list[Any], token: str | None) -> None:
    body = json.dumps({"kind": KIND, "items": items, "nextPageToken": token}).encode()
    page, next_token = _page(body, "museum", KIND)
    tolerant = _tolerant_listing(body, "museum")
    assert repr([json_value(item) for item in page.items]) == repr([json_value(bytes(i)) for i in tolerant.items or ()])
    assert next_token == tolerant.next_page_token


@pytest.mark.parametrize("odd", [b'"\\ud800"', b"NaN", b"9" * 5000, b'{"deep": [[[1]]]}'])
def test_an_odd_item_affects_no_other(odd: bytes) -> None:
    page, _ = _page(b'{"items": [{"id": "1"}, %s, {"id": "2"}], "nextPageToken": "t"}' % odd, "museum", KIND)
    assert [json_value(item) for item in (page.items[0], page.items[2])] == [{"id": "1"}, {"id": "2"}]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b'{"items": [] x}', b"\xff", b'{"items": ["\xff"]}', b"[" * 9999]
)
def test_a_body_that_is_no_json_object_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (of several kinds)
        _page(body, "museum", KIND)


@pytest.mark.parametrize("body", [b'{"items": {}}', b'{"items": "x"}', b'{"items": [], "warnings": 5}'])
def test_a_list_that_is_none_is_an_error(body: bytes) -> None:
    with pytest.raises(SourceError, match="in a response about museum is not a list"):
        _page(body, "museum", KIND)


def test_a_body_without_items_is_an_empty_list_unless_it_is_of_another_kind() -> None:
    assert _page(b"{}", "museum", KIND)[0].items == []
    for kind in (b'"sql#operation"', b"null"):
        with pytest.raises(ValueError, match="its kind is"):
            _page(b'{"kind": %s}' % kind, "museum", KIND)
