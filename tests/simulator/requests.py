"""Requests to a simulated API without a network."""

from typing import Any

from exporter.simulator import World
from exporter.simulator.api import Request, respond


def get(simulated: World, path: str, **query: str) -> dict[str, Any]:
    """The body of the response."""
    return respond(Request(simulated, path, query)).body
