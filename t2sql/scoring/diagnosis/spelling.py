"""The known name that an unknown one may stand for."""

import difflib
import re
from collections.abc import Iterable

from t2sql.spider.tables import fold


def closest(
    name: str, known: Iterable[str], context: Iterable[str] = (), *, cutoff: float = 0.6
) -> str | None:
    """The known name most like `name`, or None.

    A name that repeats its context, such as singer_name in singer, stands for the rest; one
    that only adds words to a known name stands for that.

    Args:
      name: the unknown name.
      known: candidates.
      context: names whose words may be left out: of the tables that the column is looked for in.
      cutoff: how alike the letters must be, from 0 to 1 (`difflib`).
    """
    candidates = {fold(each): each for each in known}
    words = _words(name)
    own = set().union(*map(_words, context))
    parts = [each for each in candidates if _words(each) and _words(each) <= words]
    rest = [each for each in parts if words <= _words(each) | own]
    close = rest or difflib.get_close_matches(fold(name), candidates, n=1, cutoff=cutoff) or parts
    return candidates[close[0]] if close else None


def _words(name: str) -> set[str]:
    """The words of a name in snake_case or CamelCase, folded."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return set(re.findall(r"[^\W_]+", fold(split)))
