"""The configuration in force as YAML."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Config, effective_yaml, loads, parse_duration
from exporter.config.duration import exact_duration
from tests.support.builders import config

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
FULL = """
cloudsql: {credentials: {impersonate: sa@p.iam.gserviceaccount.com, lifetime: 90m}, requests_per_minute: 7}
targets:
  - project: example.com:shop
    instances: {include: ["a.*", "<b>"], exclude: ["\\u202eevil"], labels: {env: "yes", url: "http://["}}
  - {search: 'labels.env="a b"', refresh: 100ms, impersonate: reader@ops.iam.gserviceaccount.com}
  - {folder: "12", discover: walk}
  - {organization: "1", instances: {labels: {team: a}}}
poll: {interval: 1h30m, stale_after: 26h}
policies:
  - {match: {labels: {team: "7"}}, expected: never, max_age: 36h1ms, allowed_locations: [eu]}
  - {min_retained: 3, grace: 0s}
state: {path: null}
"""


@pytest.mark.parametrize("text", [FULL, EXAMPLE.read_text(), "targets: [{project: p}]"])
def test_the_configuration_in_force_is_read_as_the_same_one(text: str) -> None:
    settings = loads(text)
    assert loads(effective_yaml(settings)) == settings


def test_every_key_is_there_with_its_default() -> None:
    text = effective_yaml(loads("targets: [{project: p}]"))
    assert "credentials: adc\n" in text
    assert "  interval: 5m\n" in text
    assert "  history: 400d\n" in text
    assert "quota_project: null\n" in text


def test_a_key_file_is_named_and_not_read(tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text('{"private_key_id": "abc123", "private_key": "secret"}')
    text = effective_yaml(loads(f"cloudsql: {{credentials: {{file: {key}}}}}\ntargets: [{{project: p}}]"))
    assert f"file: {key}\n" in text
    assert "abc123" not in text
    assert "secret" not in text


@pytest.mark.parametrize("endpoint", ["HTTPS://user:hunter2@proxy.example:8443/sql/", "http://hunter2@127.0.0.1:1/"])
def test_user_and_password_of_a_url_are_left_out(endpoint: str) -> None:
    text = effective_yaml(config(endpoint))
    assert "hunter2" not in text
    assert "user" not in text.replace("user_labels", "")
    urls = ("endpoint", "resource_manager_endpoint", "cloud_asset_endpoint")
    both = config(cloudsql=dict.fromkeys(urls, endpoint))
    assert "hunter2" not in effective_yaml(both)
    assert loads(text).cloudsql.endpoint in ("https://proxy.example:8443/sql/", "http://127.0.0.1:1/")


@given(st.integers(0, 10**12))
def test_an_exact_duration_is_read_as_the_same_one(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(exact_duration(duration)) == duration


def test_a_configuration_is_not_changed_by_writing_it() -> None:
    settings: Config = loads(FULL)
    before = settings.model_copy(deep=True)
    effective_yaml(settings)
    assert settings == before
