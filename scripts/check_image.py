"""Build the container image without a container engine, inspect it, and run it: `make check-image`.

No registry is needed: mmdebstrap makes the base image from Debian's packages, with what the official one leaves out.
buildah builds the Dockerfile on it, and runc runs the result as the image says, with a read-only root file system and
without capabilities, in a network of its own. Needs root, and the packages that `scripts/setup image` installs.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from exporter import __version__
from tests.support.builders import eventually
from tests.support.dockerfile import DOCKERFILE, base_image

ROOT = DOCKERFILE.parent
WORK = ROOT / "build" / "image"
BUILDAH = ["buildah", f"--root={WORK}/storage", f"--runroot={WORK}/run", "--storage-driver=overlay"]
RUNC = ["runc", f"--root={WORK}/runc"]
IMAGE = f"localhost/cloudsql-backup-exporter:{__version__}"
CONTAINER = "cloudsql-backup-exporter-check"
USER = 10853
STATE, CONFIG = Path("/var/lib/exporter"), Path("/etc/cloudsql-backup-exporter/config.yaml")
SITE_PACKAGES = "opt/exporter/lib/python3.11/site-packages"
TOOLS = ("pip", "pip3", "gcc", "cc", "g++", "make", "ld", "as", "curl", "wget", "git")  # that must not be in the image
NOT_IN_BASE = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
METRICS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:10853/metrics').read().decode())"
EXPORTER_CONFIG = """
cloudsql: {endpoint: "http://127.0.0.1:10854/", credentials: anonymous}
targets: [{project: museum}]
poll: {interval: 2s}
"""


def run(*command: str | Path, **environment: str) -> str:
    """The output of a command; ends the program if it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if result.returncode:
        sys.exit(f"{command[0]} failed ({result.returncode}): {result.stderr[-3000:]}{result.stdout[-1000:]}")
    return result.stdout.strip()


def check(promise: str, kept: object, found: object = "") -> None:
    """Print that a promise is kept, or end the program with what was found instead."""
    if not kept:
        sys.exit(f"FAILED  {promise}: {found}")
    print(f"ok      {promise}")  # noqa: T201 (output for people)


def make_base(image: str) -> None:
    """Store an image of Debian's packages under the name of the base image."""
    check("the base image is a dated release of Debian slim", re.fullmatch(r"debian:[a-z]+-\d{8}-slim", image), image)
    release = image.removeprefix("debian:").partition("-")[0]
    archive = WORK / f"{release}.tar"
    if not archive.exists():
        options = [f"--dpkgopt=path-exclude={path}" for path in NOT_IN_BASE]
        run(
            *("mmdebstrap", "--variant=minbase", "--aptopt=APT::Install-Recommends false", *options),
            *('--aptopt=Dir::Cache::pkgcache ""', '--aptopt=Dir::Cache::srcpkgcache ""', release, archive),
        )
    container = run(*BUILDAH, "from", "scratch")
    run(*BUILDAH, "add", container, archive, "/")
    run(*BUILDAH, "commit", "--quiet", "--rm", container, f"docker.io/library/{image}")


def build(base: str) -> None:
    """Build the Dockerfile. pip trusts the certificate authorities of this machine."""
    make_base(base)
    trust = WORK / "trust"
    trust.mkdir(exist_ok=True)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", trust)
    (trust / "pip.conf").write_text("[global]\ncert = /run/trust/ca-certificates.crt\n")
    mounts = [f"--volume={trust}:/run/trust:ro", f"--volume={trust}/pip.conf:/etc/pip.conf:ro"]
    options = ["--pull-never", "--format=docker", "--build-arg=REVISION=check", f"--tag={IMAGE}"]
    run(*BUILDAH, "build", *options, *mounts, ROOT, BUILDAH_ISOLATION="chroot")


def check_settings(settings: dict[str, Any]) -> None:
    """Check what the image says about itself."""
    check("the user is numeric and not root", settings["User"] == f"{USER}:{USER}", settings["User"])
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in settings["Labels"].items()}
    check("the label of the version is that of the program", labels["version"] == __version__, labels)
    check("the label of the revision is the build argument", labels["revision"] == "check", labels)
    check("only the exporter's port is exposed", list(settings["ExposedPorts"]) == ["10853/tcp"], settings)
    health = settings["Healthcheck"]["Test"]
    check("the health check is the command", health == ["CMD", "cloudsql-backup-exporter", "healthcheck"], health)


