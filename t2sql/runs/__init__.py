"""The run: work units, prediction rows, and the storage layer they are written through."""
