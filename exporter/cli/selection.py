"""The part of the configured targets that a command polls: `--project` of `status` and `check`."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from exporter.config import Config, InstanceSelector, ProjectTarget, load
from exporter.facts.model import InstanceId
from exporter.polling.shard import Shard
from exporter.runtime import Exporter, system_clock
from exporter.verdict.evaluate import Evaluation


@dataclass(frozen=True, slots=True)
class SelectedProjects(Shard):
    """The part of the work that concerns some projects."""

    projects: frozenset[str] = frozenset()

    def holds_project(self, project: str) -> bool:
        """Whether a project is selected."""
        return project in self.projects

    def holds(self, instance: InstanceId) -> bool:
        """Whether the project of an instance is selected."""
        return instance.project in self.projects


def open_exporter(config_file: Path, projects: Collection[str]) -> Exporter:
    """An exporter without saved state that polls the selected projects, by default all.

    Raises ConfigError or CredentialsError.
    """
    config = load(config_file)
    if not projects:
        return Exporter(lambda: config, system_clock, use_saved_state=False)
    selected = _with_targets_of(config, frozenset(projects))
    shard = SelectedProjects(projects=frozenset(projects))
    return Exporter(lambda: selected, system_clock, shard, use_saved_state=False)


def _with_targets_of(config: Config, projects: frozenset[str]) -> Config:
    """The configuration with the targets that select instances of these projects.

    Searches are among them unless every project is named with all of its instances.
    """
    named = [target for target in config.targets if isinstance(target, ProjectTarget) and target.project in projects]
    searches = [target for target in config.targets if not isinstance(target, ProjectTarget)]
    named_completely = {target.project for target in named if target.instances == InstanceSelector()}
    targets = named if named_completely == projects else [*named, *searches]
    return config.model_copy(update={"targets": tuple(targets)})


def unknown_projects(evaluation: Evaluation, projects: Collection[str]) -> list[str]:
    """The selected projects that no target names or finds."""
    known = {status.project for status in evaluation.projects}
    return [project for project in dict.fromkeys(projects) if project not in known]
