"""One process of a run: flags, signals, its place among others, what it shows."""
