"""The exposition: rendered and compressed ahead of scrapes, so that a scrape costs little more than sending it.

The bytes are those that the client library would write for the same samples; tests compare the two.
"""

from exporter.metrics.exposition.cache import Body, Exposition
from exporter.metrics.exposition.formats import OPENMETRICS, TEXT, accepts_gzip, exposition_type

__all__ = ["OPENMETRICS", "TEXT", "Body", "Exposition", "accepts_gzip", "exposition_type"]
