"""Facts about instances and their backup runs: frozen values without judgement, I/O or a clock."""
