"""Verdicts: the rules, their evaluation over a snapshot, and the same in words and plain data."""
