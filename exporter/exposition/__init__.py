"""Catalogue + view -> exposition bytes, kept rendered and compressed so that a scrape costs what sending them costs.

The bytes are those that the client library would write for the same samples; the tests hold them against it.
"""

from exporter.exposition.formats import OPENMETRICS, TEXT, accepts_gzip, exposition_type
from exporter.exposition.kept import Body, Exposition
from exporter.exposition.meters import Meters

__all__ = ["OPENMETRICS", "TEXT", "Body", "Exposition", "Meters", "accepts_gzip", "exposition_type"]
