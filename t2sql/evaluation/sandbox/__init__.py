"""Generated SQL runs here: child processes with limits, read-only databases."""
