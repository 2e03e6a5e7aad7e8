"""The web configuration file of a running server, loaded again whenever it or a file that it names changes."""

import hashlib
import logging
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from exporter.web.config.load import WebConfig, WebConfigError, load

log = logging.getLogger(__name__)

CHECK_INTERVAL = 1.0  # seconds
SETTLING_TIME = 0.1  # seconds between noticing a change and loading it: certificate and key are written one by one


class WebConfigFile:
    """The web configuration in force. Changes are recognized by content: not by time, inode or name of a link."""

    def __init__(self, path: Path | None) -> None:
        """Load the file; None means no file, and no settings. Raises WebConfigError."""
        self._path = path
        self._files = _FileReader()
        self.current = load(path, read=self._files.read) if path else WebConfig()
        self.successful = True
        self._stopped = threading.Event()

    def start(self, on_reload: Callable[[], None]) -> None:
        """Check for changes in the background. `on_reload` is called after each attempt to load the file again."""
        if self._path:
            threading.Thread(target=self._watch, args=(on_reload,), name="web-config", daemon=True).start()

    def stop(self) -> None:
        """Stop checking."""
        self._stopped.set()

    def tls_context(self) -> ssl.SSLContext | None:
        """The TLS context for the next connection; None without TLS."""
        return self.current.tls

    def changed(self) -> bool:
        """Whether the content of a file has changed since the last attempt to load it."""
        return self._files.changed()

    def reload(self) -> None:
        """Load the file again. If it cannot be used or is empty, the current configuration stays in force."""
        if self._path is None:
            return
        self._files = _FileReader()
        before = self.current
        try:
            self.current = load(self._path, allow_empty=False, read=self._files.read)
        except WebConfigError as error:
            self.successful = False
            log.error("web configuration not reloaded, the current one stays in force: %s", error)
        else:
            self.successful = True
            log.info("web configuration reloaded")
            _warn_of_less_security(before, self.current)

    def _watch(self, on_reload: Callable[[], None]) -> None:
        while not self._stopped.wait(CHECK_INTERVAL):
            if self.changed():
                self._stopped.wait(SETTLING_TIME)
                try:
                    self.reload()
                    on_reload()
                except Exception:  # the edge of this thread: it must go on
                    self.successful = False
                    log.exception("internal error, please report it")


class _FileReader:
    """Reads files and remembers what it has read."""

    def __init__(self) -> None:
        self._digests: dict[Path, bytes | None] = {}

    def read(self, path: Path) -> bytes:
        """The content of a file."""
        self._digests[path] = None
        content = path.read_bytes()
        self._digests[path] = hashlib.sha256(content).digest()
        return content

    def changed(self) -> bool:
        """Whether a file has another content than when it was read, or was readable and no longer is, or vice versa."""
        return any(_digest(path) != digest for path, digest in self._digests.items())


def _digest(path: Path) -> bytes | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None


def _warn_of_less_security(before: WebConfig, after: WebConfig) -> None:
    if before.tls and not after.tls:
        log.warning("TLS is switched off by the web configuration")
    if before.users and not after.users:
        log.warning("authentication is switched off by the web configuration")
