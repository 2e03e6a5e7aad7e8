"""The configuration file: every mistake is one line with file, line and key; nothing unknown passes."""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from exporter.config import Config, ConfigError, format_duration, load, loads, parse_duration
from exporter.config.schema import Policy
from tests.support.builders import INSTANCE

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
LEAST = "targets: [{project: p}]\n"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, "c.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_three_lines_are_enough() -> None:
    told = loads("targets:\n  - project: shop-prod\n")
    assert told == Config.model_validate({"targets": [{"project": "shop-prod"}]})


def test_the_example_shows_every_key_with_its_default() -> None:
    example = load(EXAMPLE)
    default = loads(LEAST)
    assert example.cloudsql == default.cloudsql
    assert (example.poll, example.collect, example.state) == (default.poll, default.collect, default.state)
    assert [target.instances for target in example.targets] == [target.instances for target in default.targets]
    assert example.policies == (Policy(),)
    shown = yaml.safe_load(EXAMPLE.read_text())

    def keys(section: BaseModel) -> set[str]:
        return set(type(section).model_fields)

    assert set(shown) == keys(example)
    for name in ("cloudsql", "poll", "collect", "state"):
        assert set(shown[name]) == keys(getattr(example, name)), name
    assert set(shown["targets"][0]) == keys(example.targets[0])
    assert set(shown["policies"][0]) == keys(example.policies[0])
    assert set(shown["policies"][0]["match"]) == keys(example.policies[0].match)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["c.yaml: targets: is required"]),
        ("targets:\n", ["c.yaml:1: targets: must be a list"]),
        ("targets: []", ["c.yaml:1: targets: must not be empty"]),
        ("- a", ["c.yaml:1: must be a mapping of keys to values"]),
        ("a: [", ["c.yaml:1: is not YAML: expected the node content, but found '<stream end>'"]),
        ("targets: [{projet: p}]", [
            "c.yaml:1: targets[0].project: is required",
            "c.yaml:1: targets[0].projet: unknown key; did you mean project?",
        ]),
        (LEAST + "pol:\n  interval: 5m", ["c.yaml:2: pol: unknown key; did you mean poll?"]),
        (LEAST + "poll:\n  interval: 5m\n  timeut: 3s", ["c.yaml:4: poll.timeut: unknown key; did you mean timeout?"]),
        (LEAST + "state:\n  zzz: 1", ["c.yaml:3: state.zzz: unknown key; known here: path"]),
        (LEAST + "poll: {interval: 300}", [
            "c.yaml:2: poll.interval: must be a duration such as 90s, 5m, 26h, 7d or 1h30m; did you mean 300s?"
        ]),
        (LEAST + "poll: {interval: 0s}", ["c.yaml:2: poll.interval: must be longer than 0s"]),
        (LEAST + "poll:\n  timeout: 1s\n  timeout: 2s", ["c.yaml:4: poll.timeout: is given twice"]),
        (LEAST + "poll: {concurrency: '8'}", ["c.yaml:2: poll.concurrency: must be a whole number"]),
        ("targets: [{project: 12}]", ["c.yaml:1: targets[0].project: must be text; put it in quotes"]),
        ("targets: [{search: x, project: y}]", [
            "c.yaml:1: targets[0].project: unknown key; known here: instances, refresh, search"
        ]),
        ("targets:\n  - project: p\n    instances:\n      include: ['(']", [
            "c.yaml:4: targets[0].instances.include[0]: is not a regular expression: "
            "missing ), unterminated subpattern at position 0"
        ]),
        (LEAST + "cloudsql: {endpoint: 'http://example.com'}", [
            "c.yaml:2: cloudsql.endpoint: plain http is for loopback only (localhost, 127.0.0.1, [::1]); use https"
        ]),
        (LEAST + "cloudsql: {endpoint: 'http://localhost:99999'}", [
            "c.yaml:2: cloudsql.endpoint: must be a URL such as https://sqladmin.googleapis.com/"
        ]),
        ("targets: [{project: '${PROJECT}'}]", [
            "c.yaml:1: targets[0].project: must be a project id, such as shop-prod or example.com:shop-prod"
        ]),
        (LEAST + "cloudsql: {credentials: adcc}", [
            "c.yaml:2: cloudsql.credentials: must be one of: adc, anonymous, {file: key.json} or "
            "{impersonate: ACCOUNT, lifetime: 1h}"
        ]),
        (LEAST + "cloudsql: {api_version: v2}", ["c.yaml:2: cloudsql.api_version: must be 'v1' or 'v1beta4'"]),
        (LEAST + "policies: [{expected: maybe}]", [
            "c.yaml:2: policies[0].expected: must be 'auto', 'always' or 'never'"
        ]),
        (LEAST + "policies: [{max_age: 2d, critical_age: 1d}]", [
            "c.yaml:2: policies[0]: critical_age must not be shorter than max_age"
        ]),
        (LEAST + "policies: [{match: {labels: {tier: 1}}}]", [
            "c.yaml:2: policies[0].match.labels.tier: must be text; put it in quotes"
        ]),
        (LEAST + "collect: {user_labels: [a-b, a_b]}", [
            "c.yaml:2: collect.user_labels: a-b and a_b become one and the same Prometheus label; keep one of them"
        ]),
        (LEAST + "collect: {recovery_times: true}", [
            "c.yaml:2: collect.recovery_times: is not available in this release; leave it false"
        ]),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_file_line_and_key(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    told = problems("poll: {interval: x}\ntargets: []\nstate: {pth: 1}")
    assert [line.split(":")[1] for line in told] == ["1", "2", "3"]


def test_a_file_that_is_missing_or_no_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file; name one with --config\.file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"b\.yaml: is not UTF-8 text"):
        load(tmp_path / "b.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_yaml_that_refers_to_itself_is_refused() -> None:
    assert "is not YAML" in problems("targets: &a [*a]")[0]


def test_a_relative_key_file_lies_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(LEAST + "cloudsql: {credentials: {file: key.json}}")
    assert load(tmp_path / "c.yaml").cloudsql.credentials.file == tmp_path / "key.json"


def test_a_section_with_nothing_in_it_means_its_defaults() -> None:
    assert loads(LEAST + "poll:\npolicies:\nstate:\n") == loads(LEAST)


def test_the_first_policy_that_matches_holds_and_patterns_are_anchored() -> None:
    told = loads(
        LEAST
        + """
policies:
  - {match: {instance: order}, max_age: 1h}
  - {match: {project: shop-.*, instance: "ord.*"}, max_age: 2h}
  - {max_age: 3h}
"""
    )
    assert told.policy_for(INSTANCE).max_age == timedelta(hours=2)
    assert loads(LEAST).policy_for(INSTANCE).max_age == timedelta(hours=30)


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("{}", True),
        ("{include: [order]}", False),
        ("{include: ['order.*', x]}", True),
        ("{exclude: [orders]}", False),
        ("{labels: {env: prod}}", False),
    ],
)
def test_instances_are_chosen_by_anchored_names_and_labels(selector: str, chosen: bool) -> None:
    target = loads(f"targets: [{{project: p, instances: {selector}}}]").targets[0]
    assert target.instances.selects(INSTANCE) is chosen


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("26h", 93600), ("7d", 604800), ("1w", 604800), ("1h30m", 5400), ("250ms", 0.25)],
)
def test_durations_are_those_of_prometheus(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "5 m", "m", "-5m", "1.5h", "30m1h", "5min", None, 5, True, "999999999y"])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (3600, "1h"), (97200, "1d 3h"), (97261, "1d 3h"), (72001, "20h"), (-90, "-1m 30s")],
)
def test_durations_are_written_in_two_units(seconds: int, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@given(st.text(max_size=40))
def test_no_text_is_more_than_a_list_of_problems(text: str) -> None:
    try:
        loads(text)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 (either outcome is fine; a third is not)
