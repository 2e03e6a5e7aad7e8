"""systemd units: valid, hardened, and their commands do what they should.

systemd does not run here as process 1, so no unit is started by it.
"""

import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli.flags import parse_flags
from exporter.runtime import system_clock
from exporter.simulator import WORLDS, SimulatedClock, Simulator, World

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
ALL = sorted(path for path in UNITS.iterdir() if path.suffix in {".service", ".socket", ".timer"})
INSTALLED = "/opt/cloudsql-backup-exporter/bin/cloudsql-backup-exporter"
PROGRAM = Path(sys.executable).with_name("cloudsql-backup-exporter")
MAX_EXPOSURE = 13  # tenths


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed names)


def copy_units(folder: Path, replace: str = "", by: str = "") -> None:
    """Copy all units to a folder, with the program where it is here, and another text replaced."""
    for unit in ALL:
        (folder / unit.name).write_text(unit.read_text().replace(INSTALLED, str(PROGRAM)).replace(replace, by))


def commands(unit: Path, key: str, **variables: str) -> list[list[str]]:
    """The commands of a unit as lists of words, without prefixes, with variables expanded."""
    lines = re.findall(rf"^{key}=\+?(.*)$", unit.read_text(), flags=re.MULTILINE)
    for name, value in variables.items():
        lines = [line.replace(f"${{{name}}}", value).replace(f"${name}", value) for line in lines]
    return [shlex.split(line) for line in lines]


def test_there_are_two_services_a_socket_and_a_timer() -> None:
    assert [path.name.removeprefix("cloudsql-backup-exporter") for path in ALL] == [
        "-textfile.service",
        "-textfile.timer",
        ".service",
        ".socket",
    ]


def test_systemd_accepts_every_unit(tmp_path: Path) -> None:
    copy_units(tmp_path)
    result = analyze("verify", *(tmp_path / unit.name for unit in ALL))
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_systemd_reports_an_unknown_key(tmp_path: Path) -> None:
    copy_units(tmp_path, "DynamicUser=", "DynamicUsers=")
    result = analyze("verify", *(tmp_path / unit.name for unit in ALL))
    assert "Unknown key 'DynamicUsers'" in result.stderr


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.stem)
def test_every_service_is_hardened(service: Path) -> None:
    result = analyze("security", "--offline=true", f"--threshold={MAX_EXPOSURE}", service)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.stem)
def test_a_service_that_is_hardened_less_is_reported(service: Path, tmp_path: Path) -> None:
    copy_units(tmp_path, "DynamicUser=yes\n")
    result = analyze("security", "--offline=true", f"--threshold={MAX_EXPOSURE}", tmp_path / service.name)
    assert result.returncode == 1


def test_the_commands_of_the_service_have_valid_flags() -> None:
    unit = UNITS / "cloudsql-backup-exporter.service"
    (serve,) = commands(unit, "ExecStart", CONFIG="/etc/x.yaml", ARGS="--web.systemd-socket")
    assert serve[0] == INSTALLED
    options = parse_flags(serve[1:])
    assert (str(options.config_file), options.systemd_socket) == ("/etc/x.yaml", True)


def test_the_textfile_service_replaces_the_metrics_as_a_whole(tmp_path: Path) -> None:
    """Its commands run one after the other, as systemd does; its folders are replaced."""
    unit, folder = UNITS / "cloudsql-backup-exporter-textfile.service", tmp_path / "textfile"
    folder.mkdir()
    (tmp_path / "cloudsql-backup-exporter-textfile").mkdir()
    with Simulator(World(WORLDS["demo"](), SimulatedClock(system_clock()))) as simulator:
        config = tmp_path / "config.yaml"
        api = f"cloudsql: {{endpoint: '{simulator.url}', credentials: anonymous}}\n"
        config.write_text(f"{api}targets: [{{project: shop-prod}}]\n")
        for key in ("ExecStart", "ExecStartPost"):
            for command in commands(unit, key, CONFIG=str(config), FOLDER=str(folder)):
                words = [word.replace("%t", str(tmp_path)).replace("%S", str(tmp_path)) for word in command]
                subprocess.run([word.replace(INSTALLED, str(PROGRAM)) for word in words], check=True)  # noqa: S603
    (metrics,) = folder.iterdir()
    assert metrics.name == "cloudsql_backup.prom"
    assert stat.S_IMODE(metrics.stat().st_mode) == 0o644
    assert b'cloudsql_backup_exporter_project_up{project="shop-prod"} 1' in metrics.read_bytes()
