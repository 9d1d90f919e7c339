"""How numbers and names are written, the same in the terminal, in Markdown and on the page."""

from typing import Any


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage without its sign; a dash for none."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def count(number: int) -> str:
    """A number with thousands separated."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """A number of things, such as "1 example" or "1,034 examples"."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def interval(share: dict[str, Any]) -> str:
    """The two ends of a share's interval in per cent, such as "47.2–53.3"."""
    return f"{percent(share['low'])}–{percent(share['high'])}" if share["total"] else ""


def signed(points: float) -> str:
    """Percentage points with their sign, such as "+4.1"."""
    return f"{points:+.1f}".replace("-", "−")


def p_value(value: float) -> str:
    """A p-value to two digits, never as 0."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def words(name: str) -> str:
    """An error class or a feature in plain words."""
    return name.replace("_", " ")


def some(names: list[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
