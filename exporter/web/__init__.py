"""HTTP: the applications and the server that runs them."""

from exporter.web.app import application, health_application, path_prefix
from exporter.web.authentication import Authentication
from exporter.web.config import WebConfigError, WebConfigFile
from exporter.web.config import load as load_web_config
from exporter.web.connection import Limits
from exporter.web.listeners import ListenError, listen, passed_sockets, split_address
from exporter.web.pages.links import Sites, site_url
from exporter.web.server import Service, WebServer

__all__ = [
    "Authentication",
    "Limits",
    "ListenError",
    "Service",
    "Sites",
    "WebConfigError",
    "WebConfigFile",
    "WebServer",
    "application",
    "health_application",
    "listen",
    "load_web_config",
    "passed_sockets",
    "path_prefix",
    "site_url",
    "split_address",
]
