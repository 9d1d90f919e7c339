"""Whatever the text, the diagnosis comes back soon and raises nothing."""

import random

import cpu_time
import hypothesis
import pytest
from hypothesis import strategies as st
from test_diagnose import SCHEMA

from t2sql.data.examples import read_examples
from t2sql.data.read_schema import read_schemas
from t2sql.diagnosis.diagnose import diagnose

GOLD = (
    "SELECT T1.name, count(*) FROM singer AS T1 JOIN concert AS T2 ON T1.singer_id = T2.singer_id"
    " WHERE T2.year > 2014 AND T1.age > (SELECT avg(age) FROM singer)"
    " GROUP BY T1.singer_id HAVING count(*) > 1 ORDER BY count(*) DESC LIMIT 1"
)
MORE = "count() ( ) , ; ' \" ` UNION EXCEPT WITH x AS NOT IN EXISTS * . CASE WHEN"
WORDS = f"{GOLD} {MORE}".split()
CTES = ", ".join(f"c{i} AS (SELECT a.* FROM c{i - 1} a, c{i - 1} b)" for i in range(1, 40))
MEMBER = "singer_id IN (SELECT singer_id FROM concert)"
OLDEST = "age = (SELECT max(age) FROM singer)"

HOSTILE = {
    "deep brackets": "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
    "deep subqueries": "SELECT * FROM singer WHERE age IN " * 400 + "(1)",
    "deep queries": "SELECT " + "(SELECT " * 500 + "1" + ")" * 500,
    "negations": "SELECT name FROM singer WHERE " + "NOT " * 1_500 + "age",
    "minuses": "SELECT " + "- " * 1_900 + "1",
    "conjunction": "SELECT name FROM singer WHERE " + " AND ".join(["age > 1"] * 450),
    "disjunction": "SELECT name FROM singer WHERE " + " OR ".join(f"age={i}" for i in range(450)),
    "memberships": f"SELECT name FROM singer WHERE {' AND '.join([MEMBER] * 90)}",
    "extremes": f"SELECT name FROM singer WHERE {' AND '.join([OLDEST] * 90)}",
    "cases": "SELECT " + "CASE WHEN age > 1 THEN " * 200 + "1" + " END" * 200 + " FROM singer",
    "columns": "SELECT " + ", ".join(["name"] * 900) + " FROM singer",
    "self joins": "SELECT * FROM " + ", ".join(f"singer s{i}" for i in range(60)),
    "joins without end": "SELECT * FROM singer" + " JOIN singer" * 60,
    "joined subqueries": "SELECT * FROM singer" + " JOIN (SELECT * FROM singer)" * 60,
    "late joins": "SELECT * FROM singer WHERE" + " ON" * 60 + " FROM singer" + " JOIN singer" * 60,
    "bare joins": "SELECT * FROM singer" + " JOIN singer" * 8 + " WHERE age > 20",
    "set operations of aggregates": "SELECT max(age) FROM singer INTERSECT SELECT 1 FROM concert",
    "unions": " UNION ".join(["SELECT name FROM singer"] * 90),
    "doubling ctes": f"WITH c0 AS (SELECT 1 AS a), {CTES} SELECT * FROM c39",
    "recursive cte": "WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT * FROM n) SELECT * FROM n",
    "circular ctes": "WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM a",
    "a megabyte": "SELECT '" + "x" * 1_000_000 + "'",
    "a megabyte of words": "SELECT name FROM singer " * 40_000,
    "nul bytes": "SELECT name\0 FROM singer",
    "surrogates": "SELECT '\ud800' FROM singer",
    "attach": "ATTACH 'x.db' AS x",
    "pragma": "PRAGMA writable_schema = 1",
    "drop": "DROP TABLE singer",
    "insert": "INSERT INTO singer SELECT * FROM singer",
    "values": "VALUES (1), (2)",
    "parameters": "SELECT ?1, :name, @x FROM singer",
    "windows": "SELECT rank() OVER (PARTITION BY age ORDER BY name) FROM singer WINDOW w AS ()",
    "natural": "SELECT * FROM singer NATURAL JOIN concert NATURAL LEFT JOIN stadium",
    "no from": "SELECT *",
    "huge numbers": "SELECT name FROM singer ORDER BY 99999999999999999999 LIMIT 1e999",
    "huge ordinals": f"SELECT name FROM singer GROUP BY {'9' * 5_000}",
    "row values": "SELECT name FROM singer WHERE (age, name) IN (SELECT age, name FROM singer)",
    "json": "SELECT age -> '$.a' ->> 'b' FROM singer",
    "no columns": "SELECT FROM singer",
    "fetch": "SELECT name FROM singer FETCH FIRST 1 ROWS ONLY",
    "table functions": "SELECT value FROM json_each('[1]'), pragma_table_info('singer')",
    "empty calls": "SELECT count(), sum(), total() FROM singer WHERE age IN ()",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("gold", [GOLD, "SELECT name FROM singer UNION SELECT name FROM stadium"])
def test_hostile_text_is_diagnosed_soon(name, gold):
    findings = []
    seconds = cpu_time.seconds(lambda: findings.extend(diagnose(gold, HOSTILE[name], SCHEMA)))
    assert findings, "it differs from gold and nothing was found"
    assert seconds < 3


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_gold_is_no_trouble(name):
    diagnose(HOSTILE[name], GOLD, SCHEMA)
    diagnose(HOSTILE[name], HOSTILE[name], SCHEMA)


@hypothesis.given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)))
@hypothesis.settings(max_examples=400)
def test_any_text_is_diagnosed(text):
    for finding in diagnose(GOLD, text, SCHEMA):
        assert "\n" not in finding.message


@pytest.mark.parametrize(
    "predicted",
    [
        "SELECT 'open\nto the end",
        f"SELECT '{'x' * 10_000}",
        f"SELECT {'z' * 10_000} FROM singer",
        "SELECT name FROM singer WHERE country = 'a\u2028b\nc'",
    ],
)
def test_messages_are_one_line_and_not_long(predicted):
    findings = diagnose(GOLD, predicted, SCHEMA)
    assert findings
    for finding in findings:
        assert len(finding.message.splitlines()) == 1
        assert len(finding.message) < 1_100


@pytest.mark.spider
def test_any_two_gold_queries_are_compared(spider_root):
    """Each with itself and another one in a set operation, and the other one alone."""
    by_database = {}
    for example in read_examples(spider_root, "dev", with_schema=False):
        by_database.setdefault(example.db_id, []).append(example.query.strip())
    schemas = read_schemas(spider_root, by_database)
    rng = random.Random(0)
    for db_id, queries in by_database.items():
        for gold in queries[::2]:
            other, third = rng.choice(queries), rng.choice(queries)
            operation = rng.choice(["UNION", "INTERSECT", "EXCEPT"])
            for predicted in (other, f"{gold} {operation} {other}", f"{other} {operation} {third}"):
                diagnose(gold, predicted, schemas[db_id])
                diagnose(predicted, gold, schemas[db_id])
