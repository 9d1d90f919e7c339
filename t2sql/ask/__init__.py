"""Questions about one SQLite file, answered as they are typed: `python -m t2sql.ask`."""
