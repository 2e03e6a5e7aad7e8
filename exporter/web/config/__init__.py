"""The web configuration file of Prometheus's exporter-toolkit: TLS, users, headers and rate limit."""

from exporter.web.config.file import WebConfigFile
from exporter.web.config.load import WebConfig, WebConfigError, load
from exporter.web.config.schema import RateLimit

__all__ = ["RateLimit", "WebConfig", "WebConfigError", "WebConfigFile", "load"]
