"""What was left out of the user's data: each line is told once, when it is met."""

import sys

_told: dict[str, None] = {}


def tell(line: str) -> None:
    """Prints a line to stderr the first time that this process tells it."""
    if line not in _told:
        _told[line] = None
        print(f"note: {line}", file=sys.stderr, flush=True)


def told() -> tuple[str, ...]:
    """The lines that were told since the last `forget`, in order: for a report's page."""
    return tuple(_told)


def forget() -> None:
    """Begins anew; a command that shows what was told calls it first."""
    _told.clear()
