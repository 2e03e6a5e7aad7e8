"""Atomic writing of files."""

import os
import tempfile
from pathlib import Path


def write(file: Path, content: bytes) -> None:
    """Replace a regular file atomically; write to a device or pipe directly. Raises OSError."""
    file = file.resolve()
    if file.exists() and not file.is_file():
        file.write_bytes(content)
    else:
        _replace(file, content)


def _replace(file: Path, content: bytes) -> None:
    """Replace a file by a new one: a reader sees either, never a part."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(0o644)  # node_exporter reads it as another user
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
