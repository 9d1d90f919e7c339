"""The canonical CREATE TABLE text: pinned by example, and by what SQLite makes of it."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_facts import describe_tables

from t2sql.data import ddl
from t2sql.sql import names as names_lib


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("CREATE TABLE t(a int,b  text\n)", "CREATE TABLE t (a int, b text)"),
        ('CREATE TABLE "t" (`a` "int", [b] \'text\')', "CREATE TABLE t (a int, b text)"),
        ("CREATE TABLE t (a -- why, then\n, b /* c, */ int)", "CREATE TABLE t (a, b int)"),
        ("CREATE TABLE t (a int /* open", "CREATE TABLE t (a int"),
        (
            "CREATE TABLE 'order' (`group` int, [a b] int, \"it's\" int, 'say \"x\"' int)",
            'CREATE TABLE "order" ("group" int, "a b" int, "it\'s" int, "say ""x""" int)',
        ),
        (
            "CREATE TABLE t (a int primary key not null default null)",
            "CREATE TABLE t (a int PRIMARY KEY NOT NULL DEFAULT null)",
        ),
        (
            "CREATE TABLE t (key int, primary key(key))",
            "CREATE TABLE t (key int, PRIMARY KEY (key))",
        ),
        ("CREATE TABLE match (a)", "CREATE TABLE match (a)"),
        (
            "CREATE TABLE t (a int constraint x references u (b) on delete cascade, "
            "constraint y foreign key ( a ) references u(b))",
            "CREATE TABLE t (a int REFERENCES u(b) ON DELETE CASCADE, "
            "FOREIGN KEY (a) REFERENCES u(b))",
        ),
        ("CREATE TABLE t (a decimal( 10 , 2 ))", "CREATE TABLE t (a decimal(10,2))"),
        ("CREATE TABLE t (a default -1, b default 'x  y')", None),
        (
            "CREATE TABLE t (a DEFAULT \"x\", b DEFAULT x'0aff', c DEFAULT .5, d DEFAULT +1e-5)",
            None,
        ),
        ("CREATE TABLE t (a default( 1+ 2 ))", "CREATE TABLE t (a DEFAULT (1+ 2))"),
        (
            "CREATE TABLE t (a check(a in ('in',\"b\") and\n a<>'/*'))",
            "CREATE TABLE t (a CHECK (a in ('in',\"b\") and a<>'/*'))",
        ),
        (
            "CREATE TABLE t (a, b generated always as (a || '--') stored)",
            "CREATE TABLE t (a, b GENERATED ALWAYS AS (a || '--') stored)",
        ),
        ("CREATE TABLE t (a text collate nocase primary key) without rowid", None),
        ("CREATE TABLE t (größe int, 'größe2' int, €uro int)", None),
        (
            "CREATE VIRTUAL TABLE t USING fts5(\n  a, \"b\", tokenize = 'porter  ascii')",
            "CREATE VIRTUAL TABLE t USING fts5(a, \"b\", tokenize = 'porter  ascii')",
        ),
    ],
)
def test_canonical_form(written, canonical):
    found = ddl.canonical_table(written)
    if canonical is not None:
        assert found == canonical
    else:
        assert table_of(found) == table_of(written)
    assert ddl.canonical_table(found) == found


def test_a_constraint_name_without_a_constraint_stays():
    written = "CREATE TABLE t (a INT, CONSTRAINT x)"
    assert table_of(written) == table_of(ddl.canonical_table(written))


names = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12
) | st.sampled_from(["order", "select", "key", "DEFAULT", "as", "check", "a b", "--", "/*", "x''"])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(names, min_size=2, max_size=4, unique_by=str.lower),
    st.sampled_from(["", " int", " varchar( 20 )", " TEXT default 'a  --b'", " DEFAULT -1"]),
)
def test_any_names_survive(columns, declaration):
    parts = [f"{names_lib.quoted(name)}{declaration} -- comment\n" for name in columns]
    key = ",\n".join(map(names_lib.quoted, columns[:2]))
    written = (
        f"CREATE TABLE {names_lib.quoted(columns[0])}({','.join(parts)}, primary  key( {key} ))"
    )
    if columns[0].lower().startswith("sqlite_"):
        return
    found = ddl.canonical_table(written)
    assert table_of(found) == table_of(written)
    assert ddl.canonical_table(found) == found


@settings(max_examples=200, deadline=None)
@given(names)
def test_a_quoted_name_names_the_column(name):
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE t ({names_lib.quote_name(name)})")
    assert connection.execute("SELECT * FROM t").description[0][0] == name


def table_of(sql: str):
    """What SQLite says of the table that a statement creates."""
    connection = sqlite3.connect(":memory:")
    connection.execute(sql)
    return describe_tables(connection)
