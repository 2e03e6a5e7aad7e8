"""Benchmarks: ratios against peers measured in the same run, because machines differ. Run them with `make bench`."""
