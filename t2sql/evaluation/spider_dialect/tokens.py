"""The words of a query as the official evaluator's parser sees them.

They are the words of a tokenizer for English prose, and verdicts depend on it: an operator
without spaces around it stays glued to its neighbours (`age>20` falls apart, `age=20` does
not), so such a query cannot be read. `'` and `"` mean the same.
"""

import re
from collections.abc import Iterator

_LITERAL = re.compile('"[^"]*"')
# What stands alone wherever it is; a comma or colon only if no digit follows, a full stop only
# at the end of a word.
_SEPARATE = re.compile(r"--|\.{2,}|[][(){}<>;@#$%&?!*`]|[,:](?!\d)|\.(?=[])}>]*(?:\s|\Z))")
_MARK = "\0"


class UnreadableError(Exception):
    """The query is outside the dialect that the official evaluator reads."""


def tokenize(sql: str) -> list[str]:
    """Splits a query into words in lower case; literals keep their case and double quotes.

    Raises:
      UnreadableError: a quotation mark is left open.
    """
    # A NUL is part of a word, as any other character that no rule knows.
    straight = sql.replace("'", '"').replace(_MARK, "\1")
    if straight.count('"') % 2:
        raise UnreadableError("a quotation mark is left open")
    literals = iter(_LITERAL.findall(straight))
    masked = _SEPARATE.sub(r" \g<0> ", _LITERAL.sub(_MARK, straight))
    words = [_unmask(word.lower(), literals) for word in masked.split()]
    return _join_operators(words)


def _unmask(word: str, literals: Iterator[str]) -> str:
    """A literal that stands alone is itself again; glued to a word it spoils that word."""
    own = [next(literals) for _ in range(word.count(_MARK))]
    return own[0] if word == _MARK else word.replace(_MARK, "'…'")


def _join_operators(words: list[str]) -> list[str]:
    """`! =`, `> =` and `< =` become one word each."""
    joined: list[str] = []
    for word in words:
        if word == "=" and joined and joined[-1] in ("!", ">", "<"):
            joined[-1] += word
        else:
            joined.append(word)
    return joined
