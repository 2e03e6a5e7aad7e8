"""The command `serve`, and the server loop that `demo` shares with it."""

import argparse
import gc
import logging
import queue
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.config import Config, ConfigError, load
from exporter.errors import ExitCode
from exporter.facts.model import Clock
from exporter.googleapis import CredentialsError
from exporter.runtime import Exporter, system_clock
from exporter.web import (
    Authentication,
    Limits,
    Service,
    Sites,
    WebConfigFile,
    WebServer,
    application,
    health_application,
    listen,
    passed_sockets,
)

log = logging.getLogger(__name__)

SWITCH_INTERVAL = 0.0005  # seconds that a busy poll may delay a scrape; Python's default is ten times that
GC_THRESHOLD = 50_000  # objects between garbage collections: facts are many, and contain no cycles


def serve(options: argparse.Namespace) -> ExitCode:
    """Poll and serve until SIGTERM or SIGINT; SIGHUP reloads the configuration."""
    return run_server(options, lambda: with_state_path(load(options.config_file), options.state_path), system_clock)


def run_server(
    options: argparse.Namespace,
    read_config: Callable[[], Config],
    clock: Clock,
    print_banner: Callable[[list[str]], None] = lambda _urls: None,
    *,
    simulated: bool = False,
) -> ExitCode:
    """Serve until SIGTERM or SIGINT. `print_banner` is called with the URLs before the first request.

    A simulated Cloud SQL has no configuration file to reload, and privileges do not matter.
    """
    tune_interpreter()
    web_config = WebConfigFile(options.web_config_file)
    exporter = Exporter(read_config, clock, options.shard, web_config_successful=lambda: web_config.successful)
    service, *probes = _services(options, exporter, web_config)
    server = WebServer(service, *probes, limits=Limits(connections=options.max_connections))
    with signal_queue() as signals:
        print_banner(service.urls)
        server.start()
        exporter.start()
        if not simulated:
            exporter.watch_privileges()
        web_config.start(exporter.refresh_exposition)
        log.info("serving", extra={"addresses": " ".join(server.urls)})
        while signals.get() is signal.SIGHUP and not simulated:
            try:
                exporter.reload()
            except (ConfigError, CredentialsError) as error:
                log.error("configuration not reloaded, the current one stays in force: %s", error)
        log.info("stopping")
        web_config.stop()
        exporter.stop()
        server.stop()
    return ExitCode.OK


def _services(options: argparse.Namespace, exporter: Exporter, web_config: WebConfigFile) -> list[Service]:
    """The exporter's pages, and the probes on an address of their own, if given. Raises ListenError."""
    prefix = options.external_path
    sites = Sites(options.grafana_url, options.alertmanager_url)
    app = Authentication(application(exporter, lifecycle=options.lifecycle, prefix=prefix, sites=sites), web_config)
    if options.systemd_socket:
        listeners = passed_sockets()
    else:
        listeners = [listen(address) for address in options.listen_address or [options.default_address]]
    services = [Service(app, listeners, web_config.tls_context, f"{prefix}/")]
    if options.health_address:
        services.append(Service(health_application(exporter), [listen(options.health_address, "--web.health-address")]))
    return services


def with_state_path(config: Config, path: Path | None) -> Config:
    """The configuration with the state folder of the flag, if given."""
    return (
        config if path is None else config.model_copy(update={"state": config.state.model_copy(update={"path": path})})
    )


def tune_interpreter() -> None:
    """Set up the interpreter for a process that computes and serves at the same time."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(GC_THRESHOLD)


@contextmanager
def signal_queue() -> Iterator["queue.SimpleQueue[signal.Signals]"]:
    """The received SIGTERM, SIGINT and SIGHUP; a SimpleQueue may be filled from within a handler."""
    received: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = [signal.signal(number, lambda n, _frame: received.put(signal.Signals(n))) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
