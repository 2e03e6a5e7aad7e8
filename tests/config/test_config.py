"""Configuration file: every problem is one line with file, line and key; unknown keys are rejected."""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from exporter.config import (
    Config,
    ConfigError,
    Discover,
    FolderTarget,
    OrganizationTarget,
    SearchTarget,
    load,
    loads,
)
from exporter.config.schema import Policy
from tests.support.builders import INSTANCE

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
MINIMAL = "targets: [{project: p}]\n"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, "c.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_minimal_configuration_uses_defaults() -> None:
    config = loads("targets:\n  - project: shop-prod\n")
    assert config == Config.model_validate({"targets": [{"project": "shop-prod"}]})


def test_example_contains_every_key_with_its_default() -> None:
    example = load(EXAMPLE)
    default = loads(MINIMAL)
    assert example.cloudsql == default.cloudsql
    assert (example.poll, example.collect, example.state) == (default.poll, default.collect, default.state)
    assert [target.instances for target in example.targets] == [target.instances for target in default.targets]
    assert example.policies == (Policy(),)
    document = yaml.safe_load(EXAMPLE.read_text())

    def keys(section: BaseModel) -> set[str]:
        return set(type(section).model_fields)

    assert set(document) == keys(example)
    for name in ("cloudsql", "poll", "collect", "state"):
        assert set(document[name]) == keys(getattr(example, name)), name
    assert set(document["targets"][0]) == keys(example.targets[0])
    assert set(document["policies"][0]) == keys(example.policies[0])
    assert set(document["policies"][0]["match"]) == keys(example.policies[0].match)


