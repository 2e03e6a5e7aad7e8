"""Schema of the configuration file: every key, its type and its default."""

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from exporter.config.duration import parse_duration
from exporter.facts.collected import Collection
from exporter.facts.model import Instance

T = TypeVar("T")

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _positive(duration: timedelta) -> timedelta:
    if duration <= timedelta():
        raise ValueError("must be longer than 0s")
    return duration


def _not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    if not items:
        raise ValueError("must not be empty")
    return items


def _project_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]*", text):
        raise ValueError("must be a project id, such as shop-prod or example.com:shop-prod")
    return text


_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_OPERATOR = re.compile(r"(?<![^\s()])(AND|OR|NOT)(?![^\s()])", re.IGNORECASE)


def _search_query(text: str) -> str:
    """A query of one term; whitespace outside double quotes separates terms.

    Google reads several terms as OR: https://cloud.google.com/resource-manager/reference/rest/v3/projects/search
    """
    if not text:
        raise ValueError("must not be empty; state:ACTIVE finds every active project that the account can see")
    if match := re.fullmatch(r"(folder|organization)s/(.*)", text):
        raise ValueError(f'has no field; for all projects below it, write {match[1]}: "{match[2]}" instead of search')
    unquoted = _QUOTED.sub("quoted", text)
    if '"' in unquoted:
        raise ValueError("has a quote that is not closed")
    if len(unquoted.split()) > 1 or _OPERATOR.search(unquoted):
        raise ValueError(
            "must be a single term: Cloud Resource Manager finds the projects that match any of several terms, and "
            "AND, OR and NOT are not supported. To narrow the search down, select instances by instances.labels; to "
            "find more projects, add a second target. Projects that are not active are left out in any case; a value "
            "that contains spaces needs double quotes"
        )
    return text


def _resource_number(value: object) -> object:
    """A number of a folder or organization as text, also if it was written without quotes."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise ValueError('must be its number in quotes, such as "123456789012"')
    return text


def _service_account(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][^\s@/]*@[^\s@/]+", text):
        raise ValueError("must be the email address of a service account, such as reader@ops.iam.gserviceaccount.com")
    return text


def _pattern(text: object) -> re.Pattern[str]:
    if not isinstance(text, str):
        raise ValueError("must be a regular expression in quotes")
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
Pattern = Annotated[re.Pattern[str], BeforeValidator(_pattern)]  # matched against the whole text
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
ProjectId = Annotated[str, AfterValidator(_project_id)]
SearchQuery = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_search_query)]
ResourceNumber = Annotated[str, BeforeValidator(_resource_number), AfterValidator(_number)]
ServiceAccount = Annotated[Text, AfterValidator(_service_account)]
Count = Annotated[int, Field(strict=True, ge=1)]
Flag = Annotated[bool, Field(strict=True)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Credentials(_Section):
    """Credentials that sign requests: application default credentials, none, a key file, or impersonation."""

    kind: Literal["adc", "anonymous", "file", "impersonate"] = "adc"
    file: Path | None = None
    impersonate: Text | None = None
    lifetime: PositiveDuration = timedelta(hours=1)

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: object) -> object:
        match value:
            case "adc" | "anonymous":
                return {"kind": value}
            case {"file": str(file), **rest} if file and not rest:
                return {"kind": "file", "file": file}
            case {"impersonate": str(account), **rest} if account and rest.keys() <= {"lifetime"}:
                return {"kind": "impersonate", "impersonate": account, **rest}
            case _:
                choices = "adc, anonymous, {file: key.json} or {impersonate: ACCOUNT, lifetime: 1h}"
                raise ValueError(f"must be one of: {choices}")


class CloudSql(_Section):
    """Access to the Cloud SQL Admin API."""

    api_version: Literal["v1", "v1beta4"] = "v1"
    endpoint: str | None = None
    resource_manager_endpoint: str | None = None
    backup_dr_endpoint: str | None = None
    cloud_asset_endpoint: str | None = None
    credentials: Credentials = Credentials.model_validate("adc")
    quota_project: Text | None = None
    universe_domain: Text | None = None
    requests_per_minute: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 300

    @field_validator("endpoint", "resource_manager_endpoint", "backup_dr_endpoint", "cloud_asset_endpoint")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            url = urlsplit(value)
            sound = (
                value.isprintable()
                and " " not in value
                and url.scheme in ("http", "https")
                and url.hostname
                and url.port != 0
            )
        except ValueError:  # an invalid port
            sound = False
        if not sound or url.query or url.fragment:
            raise ValueError("must be a URL such as https://sqladmin.googleapis.com/")
        if url.scheme == "http" and url.hostname not in LOOPBACK:
            raise ValueError("plain http is for loopback only (localhost, 127.0.0.1, [::1]); use https")
        return value.rstrip("/") + "/"


class InstanceSelector(_Section):
    """Selection of instances of a project; all of them by default."""

    include: tuple[Pattern, ...] = (re.compile(".*"),)
    exclude: tuple[Pattern, ...] = ()
    labels: Mapping[str, str] = {}

    def selects(self, instance: Instance) -> bool:
        """Whether the instance's name and user labels match."""
        name = instance.id.name
        return (
            any(pattern.fullmatch(name) for pattern in self.include)
            and not any(pattern.fullmatch(name) for pattern in self.exclude)
            and self.labels.items() <= instance.user_labels.items()
        )


