"""Command line: flags, commands, terminal output and logs."""
