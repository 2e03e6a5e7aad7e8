"""deploy/compose: valid files, and Debian's Prometheus and Alertmanager running as `compose.yaml` says.

Addresses and paths of the containers are replaced by those of this machine, and waiting times are shortened.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import __version__
from exporter.cli.demo import demo
from exporter.cli.flags import parse_flags
from exporter.cli.serve import serve
from tests.support.builders import eventually
from tests.support.deploy_tools import tool
from tests.support.dockerfile import DOCKERFILE
from tests.support.processes import fetch, free_port, is_up
from tests.support.promql import with_short_waits

ROOT = DOCKERFILE.parent
FOLDER = ROOT / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
SHIPPED_ALERTMANAGER = {"ALERTMANAGER": "../alertmanager/alertmanager.yml"}
CONFIG = "/etc/cloudsql-backup-exporter/config.yaml"
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(:[-+])?([^}]*)\}")


def interpolate(text: str, variables: dict[str, str]) -> str:
    """The text with variables replaced as Compose does."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        found = variables.get(match[1], "")
        return (match[3] if found else "") if match[2] == ":+" else found or match[3]

    return _VARIABLE.sub(value, text)


@dataclass(frozen=True)
class Service:
    """A service of `compose.yaml`."""

    settings: dict[str, Any]

    def mounts(self) -> dict[str, Path]:
        """The files and folders of this repository, or of the user, by their path in the container."""
        found = {}
        for volume in self.settings["volumes"]:
            source, target = (volume["source"], volume["target"]) if isinstance(volume, dict) else volume.split(":")[:2]
            if source.startswith((".", "/")):
                found[target] = FOLDER / source
        return found

    def volumes(self) -> list[str]:
        """The paths in the container of volumes that Docker manages."""
        short = [volume.split(":") for volume in self.settings["volumes"] if isinstance(volume, str)]
        return [target for source, target, *_ in short if not source.startswith((".", "/"))]

    def unpack(self, folder: Path) -> Path:
        """Link what is mounted into a folder, which then stands for the container's root."""
        for target, source in self.mounts().items():
            path = folder / target[1:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(source)
        for target in self.volumes():
            (folder / target[1:]).mkdir(parents=True, exist_ok=True)
        return folder


def services(**variables: str) -> dict[str, Service]:
    """The services by name, for these variables."""

    def interpolated(value: Any) -> Any:
        match value:
            case dict():
                return {key: interpolated(item) for key, item in value.items()}
            case list():
                return [interpolated(item) for item in value]
            case str():
                return interpolate(value, variables)
        return value

    content = interpolated(yaml.safe_load(FILE.read_text()))
    return {name: Service(settings) for name, settings in content["services"].items()}


def output(*command: object) -> str:
    """What a program prints, which must succeed."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)  # noqa: S603 (fixed)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def schema_problems(text: str, folder: Path) -> str:
    (folder / "compose.yaml").write_text(text)
    result = subprocess.run(  # noqa: S603 (fixed)
        [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", folder / "compose.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout if result.returncode else ""


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("${A:-x}:1", {}, "x:1"),
        ("${A:-x}:1", {"A": ""}, "x:1"),
        ("${A:-x}:1", {"A": "y"}, "y:1"),
        ("${A:+/f}", {}, ""),
        ("${A:+/f}", {"A": "y"}, "/f"),
        ('"$$A"', {"A": "y"}, '"$A"'),
    ],
)
def test_variables_are_replaced_as_compose_does(text: str, variables: dict[str, str], expected: str) -> None:
    assert interpolate(text, variables) == expected


def test_the_file_conforms_to_the_schema_of_compose(tmp_path: Path) -> None:
    text = FILE.read_text()
    assert schema_problems(text, tmp_path) == ""
    assert "volums" in schema_problems(text.replace("    volumes:", "    volums:", 1), tmp_path)


@pytest.mark.parametrize("variables", [{}, SHIPPED_ALERTMANAGER, {"CONFIG": "../../config.example.yaml"}])
def test_everything_that_is_mounted_exists(variables: dict[str, str]) -> None:
    mounts = [source for service in services(**variables).values() for source in service.mounts().values()]
    assert len(mounts) == 9
    assert [source for source in mounts if not source.exists()] == []


def test_containers_are_restricted_and_images_are_exact() -> None:
    for name, service in services().items():
        settings = service.settings
        assert settings["read_only"] is True, name
        assert settings["cap_drop"] == ["ALL"], name
        assert settings["security_opt"] == ["no-new-privileges:true"], name
        assert re.search(r":v?\d+\.\d+\.\d+$", settings["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in settings["ports"]), name
    exporter = services()["exporter"].settings
    assert exporter["image"] == f"cloudsql-backup-exporter:{__version__}"
    assert (FOLDER / exporter["build"]).resolve() == ROOT
    assert exporter["ports"] == ["127.0.0.1:10853:10853"]


def exporter_arguments(folder: Path, **variables: str) -> tuple[list[str], dict[str, str]]:
    """The arguments with which the exporter is run, and its environment."""
    settings = services(**variables)["exporter"].settings
    program = folder / "cloudsql-backup-exporter"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    environment = settings["environment"]
    result = subprocess.run(  # noqa: S603 (fixed)
        [*settings["entrypoint"], *settings["command"]],
        env={"PATH": f"{folder}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines(), environment


def test_the_exporter_runs_the_demo_without_a_configuration(tmp_path: Path) -> None:
    arguments, environment = exporter_arguments(tmp_path)
    options = parse_flags(arguments)
    assert (options.run, options.listen_address) == (demo, [":10853"])
    assert environment["GOOGLE_APPLICATION_CREDENTIALS"] == ""


def test_the_exporter_serves_the_projects_of_a_configuration(tmp_path: Path) -> None:
    variables = {"CONFIG": "./config.yaml", "CREDENTIALS": "./key.json"}
    arguments, environment = exporter_arguments(tmp_path, **variables)
    mounts = services(**variables)["exporter"].mounts()
    options = parse_flags(arguments)
    assert (options.run, mounts[str(options.config_file)]) == (serve, FOLDER / "config.yaml")
    assert mounts[environment["GOOGLE_APPLICATION_CREDENTIALS"]] == FOLDER / "key.json"


def unmounted(service: Service, config: Path) -> list[str]:
    """The files that a configuration of Alertmanager reads, and that are not mounted."""
    named = re.findall(r"^\s*(?:- )?\w+_file: *(\S+)", config.read_text(), re.MULTILINE)
    return [name for name in named if not any(Path(name).is_relative_to(target) for target in service.mounts())]


def test_every_file_that_alertmanager_reads_is_mounted() -> None:
    for variables in ({}, SHIPPED_ALERTMANAGER):
        service = services(**variables)["alertmanager"]
        assert unmounted(service, service.mounts()["/etc/alertmanager/alertmanager.yml"]) == []
    shipped = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
    names = sorted(re.findall(r"_file: /etc/alertmanager/secrets/(\S+)", shipped.read_text()))
    assert names == sorted(re.findall(r"`([a-z-]+)`", (FOLDER / "secrets" / "README.md").read_text()))
    service.settings["volumes"] = [volume for volume in service.settings["volumes"] if "secrets" not in volume]
    assert sorted(Path(name).name for name in unmounted(service, shipped)) == names


def test_grouping_and_inhibition_are_those_of_the_example() -> None:
    mine, shipped = (
        yaml.safe_load((ROOT / "deploy" / folder / "alertmanager.yml").read_text())
        for folder in ("compose", "alertmanager")
    )
    assert mine["inhibit_rules"] == shipped["inhibit_rules"], "copy them from deploy/alertmanager/alertmanager.yml"
    for key in ("group_by", "group_wait", "group_interval", "repeat_interval"):
        assert mine["route"][key] == shipped["route"][key]


@pytest.mark.parametrize("variables", [{}, SHIPPED_ALERTMANAGER])
def test_amtool_accepts_the_configuration(variables: dict[str, str], tmp_path: Path) -> None:
    root = services(**variables)["alertmanager"].unpack(tmp_path)
    assert "SUCCESS" in output("amtool", "check-config", root / "etc/alertmanager/alertmanager.yml")


def test_promtool_accepts_the_configuration_and_finds_the_rules(tmp_path: Path) -> None:
    root = services()["prometheus"].unpack(tmp_path)
    config = root / "etc/prometheus/prometheus.yml"
    checked = output("promtool", "check", "config", config)
    assert "SUCCESS: 1 rule files found" in checked
    assert re.search(r"SUCCESS: \d\d+ rules found", checked)
    (root / "etc/prometheus/cloudsql-backup.rules.yml").unlink()
    missing = subprocess.run(["promtool", "check", "config", config], capture_output=True, text=True, check=False)  # noqa: S603, S607 (fixed)
    assert missing.returncode != 0


def test_grafana_finds_the_dashboards_and_prometheus() -> None:
    all_services = services()
    mounts = all_services["grafana"].mounts()
    provider = yaml.safe_load((mounts["/etc/grafana/provisioning/dashboards"] / "cloudsql-backup.yaml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    home = Path(all_services["grafana"].settings["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == folder
    assert (mounts[folder] / home.name).exists()
    source = yaml.safe_load(mounts["/etc/grafana/provisioning/datasources/prometheus.yaml"].read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert source["datasources"][0]["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]


@contextmanager
def started(*words: str, log: Path, **environment: str) -> Iterator[None]:
    """Run a program until the block ends."""
    with log.open("w") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, env={**os.environ, **environment})  # noqa: S603 (fixed)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def command(service: Service, root: Path) -> list[str]:
    """The command of a service, with the paths of the container replaced by those below `root`."""
    targets = "|".join(re.escape(target) for target in (*service.mounts(), *service.volumes()))
    return [re.sub(f"=({targets})$", rf"={root}\1", word) for word in service.settings["command"]]


def test_alerts_of_the_demo_arrive_in_alertmanager(tmp_path: Path) -> None:
    exporter, prometheus, alertmanager = (services()[name] for name in ("exporter", "prometheus", "alertmanager"))
    addresses = {
        name: f"127.0.0.1:{free_port()}" for name in ("exporter:10853", "prometheus:9090", "alertmanager:9093")
    }
    program = tmp_path / "cloudsql-backup-exporter"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m exporter "$@"\n')
    program.chmod(0o755)
    run_exporter = [
        word.replace("=:10853", f"={addresses['exporter:10853']}")
        for word in (*exporter.settings["entrypoint"], *exporter.settings["command"])
    ]
    environment = {**exporter.settings["environment"], "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    root = prometheus.unpack(tmp_path / "root")
    alertmanager.unpack(root)
    config = root / "etc/prometheus/prometheus.yml"
    text = config.read_text().replace("interval: 30s", "interval: 1s")
    for name, address in addresses.items():
        text = text.replace(name, address)
    rules = root / "etc/prometheus/cloudsql-backup.rules.yml"
    for path, content in ((config, text), (rules, with_short_waits(rules.read_text()))):
        path.unlink()  # the link to the shipped file
        path.write_text(content)

    def listen(name: str) -> str:
        return f"--web.listen-address={addresses[name]}"

    with (
        started(*run_exporter, log=tmp_path / "exporter.log", **environment),
        started(
            *("prometheus-alertmanager", *command(alertmanager, root), listen("alertmanager:9093")),
            log=tmp_path / "alertmanager.log",
        ),
        started(
            *("prometheus", *command(prometheus, root), listen("prometheus:9090")),
            log=tmp_path / "prometheus.log",
        ),
    ):

        def arrived() -> set[str]:
            url = f"http://{addresses['alertmanager:9093']}/"
            if not is_up(f"{url}-/ready"):
                return set()
            return {alert["labels"]["alertname"] for alert in json.loads(fetch(f"{url}api/v2/alerts").text)}

        expected = {"CloudSQLBackupDisabled", "CloudSQLBackupLastRunFailed", "CloudSQLBackupProjectUnreadable"}
        assert eventually(lambda: expected <= arrived()), {
            log.name: log.read_text()[-2000:] for log in tmp_path.glob("*.log")
        }