class ProjectTarget(_Section):
    """One project, by its project id."""

    project: ProjectId
    instances: InstanceSelector = InstanceSelector()
    impersonate: ServiceAccount | None = None


class SearchTarget(_Section):
    """All active projects that match a Cloud Resource Manager search."""

    search: SearchQuery
    refresh: PositiveDuration = timedelta(hours=1)
    instances: InstanceSelector = InstanceSelector()
    impersonate: ServiceAccount | None = None

    @property
    def query(self) -> str:
        """The name of the search in metrics and messages."""
        return self.search


class Discover(StrEnum):
    """The way to find the projects below a folder or organization; `auto`: the inventory, else the walk."""

    AUTO = "auto"
    INVENTORY = "inventory"  # Cloud Asset Inventory
    WALK = "walk"  # Cloud Resource Manager, folder by folder


class _ScopeTarget(_Section):
    refresh: PositiveDuration = timedelta(hours=1)
    discover: Discover = Discover.AUTO
    instances: InstanceSelector = InstanceSelector()
    impersonate: ServiceAccount | None = None


class FolderTarget(_ScopeTarget):
    """All active projects below a folder, at any depth."""

    folder: ResourceNumber

    @property
    def query(self) -> str:
        """The resource name of the folder."""
        return f"folders/{self.folder}"


class OrganizationTarget(_ScopeTarget):
    """All active projects below an organization, at any depth."""

    organization: ResourceNumber

    @property
    def query(self) -> str:
        """The resource name of the organization."""
        return f"organizations/{self.organization}"


_TARGET_KINDS = ("search", "folder", "organization", "project")


def _target_kind(target: object) -> str:
    kinds = [kind for kind in _TARGET_KINDS if isinstance(target, dict) and kind in target]
    return f"<{kinds[0]}>" if kinds else "<project>"


# The tags are not keys: their brackets tell the loader to leave them out of the path of a problem.
Target = Annotated[
    Annotated[ProjectTarget, Tag("<project>")]
    | Annotated[SearchTarget, Tag("<search>")]
    | Annotated[FolderTarget, Tag("<folder>")]
    | Annotated[OrganizationTarget, Tag("<organization>")],
    Discriminator(_target_kind),
]
SearchingTarget = SearchTarget | FolderTarget | OrganizationTarget  # finds projects


