"""What `clean_sql` keeps, what it takes away, and what it costs on hostile text."""

import pathlib
import sqlite3

import cpu_time
import hypothesis
import pytest
from hypothesis import strategies as st

from t2sql.sql.clean import clean_sql, why_no_query
from t2sql.sql.tokens import tokenize

COUNT = "SELECT COUNT(*) FROM singer"
TRICKY = """SELECT 'a;b -- c ``` “d” /* e */ <eos>', "x;y", `z` FROM [t u] WHERE v = 'it''s'"""


def gold(root: pathlib.Path, split: str) -> list[list[str]]:
    """The distinct (query, db_id) of a split."""
    lines = set((root / f"{split}_gold.sql").read_text().splitlines())
    return [line.rsplit("\t", 1) for line in sorted(lines) if line.strip()]


def essence(sql: str) -> list[str]:
    return [t.text for t in tokenize(sql.strip().rstrip(";")) if t.kind not in ("space", "comment")]


@pytest.mark.parametrize(
    "noisy",
    [
        "{};",
        "  {} ; ",
        "```sql\n{};\n```",
        "```sql\n{}\n```<end_of_turn>",
        "```\n{}\n```",
        "```SQLite\n{}",
        "```sql {}```",
        "{}\n```\n\nThis query counts the singers.",
        "~~~sql\n{}\n~~~",
        "[SQL]{}[/SQL]",
        "{}.",
        "SQL: {}.\n",
        "{}<end_of_turn>",
        "{};<eos>\n<start_of_turn>model\nSELECT 2",
        "<start_of_turn>model\n{}<end_of_turn>\n",
        "<bos>{}</s>",
        "{}<|im_end|>",
        "Here is the query:\n\n{}\n\nThis query returns the number of singers.",
        "Here's the SQL query you asked for: {}",
        "Sure! Here's the query:\n```sql\n{};\n```\nIt's simple: we count.",
        "SQL: {}",
        "**SQL:** {}",
        "**{}**",
        "The answer is **{}**.",
        "{}。",
        "答案：{}。这条查询统计歌手的数量。",
        "Answer: `{}`",
        "The query is `{}`.",
        "sqlite> {};\n6",
        "1. {}",
        "{}; SELECT 2",
        "{}\n\nSELECT name FROM singer",
        "{}\nQuestion: How old are they?\nSELECT age FROM singer",
        "{}\n\n-- Question: How old are they?\nSELECT age FROM singer",
        "-- SELECT counts them\n{} -- all of them",
        "/* SELECT\n nothing */\n{} /* never closed",
        "{}\n\n**Explanation:**\n\n* `COUNT(*)` counts the rows.",
        "{}\n\n### Explanation",
        "{}\n1. The query counts every row.",
        "{}\n- This counts every row.",
        "{}\n\nIn this query, we count all singers.",
        "{}\nThis is it.",
        "<sql>{}</sql>",
        '{{"sql": "{}"}}',
        "$$\\boxed{{{}}}$$",
        "\\begin{{code}}\n{}\\end{{code}}",
        "{} \\end{{document}}",
        "\\boxed{{\\text{{{};}}}}.",
        "The answer is $\\boxed{{ {} }}$, for it counts.",
        "{} # all of them",
        "## SQL: {}",
        "Query #1: {}",
        "# counts the singers: select\n{}  # it's so\n",
        "{}\n# Explanation\n`COUNT` counts",
        "Select the number of singers:\n{}",
        "With this query we count.\n{}",
        "\ufeff{}\u00a0",
    ],
)
def test_noise_goes(noisy):
    assert clean_sql(noisy.format(COUNT)) == COUNT


@pytest.mark.parametrize(
    "statement",
    [
        TRICKY,
        "WITH a AS (SELECT 1), b(x) AS (SELECT 2) SELECT * FROM a JOIN b",
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "SELECT a FROM b UNION SELECT c FROM d",
        "SELECT a FROM b WHERE c IN (SELECT d FROM e) ORDER BY a DESC LIMIT 1",
        "SELECT CASE WHEN a THEN b ELSE c END FROM d",
        "SELECT rank() OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        "SELECT CAST(a AS UNSIGNED BIG INT) FROM b",
        "select a b from c d",
        "VALUES (1), (2)",
        "INSERT INTO a SELECT * FROM b",
        "DROP TABLE singer",
        "SELECT 'Here is the query: SELECT 1'",
        "SELECT a - b, -c, a -- b".removesuffix(" -- b"),
        "SELECT ~~~a, [SQL], 5. FROM b",
    ],
)
@pytest.mark.parametrize("noisy", ["{}", "```sql\n{};\n```", "Here it is:\n{};\nDone, as you see."])
def test_statements_survive(statement, noisy):
    assert clean_sql(noisy.format(statement)) == statement


@pytest.mark.parametrize(
    "wrong",
    [
        "SELECT the average age FROM (SELECT age FROM singer)",
        "SELECT a FROM b WHRE age > 3",
        "SELECT COUNT( FROM singer",
        "SELECT name FROM singer WHERE x = 'open",
        "SELECT * FROM a JOIN b T1.x = T2.x",
    ],
)
def test_wrong_sql_stays_wrong(wrong):
    assert clean_sql(wrong) == wrong
    assert clean_sql(f"```sql\n{wrong.replace(' FROM', '\nFROM').replace(' WH', '\nWH')}") == wrong


