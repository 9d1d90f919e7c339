"""Joins along keys only: which, and that a query can always be ended."""

import constraint_samples as samples
import pytest
import sqlglot
from sqlglot import exp

from t2sql import constraint
from t2sql.constraint import completion, identifiers, lexer
from t2sql.constraint.foreign_keys import Links


@pytest.fixture(scope="module")
def vocabulary():
    return samples.dummy_vocabulary()


@pytest.fixture(scope="module")
def papers(vocabulary):
    schema = samples.make_schema(samples.PAPERS, samples.PAPER_KEYS)
    return constraint.SchemaConstraint(vocabulary, schema, along_keys=True)


def make_links(keys=samples.PAPER_KEYS) -> Links:
    schema = samples.make_schema(samples.PAPERS, keys)
    return Links(identifiers.tables_of(schema), identifiers.keys_of(schema))


def test_columns_that_refer_to_one_are_linked():
    links = make_links((*samples.PAPER_KEYS, "venues.paper=papers.paper_id"))
    assert links.pairs(b"venues", b"authorship") == {(b"paper", b"paper_id")}
    assert links.pairs(b"papers", b"authorship") == {(b"paper_id", b"paper_id")}
    assert links.pairs(b"papers", b"authors") == frozenset()


def test_a_table_is_linked_to_itself_by_two_columns():
    links = make_links()
    assert links.pairs(b"people", b"people") == {(b"boss", b"id"), (b"id", b"boss")}
    assert links.pairs(b"papers", b"papers") == frozenset()


def test_tables_that_no_key_connects_are_open():
    assert len(make_links().pairs(b"venues", b"papers")) == 3 * 2
    assert len(make_links(()).pairs(b"papers", b"authors")) == 2 * 2


@pytest.mark.parametrize(
    ("present", "table", "barred", "count"),
    [
        ((), b"papers", (), 0),
        ((b"papers",), b"authorship", (), 0),
        ((b"papers",), b"authors", (), 1),
        ((b"papers",), b"papers", (), 1),
        ((b"papers", b"authorship"), b"authors", (), 0),
        ((b"papers",), b"venues", (), 0),  # open
        ((b"papers", b"venues"), b"authors", (), 1),  # not by way of the open one
        ((b"papers",), b"authors", (b"position",), None),
    ],
)
def test_tables_between(present, table, barred, count):
    assert make_links().between(frozenset(present), table, frozenset(barred)) == count


@pytest.mark.parametrize(
    "query",
    [
        "SELECT title FROM papers",
        "SELECT T1.title FROM papers AS T1 JOIN authorship AS T2 ON T1.paper_id = T2.paper_id "
        "JOIN authors AS T3 ON T3.author_id = T2.author_id WHERE T3.last_name = 'Ohori'",
        # A table between two that SELECT has numbered keeps its name.
        "SELECT T1.title, T2.last_name FROM papers AS T1 "
        "JOIN authorship ON T1.paper_id = authorship.paper_id "
        "JOIN authors AS T2 ON authorship.author_id = T2.author_id",
        "SELECT last_name, title FROM authors JOIN authorship ON "
        "authors.author_id = authorship.author_id "
        "JOIN papers ON papers.paper_id = authorship.paper_id",
        "SELECT T2.office FROM people AS T1 JOIN people AS T2 ON T1.boss = T2.id",
        "SELECT T1.city FROM venues AS T1 LEFT JOIN papers AS T2 ON T1.paper = T2.paper_id",
        "SELECT count(*) FROM (SELECT last_name FROM authors) JOIN papers",
        "SELECT title FROM papers WHERE paper_id IN (SELECT T1.paper_id FROM authorship AS T1 "
        "JOIN inst AS T2 ON T1.inst_id = T2.inst_id WHERE T2.name = 'Google')",
    ],
)
def test_joins_along_keys_are_allowed(papers, query):
    samples.make_database(samples.PAPERS).execute(query)
    assert samples.is_query(papers, query)


@pytest.mark.parametrize(
    ("so_far", "no", "yes"),
    [
        ("SELECT T1.title FROM papers AS T1 JOIN ", "authors ", "authorship "),
        ("SELECT T1.title FROM papers AS T1 JOIN ", "inst", "venues"),
        ("SELECT title FROM papers", ", ", " JOIN "),
        ("SELECT title FROM papers JOIN authorship ", "WHERE", "ON"),
        ("SELECT count(*) FROM papers AS T1 JOIN authorship AS T2 ON ", "T1.t", "T1.p"),
        ("SELECT count(*) FROM papers AS T1 JOIN authorship AS T2 ON ", "paper", "T2.paper"),
        ("SELECT 1 FROM papers AS T1 JOIN authorship AS T2 ON T1.paper_id = ", "T1", "T2"),
        ("SELECT 1 FROM papers AS T1 JOIN authorship AS T2 ON T1.paper_id = T2.", "a", "p"),
        (
            "SELECT 1 FROM papers AS T1 JOIN authorship AS T2 ON T1.paper_id = T2.paper_id ",
            "AND",
            "JOIN",
        ),
        ("SELECT T1.title, T2.last_name FROM papers AS T1 JOIN authorship ", "AS", "ON"),
        ("SELECT T1.office FROM people AS T1 JOIN people AS T2 ON T1.id = T2.", "id", "boss"),
        ("SELECT title, last_name, name FROM papers JOIN ", "papers", "authorship"),
    ],
)
def test_what_may_come_next(papers, so_far, no, yes):
    assert samples.follows(papers, so_far + yes)
    assert not samples.follows(papers, so_far + no)