def test_other_targets_of_the_example_are_valid_when_uncommented() -> None:
    example = EXAMPLE.read_text().replace("\n# - ", "\n  - ").replace("\n#   ", "\n    ")
    _, search, folder = loads(example).targets
    assert isinstance(search, SearchTarget)
    assert (search.search, search.instances.exclude[0].pattern) == ("labels.env=prod", ".*-scratch")
    assert folder == FolderTarget(folder="123456789012")


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
        (MINIMAL + "pol:\n  interval: 5m", ["c.yaml:2: pol: unknown key; did you mean poll?"]),
        (MINIMAL + "poll:\n  interval: 5m\n  timeut: 3s", [
            "c.yaml:4: poll.timeut: unknown key; did you mean timeout?"
        ]),
        (MINIMAL + "state:\n  zzz: 1", ["c.yaml:3: state.zzz: unknown key; known here: history, path"]),
        (MINIMAL + "poll: {interval: 300}", [
            "c.yaml:2: poll.interval: must be a duration such as 90s, 5m, 26h, 7d or 1h30m; did you mean 300s?"
        ]),
        (MINIMAL + "poll: {interval: 0s}", ["c.yaml:2: poll.interval: must be longer than 0s"]),
        (MINIMAL + "poll:\n  timeout: 1s\n  timeout: 2s", ["c.yaml:4: poll.timeout: is given twice"]),
        (MINIMAL + "poll: {concurrency: '8'}", ["c.yaml:2: poll.concurrency: must be a whole number"]),
        ("targets: [{project: 12}]", ["c.yaml:1: targets[0].project: must be text; put it in quotes"]),
        ("targets: [{search: x, project: y}]", [
            "c.yaml:1: targets[0].project: unknown key; known here: impersonate, instances, refresh, search"
        ]),
        ("targets:\n- search: '  '", [
            "c.yaml:2: targets[0].search: must not be empty; state:ACTIVE finds every active project that the account "
            "can see"
        ]),
        ("targets:\n- search: 'name:\"shop'", ["c.yaml:2: targets[0].search: has a quote that is not closed"]),
        ("targets:\n- {project: p}\n- refresh: 1h\n  search: labels.env=prod state:ACTIVE", [
            "c.yaml:4: targets[1].search: must be a single term: Cloud Resource Manager finds the projects that match "
            "any of several terms, and AND, OR and NOT are not supported. To narrow the search down, select instances "
            "by instances.labels; to find more projects, add a second target. Projects that are not active are left "
            "out in any case; a value that contains spaces needs double quotes"
        ]),
        ("targets:\n  - project: p\n    instances:\n      include: ['(']", [
            "c.yaml:4: targets[0].instances.include[0]: is not a regular expression: "
            "missing ), unterminated subpattern at position 0"
        ]),
        ("targets: [{folder: 1, organization: 2}]", [
            "c.yaml:1: targets[0].organization: unknown key; known here: discover, folder, impersonate, instances, "
            "refresh"
        ]),
        ("targets: [{folder: folders/12}]", [
            'c.yaml:1: targets[0].folder: must be its number in quotes, such as "123456789012"'
        ]),
        ("targets: [{organization: true}]", ["c.yaml:1: targets[0].organization: must be text; put it in quotes"]),
        ("targets: [{search: folders/12}]", [
            'c.yaml:1: targets[0].search: has no field; for all projects below it, write folder: "12" instead of search'
        ]),
        ("targets: [{folder: '1', discover: both}]", [
            "c.yaml:1: targets[0].discover: must be 'auto', 'inventory' or 'walk'"
        ]),
        ("targets: [{search: x, discover: walk}]", [
            "c.yaml:1: targets[0].discover: unknown key; known here: impersonate, instances, refresh, search"
        ]),
        ("targets: [{project: p, impersonate: reader}]", [
            "c.yaml:1: targets[0].impersonate: must be the email address of a service account, such as "
            "reader@ops.iam.gserviceaccount.com"
        ]),
        ("targets:\n- {project: p}\n- {folder: 1}\n- {folder: '1', impersonate: a@b}", [
            "c.yaml:1: targets: targets[1] and targets[2] both search folders/1, with different values of impersonate; "
            "a search is made once for all targets that have it: give both the same value"
        ]),
        ("targets:\n- {folder: 1}\n- {folder: '1', discover: walk}", [
            "c.yaml:1: targets: targets[0] and targets[1] both search folders/1, with different values of discover; a "
            "search is made once for all targets that have it: give both the same value"
        ]),
        (MINIMAL + "poll: {empty_interval: 0s}", ["c.yaml:2: poll.empty_interval: must be longer than 0s"]),
        (MINIMAL + "cloudsql: {endpoint: 'http://example.com'}", [
            "c.yaml:2: cloudsql.endpoint: plain http is for loopback only (localhost, 127.0.0.1, [::1]); use https"
        ]),
        (MINIMAL + "cloudsql: {endpoint: 'http://localhost:99999'}", [
            "c.yaml:2: cloudsql.endpoint: must be a URL such as https://sqladmin.googleapis.com/"
        ]),
        ("targets: [{project: '${PROJECT}'}]", [
            "c.yaml:1: targets[0].project: must be a project id, such as shop-prod or example.com:shop-prod"
        ]),
        (MINIMAL + "cloudsql: {credentials: adcc}", [
            "c.yaml:2: cloudsql.credentials: must be one of: adc, anonymous, {file: key.json} or "
            "{impersonate: ACCOUNT, lifetime: 1h}"
        ]),
        (MINIMAL + "cloudsql: {api_version: v2}", ["c.yaml:2: cloudsql.api_version: must be 'v1' or 'v1beta4'"]),
        (MINIMAL + "policies: [{expected: maybe}]", [
            "c.yaml:2: policies[0].expected: must be 'auto', 'always' or 'never'"
        ]),
        (MINIMAL + "policies: [{max_age: 2d, critical_age: 1d}]", [
            "c.yaml:2: policies[0]: critical_age must not be shorter than max_age"
        ]),
        (MINIMAL + "policies: [{match: {labels: {tier: 1}}}]", [
            "c.yaml:2: policies[0].match.labels.tier: must be text; put it in quotes"
        ]),
        (MINIMAL + "collect: {user_labels: [a-b, a_b]}", [
            "c.yaml:2: collect.user_labels: a-b and a_b map to the same Prometheus label; remove all but one"
        ]),
        (MINIMAL + "collect: {recovery_times: 1h}", ["c.yaml:2: collect.recovery_times: must be true or false"]),
        (MINIMAL + "collect: {recovery_times_every: 0s}", [
            "c.yaml:2: collect.recovery_times_every: must be longer than 0s"
        ]),
    ],
)  # fmt: skip
def test_problem_names_file_line_and_key(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


@pytest.mark.parametrize(
    "query",
    [
        "labels.env=prod labels.team=shop",
        "labels.env=prod\tstate:ACTIVE",
        "labels.env = prod",
        "labels.env=prod AND state:ACTIVE",
        "labels.env=prod OR labels.env=test",
        "NOT labels.env=test",
        "not(labels.env=test)",
        "(labels.env=prod)or(labels.env=test)",
        'name:"shop prod" state:ACTIVE',
        r'name:"the \" prod" state:ACTIVE',
        "name:'shop prod'",
    ],
)
def test_search_of_several_terms_is_rejected_with_the_alternatives(query: str) -> None:
    (problem,) = problems(yaml.safe_dump({"targets": [{"search": query}]}))
    assert problem.startswith("c.yaml:2: targets[0].search: must be a single term")
    assert "instances.labels" in problem
    assert "a second target" in problem


@pytest.mark.parametrize(
    "query",
    [
        "labels.env=prod",
        " labels.env:prod\n",
        "state:ACTIVE",
        "parent:folders/123",
        "id:shop-*",
        "labels.region=or",
        "name:not-*",
        'name:"shop AND prod"',
        r'name:"the \" prod"',
    ],
)
def test_search_of_one_term_is_accepted(query: str) -> None:
    (target,) = loads(yaml.safe_dump({"targets": [{"search": query}]})).targets
    assert isinstance(target, SearchTarget)
    assert target.search == query.strip()


def test_all_problems_are_reported_in_file_order() -> None:
    lines = problems("poll: {interval: x}\ntargets: []\nstate: {pth: 1}")
    assert [line.split(":")[1] for line in lines] == ["1", "2", "3"]


def test_unreadable_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file; name one with --config\.file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"b\.yaml: is not UTF-8 text"):
        load(tmp_path / "b.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_recursive_yaml_is_rejected() -> None:
    assert "is not YAML" in problems("targets: &a [*a]")[0]


def test_relative_key_file_is_resolved_next_to_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(MINIMAL + "cloudsql: {credentials: {file: key.json}}")
    assert load(tmp_path / "c.yaml").cloudsql.credentials.file == tmp_path / "key.json"


def test_empty_section_uses_defaults() -> None:
    assert loads(MINIMAL + "poll:\npolicies:\nstate:\n") == loads(MINIMAL)


def test_first_matching_policy_applies_and_patterns_are_anchored() -> None:
    config = loads(
        MINIMAL
        + """
policies:
  - {match: {instance: order}, max_age: 1h}
  - {match: {project: shop-.*, instance: "ord.*"}, max_age: 2h}
  - {max_age: 3h}
"""
    )
    assert config.policy_for(INSTANCE).max_age == timedelta(hours=2)
    assert loads(MINIMAL).policy_for(INSTANCE).max_age == timedelta(hours=30)


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("{}", True),
        ("{include: [order]}", False),
        ("{include: ['order.*', x]}", True),
        ("{exclude: [orders]}", False),
        ("{labels: {env: prod}}", False),
    ],
)
def test_instances_are_selected_by_anchored_names_and_labels(selector: str, selected: bool) -> None:
    target = loads(f"targets: [{{project: p, instances: {selector}}}]").targets[0]
    assert target.instances.selects(INSTANCE) is selected


@given(st.text(max_size=40))
def test_any_text_loads_or_raises_config_error(text: str) -> None:
    try:
        loads(text)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 (either outcome is fine; a third is not)


def test_folders_and_organizations_are_numbers_with_or_without_quotes() -> None:
    text = "targets: [{folder: 123456789012}, {folder: '7'}, {organization: 1, discover: walk, refresh: 10m}]"
    targets = loads(text).targets
    assert targets == (
        FolderTarget(folder="123456789012"),
        FolderTarget(folder="7"),
        OrganizationTarget.model_validate({"organization": "1", "discover": Discover.WALK, "refresh": "10m"}),
    )
    assert [target.query for target in targets if isinstance(target, FolderTarget | OrganizationTarget)] == [
        "folders/123456789012",
        "folders/7",
        "organizations/1",
    ]


def test_targets_that_share_a_search_may_select_different_instances() -> None:
    text = "targets: [{folder: 1, instances: {include: [a]}}, {folder: 1, refresh: 5m}, {search: x}, {search: x}]"
    assert len(loads(text).targets) == 4