def _one_search_per_query(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """A search is made once for all targets that have it, so it must be the same one."""
    first: dict[str, SearchingTarget] = {}
    for position, target in enumerate(targets):
        if isinstance(target, ProjectTarget):
            continue
        known = first.setdefault(target.query, target)
        for key in ("impersonate", "discover"):
            if getattr(known, key, None) != getattr(target, key, None):
                raise ValueError(
                    f"targets[{targets.index(known)}] and targets[{position}] both search {target.query}, with "
                    f"different values of {key}; a search is made once for all targets that have it: give both the "
                    "same value"
                )
    return targets


class Poll(_Section):
    """Poll schedule and limits."""

    interval: PositiveDuration = timedelta(minutes=5)
    timeout: PositiveDuration = timedelta(seconds=30)
    concurrency: Annotated[int, Field(strict=True, ge=1, le=256)] = 8
    full_listing_every: PositiveDuration = timedelta(hours=6)
    stale_after: PositiveDuration = timedelta(hours=1)
    empty_interval: PositiveDuration = timedelta(hours=1)


class Collect(_Section):
    """Optional data to collect."""

    recovery_times: Flag = False
    recovery_times_every: PositiveDuration = timedelta(hours=1)
    deleted_instances: Flag = False
    backup_dr: Flag = False
    user_labels: tuple[Text, ...] = ()

    @field_validator("user_labels")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        labels = [label_name(name) for name in names]
        twice = sorted({name for name, label in zip(names, labels, strict=True) if labels.count(label) > 1})
        if twice:
            raise ValueError(f"{' and '.join(twice)} map to the same Prometheus label; remove all but one")
        return names

    @property
    def collections(self) -> frozenset[Collection]:
        """The collections that are switched on."""
        return frozenset(collection for collection in Collection if getattr(self, collection))


def label_name(user_label: str) -> str:
    """The Prometheus label that carries a user label: `cost-centre` becomes `label_cost_centre`."""
    return "label_" + re.sub(r"[^a-zA-Z0-9_]", "_", user_label)


class Expected(StrEnum):
    """Whether automated backups are expected of an instance."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Match(_Section):
    """Selection of the instances that a policy applies to; all given fields must match."""

    project: Pattern = re.compile(".*")
    instance: Pattern = re.compile(".*")
    labels: Mapping[str, str] = {}


class Policy(_Section):
    """Requirements for the matching instances. A threshold is exceeded beyond its value, not at it."""

    match: Match = Match()
    expected: Expected = Expected.AUTO
    max_age: PositiveDuration = timedelta(hours=30)
    critical_age: PositiveDuration = timedelta(hours=54)
    max_duration: PositiveDuration = timedelta(hours=6)
    grace: Duration = timedelta(hours=30)
    require_pitr: Flag = False
    max_pitr_lag: PositiveDuration = timedelta(hours=1)
    require_deletion_guard: Flag = False
    min_retained: Count | None = None
    allowed_locations: tuple[Text, ...] | None = None

    @model_validator(mode="after")
    def _ages_in_order(self) -> Self:
        if {"max_age", "critical_age"} <= self.model_fields_set and self.critical_age < self.max_age:
            raise ValueError("critical_age must not be shorter than max_age")
        return self

    def applies_to(self, instance: Instance) -> bool:
        """Whether project, name and user labels of the instance match."""
        return bool(
            self.match.project.fullmatch(instance.id.project)
            and self.match.instance.fullmatch(instance.id.name)
            and self.match.labels.items() <= instance.user_labels.items()
        )


DEFAULT_POLICY = Policy()


class State(_Section):
    """The state that survives a restart."""

    path: Path | None = Path("data")
    history: PositiveDuration = timedelta(days=400)


class Config(_Section):
    """The configuration file."""

    cloudsql: CloudSql = CloudSql()
    targets: Annotated[tuple[Target, ...], AfterValidator(_not_empty), AfterValidator(_one_search_per_query)]
    poll: Poll = Poll()
    collect: Collect = Collect()
    policies: tuple[Policy, ...] = ()
    state: State = State()

    @field_validator("cloudsql", "poll", "collect", "policies", "state", mode="before")
    @classmethod
    def _empty_is_default(cls, value: object, info: ValidationInfo) -> object:
        """A section whose keys are all commented out is null in YAML; it has its defaults."""
        return cls.model_fields[str(info.field_name)].default if value is None else value

    def policy_for(self, instance: Instance) -> Policy:
        """The first matching policy, or the default policy."""
        return next((policy for policy in self.policies if policy.applies_to(instance)), DEFAULT_POLICY)