def test_a_key_of_two_columns_is_two_links(vocabulary):
    tables = {"a": ("x", "y"), "b": ("x", "y", "z")}
    schema = samples.make_schema(tables, ("b.x=a.x", "b.y=a.y"))
    made = constraint.SchemaConstraint(vocabulary, schema, along_keys=True)
    query = "SELECT b.z FROM a JOIN b ON a.x = b.x AND b.y = a.y"
    assert samples.is_query(made, query)
    assert not samples.follows(made, f"{query} AND")
    assert not samples.follows(made, "SELECT b.z FROM a JOIN b ON a.x = b.x AND a.x")


def test_many_tables_with_the_same_columns_are_searched_within_bounds(vocabulary):
    """A chain of tables of which each has a name: four of them can be linked in many ways."""
    tables = {f"k{i}": ("id", "name", "prev_id", f"c{i}") for i in range(25)}
    keys = tuple(f"k{i}.prev_id=k{i - 1}.id" for i in range(1, 25))
    made = constraint.SchemaConstraint(
        vocabulary, samples.make_schema(tables, keys), along_keys=True
    )
    assert samples.follows(made, "SELECT T1.name, T2.name, T3.name, T4.name FROM ")
    assert made._parser.check.choices._fits.cache_info().currsize < 20_000
    assert samples.follows(made, "SELECT c3, name FROM ")


def test_an_alias_has_room(papers, vocabulary):
    """Though the tables that could still come would take more than what is left."""
    guide = constraint.Guide(papers, 200)
    text = b"SELECT T1.title FROM papers AS T1 JOIN authorship AS "
    for token in vocabulary.encode(text):
        guide.advance(token)
    (token,) = vocabulary.encode(b"T")
    assert guide.allows(token)


def test_random_answers_join_along_keys_and_sqlite_prepares_them(papers):
    database = samples.make_database(samples.PAPERS)
    links, joins = make_links(), 0
    for seed in range(60):
        text = samples.random_answer(papers, limit=120 + 5 * seed, seed=seed).decode()
        database.execute(f"EXPLAIN {text}")
        for select in sqlglot.parse_one(text, dialect="sqlite").find_all(exp.Select):
            joins += check_joins(select, links)
    assert joins > 20


def check_joins(select: exp.Select, links: Links) -> int:
    """Checks that every join of tables is on one of the links, and counts them."""
    joins = select.args.get("joins") or []
    sources = [select.args["from_"].this, *(join.this for join in joins)]
    if not all(isinstance(source, exp.Table) for source in sources):
        return 0
    tables = {source.alias_or_name.lower(): source.name.lower().encode() for source in sources}
    for join in joins:
        on = join.args["on"]
        for equality in on.flatten() if isinstance(on, exp.And) else [on]:
            assert isinstance(equality, exp.EQ)
            one, other = equality.left, equality.right
            pair = one.name.lower().encode(), other.name.lower().encode()
            assert pair in links.pairs(tables[one.table.lower()], tables[other.table.lower()])
    return len(joins)


def test_an_arm_that_repeats_tables_has_room(papers, vocabulary):
    """A star has the next arm name the same tables, joins and all."""
    arm = b"SELECT * FROM papers JOIN authorship ON papers.paper_id = authorship.paper_id"
    position = lexer.steps(papers.before_prefix, arm + b" UNION")
    assert completion.bound(position, papers.count) >= len(vocabulary.encode(b" " + arm))


@pytest.mark.weights
def test_a_word_that_could_only_become_another_is_not_begun():
    """The model means T2, which is to come; it could only go on to spell the table in between."""
    vocabulary = samples.gemma_vocabulary()
    tables = {
        "Papers": ("Paper_ID", "Title"),
        "Teams": ("Paper_ID", "Author_ID"),
        "Authors": ("Author_ID", "Name"),
    }
    keys = ("Teams.Paper_ID=Papers.Paper_ID", "Teams.Author_ID=Authors.Author_ID")
    made = constraint.SchemaConstraint(
        vocabulary, samples.make_schema(tables, keys), along_keys=True
    )
    guide = constraint.Guide(made, 128)
    text = b"SELECT T1.Title, T2.Name FROM Papers AS T1 JOIN Teams ON T1.Paper_ID ="
    for token in vocabulary.encode(text):
        assert guide.accept([token])
    (begun,), (whole,) = vocabulary.encode(b" T"), vocabulary.encode(b" Teams")
    assert samples.goes_on(made, guide, begun) and not guide.allows(begun)
    assert guide.allows(whole)
    allowed = guide.allowed().unpacked(vocabulary.size)
    assert allowed[whole] and not allowed[begun]
