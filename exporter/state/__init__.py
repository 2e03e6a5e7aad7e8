"""State that survives a restart: the last facts of each project, and its counters."""