def test_comments_inside_of_a_statement_go():
    for mark in ("--", "#"):
        noisy = f"SELECT a {mark} it's the name\n  FROM b\n{mark} FROM c\nWHERE d = '#x -- y'"
        assert clean_sql(noisy) == "SELECT a FROM b WHERE d = '#x -- y'"


def test_curly_quotes_become_straight_outside_of_literals_only():
    assert clean_sql("SELECT a FROM b WHERE c = ‘France’") == "SELECT a FROM b WHERE c = 'France'"
    assert clean_sql("SELECT a FROM b WHERE c = “O’Brien”") == 'SELECT a FROM b WHERE c = "O’Brien"'
    assert clean_sql("SELECT ‘O’Brien’") == "SELECT 'O’Brien'"
    assert clean_sql("SELECT 'it’s “so”'") == "SELECT 'it’s “so”'"


@pytest.mark.parametrize(
    "text", ["", " \n", "I do not know.", "```sql\n```", "<end_of_turn>", "--"]
)
def test_no_statement_is_empty(text):
    assert clean_sql(text) == ""


@pytest.mark.spider
@pytest.mark.parametrize("split", ["dev", pytest.param("train", marks=pytest.mark.slow)])
def test_gold_queries_keep_every_token(split, spider_root):
    for query, _ in gold(spider_root, split):
        cleaned = clean_sql(query)
        assert essence(cleaned) == essence(query)
        assert clean_sql(cleaned) == cleaned
        assert clean_sql(f"Sure, here it is:\n```sql\n{query.strip()}\n```<end_of_turn>") == cleaned
        assert essence(clean_sql("\n\n".join(essence(query)))) == essence(query)


@pytest.mark.spider
def test_gold_queries_give_the_same_rows(spider_root):
    for query, db_id in gold(spider_root, "dev")[::4]:
        path = spider_root / "database" / db_id / f"{db_id}.sqlite"
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            connection.text_factory = bytes
            rows = connection.execute(query).fetchmany(1000)
            assert connection.execute(clean_sql(query)).fetchmany(1000) == rows


PIECES = """SELECT|select|WITH a AS (|FROM|t|'x'|'|"|`|```|```sql|;|--|/*|*/|\n|\n\n| |(|)|,|.|*|
1|This is the query|Explanation:|<eos>|<end_of_turn>|“|”|‘|’|UNION|\\|\0|é|[|]|**|#|AS|b c d|:|{|}|
#|。"""


@hypothesis.given(
    st.one_of(st.text(), st.lists(st.sampled_from(PIECES.split("|")), max_size=40).map(" ".join))
    | st.lists(st.sampled_from(PIECES.split("|")), max_size=40).map("".join)
)
@hypothesis.example("SELECT.```")
@hypothesis.example("SELECT . .")
@hypothesis.settings(max_examples=1500, deadline=None)
def test_any_text_cleans_once_and_for_all(text):
    cleaned = clean_sql(text)
    assert clean_sql(cleaned) == cleaned


@pytest.mark.parametrize(
    "unit",
    ["'", '"', "`", "[", "(", "‘a", "“", "/*", "--\n", "SELECT ", "SELECT '", "a\n", "\n", "a b\n"]
    + ["SELECT a FROM b\n", "/**/", "<", "x 'select ", "select\n", "```", "((SELECT", "1."]
    + ["#", "#\n", "a # b\n", "{", "\\boxed{select "],
)
@pytest.mark.parametrize("prefix", ["", "SELECT "])
def test_time_grows_no_faster_than_the_text(prefix, unit):
    short, long = (prefix + unit * (length // len(unit)) for length in (20_000, 80_000))
    base = cpu_time.seconds(lambda: clean_sql(short))
    # Four times the text; sixteen times the time, if every place were looked at from every other.
    assert cpu_time.seconds(lambda: clean_sql(long)) < 8 * base + 0.1


@pytest.mark.parametrize(
    "remark",
    [
        " This query returns the names of all",
        " The answer is 5.",
        " which gives the names",
        " Explanation: all of them",
        ". This returns the names",
        " I hope this helps!",
    ],
)
@pytest.mark.parametrize(
    "query", [COUNT, "SELECT a FROM b AS c WHERE c.d = 'x'", "select a from b"]
)
def test_a_sentence_behind_a_query_on_its_line_goes(query, remark):
    assert clean_sql(query + remark) == query


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM b c d WHERE e = 1",
        "SELECT a b c d FROM e",
        "SELECT a FROM b c",
        "SELECT a FROM b NATURAL JOIN c d",
        "INSERT INTO a b c d",
    ],
)
def test_words_too_many_are_no_sentence_where_a_clause_follows(sql):
    assert clean_sql(sql) == sql


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT 1", ""),
        ("(SELECT 1)", ""),
        ("WITH a AS (SELECT 1) SELECT * FROM a", ""),
        ("WITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a", "INSERT changes the database"),
        ("drop table a", "DROP changes the database"),
        ("SHOW TABLES", "SHOW asks for no rows"),
        ("Show the names:\nSELECT a FROM b", ""),
        ("Use this: SELECT a FROM b", ""),
        ("EXPLAIN SELECT 1", "EXPLAIN asks for no rows"),
        ("SELECT replace(a, 'b', 'c') FROM d", ""),
        ("", ""),
    ],
)
def test_why_a_statement_is_no_query(sql, why):
    said = why_no_query(sql)
    assert said.startswith(f"no query: {why}") if why else said == ""
