"""Where a prefix of a query stands, byte by byte.

It mirrors SQLite's tokenizer (https://www.sqlite.org/src/file/src/tokenize.c): a lexeme
is as long as it can be, words end where no letter follows, `--` begins a comment.
"""

from collections.abc import Iterator
from typing import NamedTuple

from t2sql.constraint.parser import ParserState

# Modes: what the bytes since the last whole lexeme are.
GAP = "gap"  # white space, or nothing
WORD = "word"
NUMBER = "number"
MARK = "mark"  # punctuation
STRING, STRING_END = "'", "''"  # the end: a quote that may be doubled
TEXT, TEXT_END = '"', '""'
TICK, TICK_END = "`", "``"
BRACKET = "["

_SPACE = frozenset(b" \t\n")
_DIGITS = frozenset(b"0123456789")
_LETTERS = frozenset([*b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", *range(128, 256)])
_WORD = _LETTERS | _DIGITS | frozenset(b"$")
_MARKS = frozenset(b"()*+,-./;<=>%!|")
_LONG_MARKS = frozenset((b"<=", b"<>", b">=", b"==", b"!=", b"||"))
# Control characters but the tab would not survive as text, and ";" ends an answer.
NOT_IN_QUOTES = frozenset([*range(32), 127, ord(";")]) - {9}
# The longest name of an answer's own choice, and how much of it one token may be.
MAX_FRESH = 48
MAX_PIECE = 24
# White space between two lexemes.
MAX_SPACE = 12
_MAX_DIGITS = 15
# What quoted text is once it is no name of the schema.
_NO_NAME = b"\0"


class Position(NamedTuple):
    """A place in a query.

    Attributes:
      state: after the last whole lexeme.
      mode: what comes since.
      part: its bytes, folded, as far as they matter.
    """

    state: ParserState
    mode: str
    part: bytes


def step(position: Position, byte: int) -> Position | None:
    """The position after one more byte; None where no query goes on like this."""
    return _STEPS[position.mode](position, byte)


def steps(position: Position | None, text: bytes) -> Position | None:
    """The position after several bytes."""
    for byte in text:
        if position is None:
            return None
        position = _STEPS[position.mode](position, byte)
    return position


def add_word(position: Position, word: bytes) -> Position | None:
    """The position after letters and digits, folded, of which the first is a letter."""
    place = word_at(position)
    if place is None:
        return steps(position, word)
    state, part = place
    part += word
    # Where all of it is a beginning of a word, so is each part of it.
    return Position(state, WORD, part) if _may_be_word(state, part) else None


def settle(position: Position) -> ParserState | None:
    """The state if the lexeme at hand ends here; None where it cannot."""
    state, mode, part = position
    if mode == GAP:
        return state
    if mode == WORD:
        return state.after("word", part)
    if mode == NUMBER:
        return _after_number(state, part)
    if mode == MARK:
        return state.after("punctuation", part)
    if mode == STRING_END:
        return state.after("<string>")
    if mode == TEXT_END:
        return state.after("<text>", part)
    if mode == TICK_END:
        return state.after("quoted", part)
    return None


def open_quote(position: Position) -> int | None:
    """The byte that ends the literal that `position` is in; None outside of one.

    Any text may stand there, which a quoted name cannot say.
    """
    state, mode, _ = position
    if mode == STRING:
        return 39
    return 34 if mode == TEXT and state.may_be("<text>") else None


def name_quote(position: Position) -> int | None:
    """The byte that ends the quoted name that `position` is in; None outside of one."""
    if open_quote(position) is not None:
        return None
    return {TEXT: 34, TICK: 96, BRACKET: 93}.get(position.mode)


def quoted_rests(position: Position) -> Iterator[bytes]:
    """What may still come of the quoted name that `position` is in, without the end quote."""
    state, mode, part = position
    if mode == BRACKET:
        yield from (name[len(part) :] for name in state.beginning("bracketed", part))
    else:
        quote = mode.encode()
        for name in state.beginning("quoted", part):
            yield name[len(part) :].replace(quote, quote * 2)


def word_at(position: Position) -> tuple[ParserState, bytes] | None:
    """The state before the word that goes on or begins here, and its letters so far.

    None where no word may stand.
    """
    state, mode, part = position
    if mode == WORD:
        return state, part
    if mode in (GAP, MARK, STRING_END, TEXT_END, TICK_END):
        after = settle(position)
        return None if after is None else (after, b"")
    return None


def takes_any_word(position: Position) -> bool:
    """Whether a name of the answer's own choice may stand, or go on, here."""
    state, mode, part = position
    return state.takes_fresh and mode in (GAP, WORD) and len(part) <= MAX_FRESH - MAX_PIECE


def takes_any_word_after_space(position: Position) -> bool:
    """Whether a name of the answer's own choice may begin here after one space."""
    state = settle(position)
    return state is not None and state.takes_fresh and len(position.part) < MAX_SPACE


def is_long_enough(position: Position) -> bool:
    """Whether a name of the answer's own choice has to end here."""
    state, mode, _ = position
    free = takes_any_word(position)
    return state.takes_fresh and mode == WORD and not free and settle(position) is not None


def is_complete(position: Position) -> bool:
    """Whether the text so far is a whole statement."""
    state = settle(position)
    return state is not None and state.complete


def _boundary(position: Position, byte: int) -> Position | None:
    state = settle(position)
    return None if state is None else _in_gap(Position(state, GAP, b""), byte)


def _in_gap(position: Position, byte: int) -> Position | None:
    state, _, part = position
    if byte in _SPACE:
        fits = len(part) < MAX_SPACE and not (byte == 10 and b"\n" in part)
        fits = fits and state.goes_on and not state.is_start
        return Position(state, GAP, part + bytes((byte,))) if fits else None
    if byte in _LETTERS:
        return _in_word(Position(state, WORD, b""), byte)
    if byte in _DIGITS:
        return _in_number(Position(state, NUMBER, b""), byte)
    if byte in _MARKS:
        first = Position(state, MARK, bytes((byte,)))
        return first if state.is_prefix("punctuation", first.part) else None
    if byte == 39:
        return Position(state, STRING, b"") if state.may_be("<string>") else None
    return _open_name(state, byte)


def _open_name(state: ParserState, byte: int) -> Position | None:
    mode = {34: TEXT, 96: TICK, 91: BRACKET}.get(byte)
    if mode is None:
        return None
    if _may_quote(state, mode, b""):
        return Position(state, mode, b"")
    if mode == TEXT and state.may_be("<text>"):
        return Position(state, TEXT, b"")
    return None


def _in_word(position: Position, byte: int) -> Position | None:
    state, _, part = position
    if byte not in _WORD:
        return _boundary(position, byte)
    part += bytes((byte,)).lower()
    return Position(state, WORD, part) if _may_be_word(state, part) else None


def _may_be_word(state: ParserState, part: bytes) -> bool:
    if state.is_prefix("word", part):
        return True
    return state.takes_fresh and len(part) <= MAX_FRESH and part.isascii() and b"$" not in part


def _in_number(position: Position, byte: int) -> Position | None:
    state, _, part = position
    if byte in _WORD - _DIGITS:
        return None
    if byte not in _DIGITS and byte != 46:
        return _boundary(position, byte)
    part += bytes((byte,))
    whole, _, fraction = part.partition(b".")
    limit = _MAX_DIGITS if state.may_be("<number>") else 9
    fits = part.count(b".") <= 1 and len(whole) <= limit and len(fraction) <= 10
    kind = "<number>" if state.may_be("<number>") else "<integer>"
    fits = fits and state.may_be(kind) and (kind == "<number>" or b"." not in part)
    return Position(state, NUMBER, part) if fits else None


def _after_number(state: ParserState, part: bytes) -> ParserState | None:
    return state.after("<number>" if state.may_be("<number>") else "<integer>")


def _in_mark(position: Position, byte: int) -> Position | None:
    state, _, part = position
    longer = part + bytes((byte,))
    if longer in (b"--", b"/*"):
        return None
    if longer in _LONG_MARKS:
        return Position(state, MARK, longer) if state.is_prefix("punctuation", longer) else None
    return _boundary(position, byte)


def _in_string(position: Position, byte: int) -> Position | None:
    if byte == 39:
        return position._replace(mode=STRING_END)
    return None if byte in NOT_IN_QUOTES else position


def _after_string(position: Position, byte: int) -> Position | None:
    if byte == 39:
        return position._replace(mode=STRING)
    return _boundary(position, byte)


def _in_text(position: Position, byte: int) -> Position | None:
    if byte == 34:
        return _closed(position, TEXT_END)
    return _in_quotes(position, byte)


def _after_text(position: Position, byte: int) -> Position | None:
    if byte == 34:
        return _in_quotes(position._replace(mode=TEXT), byte)
    return _boundary(position, byte)


def _in_ticks(position: Position, byte: int) -> Position | None:
    if byte == 96:
        return _closed(position, TICK_END)
    return _in_quotes(position, byte)


def _after_ticks(position: Position, byte: int) -> Position | None:
    if byte == 96:
        return _in_quotes(position._replace(mode=TICK), byte)
    return _boundary(position, byte)


def _in_brackets(position: Position, byte: int) -> Position | None:
    if byte == 93:
        state = position.state.after("quoted", position.part)
        return None if state is None else Position(state, GAP, b"")
    return _in_quotes(position, byte)


def _in_quotes(position: Position, byte: int) -> Position | None:
    """One byte of a quoted name, or of a text where one may stand."""
    state, mode, part = position
    if byte in NOT_IN_QUOTES:
        return None
    longer = part + bytes((byte,)).lower()
    if part != _NO_NAME and _may_quote(state, mode, longer):
        return Position(state, mode, longer)
    if mode == TEXT and state.may_be("<text>"):
        kept = part != _NO_NAME and state.is_column_prefix(longer)
        return Position(state, TEXT, longer if kept else _NO_NAME)
    return None


def _may_quote(state: ParserState, mode: str, text: bytes) -> bool:
    """Whether a name that may follow in such quotes begins with `text`."""
    return state.is_prefix("bracketed" if mode == BRACKET else "quoted", text)


def _closed(position: Position, mode: str) -> Position | None:
    """A quote that may end a name; only one that does, or is doubled, may come."""
    after = position._replace(mode=mode)
    doubled = _in_quotes(position, ord(mode[0]))
    return after if settle(after) is not None or doubled is not None else None


_STEPS = {
    GAP: _in_gap,
    WORD: _in_word,
    NUMBER: _in_number,
    MARK: _in_mark,
    STRING: _in_string,
    STRING_END: _after_string,
    TEXT: _in_text,
    TEXT_END: _after_text,
    TICK: _in_ticks,
    TICK_END: _after_ticks,
    BRACKET: _in_brackets,
}
