"""Tokens of SQLite's dialect inside untrusted text, in linear time.

The lexical rules are those of https://www.sqlite.org/lang_keywords.html and
https://www.sqlite.org/lang_expr.html (literals): `'text'` with `''` inside, three ways to
quote a name (`"name"`, `` `name` ``, `[name]`), `--` and `/* */` comments. Nothing here
raises: what is no token of SQL comes out as an `other` token of one character.
"""

import bisect
import re
from collections.abc import Iterator
from typing import NamedTuple

_PATTERN = r"""
    (?P<space>[\s\u00a0\u200b\u2060\ufeff]+)
  | (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z){hash})
  | (?P<fence>```|(?m:^)~~~)
  | (?P<control><(?:(?:start|end)_of_(?:turn|image)|[be]os|pad|unk|mask|unused\d{{1,4}})>
              |<\|[\w]{{1,40}}\|>|</\w{{1,40}}>|\[/?INST\]|\[/SQL\])
  | (?P<string>'[^']*(?:''[^']*)*')
  | (?P<name>"[^"]*(?:""[^"]*)*"|`[^`]+`)
  | (?P<bracket>\[)
  | (?P<smart>[\u2018-\u201f])
  | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)
  | (?P<word>[^\W\d][\w$]*)
  | (?P<other>.)
"""
_FLAGS = re.VERBOSE | re.DOTALL | re.IGNORECASE
_TOKEN = re.compile(_PATTERN.format(hash=""), _FLAGS)
_TOKEN_OR_HASH = re.compile(_PATTERN.format(hash=r"|\#[^\n]*"), _FLAGS)
# What may close a curly quote; in O’Brien the mark is part of the text.
_CLOSERS = {
    "'": re.compile("['\u2018-\u201b](?!\\w)"),
    '"': re.compile('["\u201c-\u201f]'),
    "]": re.compile("]"),
}
_OPENS = re.compile("[\\[\u2018-\u201f]")
_SINGLE = "\u2018\u2019\u201a\u201b"


class Token(NamedTuple):
    """One token.

    Attributes:
      kind: space, comment, fence, control, string, name, number, word or other.
      text: as written, except that curly quotes around a literal are made straight.
      start: offset of the first character.
      end: offset after the last one.
    """

    kind: str
    text: str
    start: int
    end: int

    @property
    def upper(self) -> str:
        """The word in upper case; other kinds give their text."""
        return self.text.upper() if self.kind == "word" else self.text


def tokenize(text: str, start: int = 0, *, hash_comments: bool = False) -> Iterator[Token]:
    """Yields the tokens of `text` from `start` to its end, spaces and comments included.

    Args:
      text: any text.
      start: offset of the first token.
      hash_comments: whether `#` starts a comment, as in MySQL; SQLite knows no such thing.
    """
    pattern = _TOKEN_OR_HASH if hash_comments else _TOKEN
    closers = _closers(text, start)
    while start < len(text):
        match = pattern.match(text, start)
        token = Token(match.lastgroup, match.group(), start, match.end())
        if token.kind in ("bracket", "smart"):
            token = _closed(text, start, closers)
        elif token.kind == "other" and token.text in ("'", '"'):
            # What follows an open literal is guesswork: leave its curly quotes alone.
            closers["'"] = closers['"'] = []
        yield token
        start = token.end


def first_statement(sql: str) -> str:
    """The text up to the first semicolon that ends a statement."""
    ends = (token.start for token in tokenize(sql) if token.text == ";")
    return sql[: next(ends, len(sql))]


def is_query(sql: str) -> bool:
    """Whether its first word asks for rows: EXPLAIN, for one, runs and returns other ones."""
    significant = (token for token in tokenize(sql) if token.kind not in ("space", "comment"))
    words = (token.upper for token in significant if token.text != "(")
    return next(words, "") in ("SELECT", "WITH", "VALUES")


def _closers(text: str, start: int) -> dict[str, list[int]]:
    """Offsets of all that may close a curly quote or a bracket, looked up once for all."""
    if not _OPENS.search(text, start):
        return {mark: [] for mark in _CLOSERS}
    return {
        mark: [match.start() for match in pattern.finditer(text, start)]
        for mark, pattern in _CLOSERS.items()
    }


def _closed(text: str, start: int, closers: dict[str, list[int]]) -> Token:
    """The name or literal that the bracket or curly quote at `start` opens."""
    mark = "]" if text[start] == "[" else "'" if text[start] in _SINGLE else '"'
    following = bisect.bisect_right(closers[mark], start)
    if following == len(closers[mark]):
        return Token("other", text[start], start, start + 1)
    end = closers[mark][following]
    inner = text[start + 1 : end]
    if mark == "]":
        return Token("name", f"[{inner}]", start, end + 1)
    kind = "string" if mark == "'" else "name"
    return Token(kind, f"{mark}{inner.replace(mark, mark * 2)}{mark}", start, end + 1)
