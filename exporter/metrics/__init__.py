"""Metrics: their declarations, the counters of the exporter itself, and the exposition."""
