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

_TOKEN = re.compile(
    r"""
    (?P<space>[\s\u00a0\u200b\u2060\ufeff]+)
  | (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
  | (?P<fence>```)
  | (?P<control><(?:(?:start|end)_of_(?:turn|image)|[be]os|pad|unk|mask|unused\d{1,4})>
              |<\|[\w]{1,40}\|>|</\w{1,40}>|\[/?INST\])
  | (?P<string>'[^']*(?:''[^']*)*')
  | (?P<name>"[^"]*(?:""[^"]*)*"|`[^`\n]+`|\[[^\]\n]{1,128}\])
  | (?P<smart>[\u2018-\u201f])
  | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)
  | (?P<word>[^\W\d][\w$]*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
# What may close a curly quote; in O’Brien the mark is part of the text.
_CLOSERS = {
    "'": re.compile("['\u2018-\u201b](?!\\w)"),
    '"': re.compile('["\u201c-\u201f]'),
}
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


def tokenize(text: str, start: int = 0) -> Iterator[Token]:
    """Yields the tokens of `text` from `start` to its end, spaces and comments included."""
    closers = {}
    while start < len(text):
        match = _TOKEN.match(text, start)
        token = Token(match.lastgroup, match.group(), start, match.end())
        if token.kind == "smart":
            token = _smart_literal(text, start, closers)
        yield token
        start = token.end


def _smart_literal(text: str, start: int, closers: dict[str, list[int]]) -> Token:
    """The literal that the curly quote at `start` opens, on one line, with straight quotes."""
    quote = "'" if text[start] in _SINGLE else '"'
    if quote not in closers:
        closers[quote] = [match.start() for match in _CLOSERS[quote].finditer(text)]
    found = bisect.bisect_right(closers[quote], start)
    end = closers[quote][found] if found < len(closers[quote]) else len(text)
    if end == len(text) or text.find("\n", start, end) >= 0:
        return Token("other", quote, start, start + 1)
    inner = text[start + 1 : end].replace(quote, quote * 2)
    kind = "string" if quote == "'" else "name"
    return Token(kind, f"{quote}{inner}{quote}", start, end + 1)
