"""The known name that an unknown one may stand for."""

import difflib
import re
from collections.abc import Iterable

from t2sql.sql.names import fold

# From here on two names differ by a slip.
_ALIKE = 0.8


def closest_name(
    name: str,
    known: Iterable[str],
    context: Iterable[str] = (),
    *,
    cutoff: float = 0.6,
    parts: bool = True,
) -> str | None:
    """The known name most like `name`, or None.

    Words of the context may be in excess or missing: in the table singer, singer_name stands
    for name and id for singer_id. A name that only adds words to a known one stands for that.

    Args:
      name: the unknown name.
      known: candidates.
      context: names whose words may be left out: of the tables that the column is looked for in.
      cutoff: how alike the letters must be, from 0 to 1 (`difflib`).
      parts: whether a known name may stand in it as one word of several.
    """
    candidates = {fold(candidate): candidate for candidate in known}
    words = _words(name)
    own = set().union(*map(_words, context))
    shared = [candidate for candidate in candidates if _words(candidate) & words]
    inner = [candidate for candidate in shared if parts and _words(candidate) <= words]
    rest = [candidate for candidate in shared if _words(candidate) ^ words <= own]
    close = (
        rest
        or difflib.get_close_matches(fold(name), candidates, n=1, cutoff=max(cutoff, _ALIKE))
        or inner
        or difflib.get_close_matches(fold(name), candidates, n=1, cutoff=cutoff)
    )
    return candidates[close[0]] if close else None


def _words(name: str) -> set[str]:
    """The words of a name in snake_case or CamelCase, folded."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return set(re.findall(r"[^\W_]+", fold(split)))