def check_files(root: Path) -> None:
    """Check what is in the image, and to whom it belongs."""
    paths = [path for folder in ("usr", "opt", "var", "etc", "bin", "sbin") for path in (root / folder).rglob("*")]
    programs = {path.name for path in paths if "bin" in path.parts}
    check("there is no pip, compiler or download tool", not programs & set(TOOLS), programs & set(TOOLS))
    packages = {path.name for path in paths if path.parent.name in ("site-packages", "dist-packages")}
    check("there is no pip package", not packages & {"pip", "setuptools", "ensurepip"}, packages)
    lists = [path for path in paths if "var/lib/apt/lists/" in str(path) and path.is_file()]
    check("there are no package lists", not lists, lists)
    stats = {path: path.lstat() for path in paths if not path.is_symlink()}
    owned = [path for path, stat in stats.items() if USER in (stat.st_uid, stat.st_gid)]
    check("only the state folder belongs to the user", owned == [root / "var/lib/exporter"], owned)
    mode = stats[root / "var/lib/exporter"].st_mode & 0o777
    check("other users cannot enter the state folder", mode == 0o750, oct(mode))
    writable = [path for path, stat in stats.items() if stat.st_mode & 0o1002 == 0o002]
    check("no file is writable by everybody", not writable, writable)
    pinned = set(re.findall(r"^([\w.-]+==\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    names = {canonicalize_name(name) + "==" + version for name, version in (pin.split("==") for pin in pinned)}
    installed = {
        canonicalize_name(name) + "==" + version
        for path in (root / SITE_PACKAGES).glob("*.dist-info")
        for name, version in [path.name.removesuffix(".dist-info").rsplit("-", 1)]
    } - {f"cloudsql-backup-exporter=={__version__}"}
    check(f"all {len(installed)} Python packages have pinned versions", installed <= names, installed - names)


@contextlib.contextmanager
def running(root: Path, settings: dict[str, Any]) -> Iterator[Path]:
    """Run the container as the image says; its log. Beside its root file system it has its state and configuration."""
    state, config, bundle = (WORK / name for name in ("state", "config.yaml", "bundle"))
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(mode=0o750)
    os.chown(state, USER, USER)
    config.write_text(EXPORTER_CONFIG)
    user, group = map(int, settings["User"].split(":"))
    spec = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": group},
            "args": [*settings["Entrypoint"], *settings["Cmd"]],
            "env": settings["Env"],
            "cwd": settings["WorkingDir"],
            "capabilities": {},
            "noNewPrivileges": True,
        },
        "root": {"path": str(root), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": str(STATE), "source": str(state), "options": ["bind", "rw"]},
            {"destination": str(CONFIG), "source": str(config), "options": ["bind", "ro"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]},
    }
    bundle.mkdir(exist_ok=True)
    (bundle / "config.json").write_text(json.dumps(spec))
    log = WORK / "log"
    with log.open("w") as out:
        process = subprocess.Popen([*RUNC, "run", f"--bundle={bundle}", CONTAINER], stdout=out, stderr=out)
    try:
        yield log
        run(*RUNC, "kill", CONTAINER, "TERM")
        code = process.wait(20)
        check("SIGTERM stops it with code 0", code == 0, f"{code}: {log.read_text()}")
    finally:
        subprocess.run([*RUNC, "delete", "--force", CONTAINER], capture_output=True, check=False)
        process.wait(20)


def executed(*command: str) -> subprocess.CompletedProcess[str]:
    """The result of a command in the container."""
    return subprocess.run([*RUNC, "exec", CONTAINER, *command], capture_output=True, text=True, check=False, timeout=60)


def check_running(root: Path, settings: dict[str, Any]) -> None:
    """Check the container while it runs, and polls a simulated API in the same network."""
    health = settings["Healthcheck"]["Test"][1:]
    with running(root, settings) as log:
        healthy = eventually(lambda: executed(*health).returncode == 0)
        check("it becomes healthy", healthy, log.read_text())
        process = executed("cat", "/proc/1/status").stdout
        check("it has no capabilities", re.search(r"^CapEff:\t0+$", process, re.MULTILINE), process)
        check("its root file system is read-only", executed("touch", "/opt/x").returncode, "touch /opt/x")
        simulator = subprocess.Popen(
            [*RUNC, "exec", CONTAINER, *settings["Entrypoint"], "simulate", "--log.level=off"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        polled = eventually(lambda: "cloudsql_backup_protection{" in executed("python3", "-c", METRICS).stdout)
        check("it polls and serves verdicts", polled, log.read_text())
        metrics = executed("python3", "-c", METRICS).stdout
        check("its state is kept", "cloudsql_backup_exporter_state_persistent 1.0" in metrics, log.read_text())
        check("its revision is the build argument", 'revision="check"' in metrics, "build_info")
        check("it logs no warning", "level=warn" not in log.read_text(), log.read_text())
    simulator.wait(20)
    folder = WORK / "state" / "data"
    mode = folder.stat().st_mode & 0o777
    check("its state belongs to the user alone", (folder.stat().st_uid, mode) == (USER, 0o700), oct(mode))


def write_sbom(root: Path) -> None:
    """Write a list of what is in the image."""
    file = WORK / "sbom.spdx.json"
    run("syft", "scan", "--quiet", f"--output=spdx-json={file}", f"dir:{root}", SYFT_CHECK_FOR_APP_UPDATE="false")
    found = re.findall(r'"referenceLocator": ?"pkg:(deb|pypi)/', file.read_text())
    debian, python = found.count("deb"), found.count("pypi")
    contents = f"{debian} packages of Debian and {python} of Python"
    check(f"{file.relative_to(ROOT)} lists {contents}", debian > 50 and python > 20, contents)


def check_wheels(machine: str) -> None:
    """Check that the packages need no compiler on another kind of machine either. Asks the package index."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    platforms = [f"--platform=manylinux{version}_{machine}" for version in ("2014", "_2_17", "_2_28", "_2_36")]
    target = ("--python-version=3.11", "--implementation=cp", f"--target={WORK}/none", *platforms)
    options = ("--dry-run", "--ignore-installed", "--only-binary=:all:", f"--constraint={ROOT}/constraints.txt")
    output = run(sys.executable, "-m", "pip", "install", *options, *target, *dependencies)
    check(f"there is a wheel of each package for {machine}", "Would install" in output, output)


def print_size(base: str) -> None:
    """Print the sizes of the image and of its base, as a registry stores them and unpacked."""
    for name in (f"docker.io/library/{base}", IMAGE):
        archive = WORK / "archive"
        shutil.rmtree(archive, ignore_errors=True)
        run(*BUILDAH, "push", "--quiet", name, f"oci:{archive}")
        compressed = sum(file.stat().st_size for file in archive.rglob("*") if file.is_file()) / 1e6
        unpacked = json.loads(run(*BUILDAH, "images", "--json", name))[0]["size"]
        print(f"        {name}: {compressed:.0f} MB compressed, {unpacked} unpacked")  # noqa: T201 (output for people)


def main() -> None:
    """Build, inspect and run the image."""
    if os.geteuid():
        sys.exit("error: building and running the image needs root")
    WORK.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    base = base_image(DOCKERFILE.read_text())
    build(base)
    print(f"        built in {time.monotonic() - start:.0f} s")  # noqa: T201 (output for people)
    settings = json.loads(run(*BUILDAH, "inspect", "--type=image", IMAGE))["Docker"]["config"]
    check_settings(settings)
    container = run(*BUILDAH, "from", "--pull-never", IMAGE)
    try:
        root = Path(run(*BUILDAH, "mount", container))
        check_files(root)
        check_running(root, settings)
        write_sbom(root)
    finally:
        run(*BUILDAH, "rm", container)
    check_wheels("aarch64")
    print_size(base)


if __name__ == "__main__":
    main()
