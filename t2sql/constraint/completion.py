"""The shortest way to end a query: what a row writes when its tokens run out."""

from collections.abc import Callable, Iterator

from t2sql.constraint import lexer
from t2sql.constraint.lexer import Position
from t2sql.constraint.parser import ParserState

_MAX_LEXEMES = 400
# The text of each class; a name may stand in the place of a "<text>".
_PLAIN = {"<number>": b"1", "<integer>": b"1", "<string>": b"''"}
_KINDS = {lexer.WORD: "word", lexer.MARK: "punctuation"}
_CLOSING = {lexer.TEXT: b'"', lexer.TICK: b"`", lexer.BRACKET: b"]"}
_ALIASES = tuple(b"t%d" % number for number in range(1, 100))


def parts(position: Position, count: Callable[[bytes], int]) -> Iterator[bytes]:
    """Yields texts that together end the statement; none where it is complete.

    Args:
      position: where the query stands.
      count: how many tokens a text takes.
    """
    for _ in range(_MAX_LEXEMES):
        if lexer.is_complete(position):
            return
        text = min(_options(position), key=lambda option: count(option[0]) + option[1])[0]
        yield text
        position = lexer.steps(position, text)
    raise AssertionError("no way to end a query")


def bound(position: Position, count: Callable[[bytes], int]) -> int:
    """Tokens that `parts` take; at most by a few more."""
    return min(count(text) + cost for text, cost in _ends(position))


def fits(position: Position, count: Callable[[bytes], int], limit: int) -> bool:
    """Whether `bound` is within a limit: far quicker where the limit is high."""
    end = _first_end(position)
    # A token is a byte at the least.
    if end is not None and sum(end) <= limit:
        return True
    return any(cost <= limit and count(text) + cost <= limit for text, cost in _ends(position))


def _first_end(position: Position) -> tuple[int, int] | None:
    """Most bytes of one of `_ends`, with the cost after it; None where none is quickly found."""
    state, mode, part = position
    is_text = mode == lexer.TEXT and state.may_be("<text>")
    if is_text and lexer.steps(position, b'"') is not None:
        return 1, state.cost_after("<text>")
    kind = _KINDS.get(mode, "quoted" if mode in (lexer.TEXT, lexer.TICK) else None)
    option = None if kind is None else state.first_option(kind, part)
    if option is None:
        return None
    lexeme, cost = option
    rest = len(lexeme) - len(part)
    return (2 * rest + 1 if kind == "quoted" else rest), cost


def _ends(position: Position) -> Iterator[tuple[bytes, int]]:
    """Texts that end the lexeme at hand, each with the cost after it."""
    if (state := lexer.settle(position)) is None:
        yield from _endings(position)
    else:
        yield b"", state.cost
        yield from _longer(position)


def _options(position: Position) -> Iterator[tuple[bytes, int]]:
    """Texts that end the lexeme at hand, or the next ones, each with the cost after it."""
    state = lexer.settle(position)
    if state is None:
        yield from _endings(position)
    else:
        apart = position.mode == lexer.GAP and (position.part or state.is_start)
        yield from _following(state, b"" if apart else b" ")
        yield from _longer(position)


def _longer(position: Position) -> Iterator[tuple[bytes, int]]:
    """Ends of longer words than the one at hand, which could end here."""
    state, mode, part = position
    if mode in _KINDS:
        yield from (
            (option[len(part) :], cost)
            for option, cost in state.options(_KINDS[mode], part)
            if len(option) > len(part)
        )


def _endings(position: Position) -> Iterator[tuple[bytes, int]]:
    state, mode, part = position
    if mode == lexer.STRING:
        yield b"'", state.cost_after("<string>")
    elif mode in _KINDS:
        yield from (
            (option[len(part) :], cost) for option, cost in state.options(_KINDS[mode], part)
        )
    else:
        closing = _CLOSING[mode[0]]
        for name, cost in state.options("quoted", part):
            if mode == lexer.BRACKET and b"]" in name:
                continue
            rest = name[len(part) :]
            rest = rest if mode == lexer.BRACKET else _doubled(rest, closing)
            if mode in _CLOSING:
                yield rest + closing, cost
            elif rest.startswith(closing):  # doubled, and the first of the two is there
                yield rest[1:] + closing, cost
    if mode == lexer.TEXT and state.may_be("<text>"):
        # A text that is a column's name may be refused: one more letter makes it another.
        for text in (b'"', b'_"'):
            if lexer.steps(position, text) is not None:
                yield text, state.cost_after("<text>")
    if mode == lexer.WORD and state.takes_fresh:
        # A word that is taken, or a keyword, ends as another.
        for letter in b"_abc":
            after = lexer.step(position, letter)
            if after is not None and (ended := lexer.settle(after)) is not None:
                yield bytes((letter,)), ended.cost


def _following(state: ParserState, space: bytes) -> Iterator[tuple[bytes, int]]:
    yield from ((space + word, cost) for word, cost in state.options("word"))
    yield from state.options("punctuation")
    for kind, text in _PLAIN.items():
        if state.may_be(kind):
            yield space + text, state.cost_after(kind)
    for name, cost in state.options("quoted"):
        if not state.may_be("word", name):
            yield space + b'"' + _doubled(name, b'"') + b'"', cost
    if state.takes_fresh:
        for alias in _ALIASES:
            if (after := state.after("word", alias)) is not None:
                yield space + alias, after.cost
                return


def _doubled(name: bytes, quote: bytes) -> bytes:
    return name.replace(quote, quote * 2)
