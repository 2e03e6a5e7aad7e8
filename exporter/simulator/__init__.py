"""Simulated Cloud SQL Admin API on loopback: worlds of instances and backup runs that change with time.

Written from Google's discovery document of sqladmin v1 and docs/api.md. Imports nothing of the exporter.
"""

from exporter.simulator.clock import SimulatedClock
from exporter.simulator.faults import KINDS, Fault
from exporter.simulator.server import Simulator
from exporter.simulator.worlds import WORLDS, World, parse_world

__all__ = ["KINDS", "WORLDS", "Fault", "SimulatedClock", "Simulator", "World", "parse_world"]
