"""How fast, how small: ratios against peers in one run, since machines differ and are noisy. `make bench` runs it."""
