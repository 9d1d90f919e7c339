"""Another spelling of what gold says is not the error, and messages that people read."""

import re

import pytest
from test_diagnose import GOLD, SCHEMA, errors, message

from t2sql.diagnosis.diagnose import Finding, diagnose

OLDEST = "SELECT name FROM singer ORDER BY age DESC LIMIT 1"
OLDEST_SPELLINGS = [
    OLDEST,
    "SELECT name FROM singer WHERE age = (SELECT max(age) FROM singer)",
    "SELECT name FROM singer WHERE age IN (SELECT age FROM singer ORDER BY age DESC LIMIT 1)",
    "SELECT name FROM singer WHERE singer_id = "
    "(SELECT singer_id FROM singer ORDER BY age DESC LIMIT 1)",
    "SELECT name FROM (SELECT name, rank() OVER (ORDER BY age DESC) AS n FROM singer) WHERE n = 1",
    "SELECT name FROM (SELECT name, row_number() OVER (ORDER BY age DESC) AS n FROM singer)"
    " WHERE n = 1",
]
MOST = "SELECT country FROM singer GROUP BY country ORDER BY count(*) DESC LIMIT 1"
MOST_SPELLING = (
    "SELECT country FROM singer GROUP BY country HAVING count(*) = "
    "(SELECT max(n) FROM (SELECT count(*) AS n FROM singer GROUP BY country))"
)
SUPERLATIVES = [
    *((gold, predicted) for gold in OLDEST_SPELLINGS for predicted in OLDEST_SPELLINGS),
    (MOST, MOST_SPELLING),
    (MOST_SPELLING, MOST),
    ("SELECT max(age) FROM singer", "SELECT age FROM singer ORDER BY age DESC LIMIT 1"),
    (
        "SELECT name FROM singer WHERE country = 'x' ORDER BY age LIMIT 1",
        "SELECT name FROM singer WHERE country = 'x' AND age = "
        "(SELECT min(age) FROM singer WHERE country = 'x')",
    ),
    (
        "SELECT T1.name FROM singer AS T1 JOIN concert AS T2 ON T1.singer_id = T2.singer_id"
        " WHERE T1.country = 'x' ORDER BY T2.year LIMIT 1",
        "SELECT T1.name FROM singer AS T1 JOIN concert AS T2 ON T1.singer_id = T2.singer_id"
        " WHERE T1.country = 'x' AND T2.year = (SELECT min(year) FROM concert)",
    ),
]


@pytest.mark.parametrize(("gold", "predicted"), SUPERLATIVES)
def test_an_extreme_in_another_spelling_is_the_extreme(gold, predicted):
    """What sets the spellings apart, rows that tie and NULL, is all that may be found."""
    told = {"missing_limit", "extra_limit", "wrong_aggregate"}
    findings = diagnose(gold, predicted, SCHEMA)
    assert len(findings) <= 1
    assert {finding.error for finding in findings} <= told
    assert all("tie" in finding.message for finding in findings)


@pytest.mark.parametrize(("gold", "predicted"), SUPERLATIVES)
def test_the_error_is_found_beside_an_extreme_in_another_spelling(gold, predicted):
    wrong = predicted.replace("SELECT ", "SELECT song, ", 1)
    assert [f.error for f in diagnose(gold, wrong, SCHEMA) if f.error != "invalid_sql"] == [
        "invented_column",
        "wrong_columns",
    ]


OPPOSITES = [
    *(
        (gold, re.sub("max", "min", p).replace(" DESC", ""))
        for gold, p in SUPERLATIVES[: len(OLDEST_SPELLINGS) ** 2]
    ),
    (MOST, MOST.replace("DESC", "ASC")),
    (MOST, MOST_SPELLING.replace("max", "min")),
    (OLDEST, OLDEST.replace("age", "singer_id")),
    (OLDEST, "SELECT name FROM singer ORDER BY name"),
    (OLDEST, "SELECT name FROM singer LIMIT 1"),
    ("SELECT max(age) FROM singer", "SELECT min(age) FROM singer"),
]


@pytest.mark.parametrize(("gold", "predicted"), OPPOSITES)
def test_another_extreme_is_a_misread_superlative(gold, predicted):
    assert "misread_superlative" in errors(gold, predicted)


@pytest.mark.parametrize(
    "predicted",
    [
        OLDEST.replace("LIMIT 1", ""),
        OLDEST.replace("LIMIT 1", "LIMIT 3"),
        "SELECT avg(age) FROM singer ORDER BY age DESC",
    ],
)
def test_an_extreme_cut_otherwise_is_not_misread(predicted):
    assert "misread_superlative" not in errors(OLDEST, predicted)


def test_the_extreme_of_a_foreign_key_is_that_of_its_key():
    gold = (
        "SELECT name FROM singer AS T1 JOIN concert AS T2 ON T1.singer_id = T2.singer_id"
        " ORDER BY T1.singer_id LIMIT 1"
    )
    assert diagnose(gold, gold.replace("BY T1", "BY T2"), SCHEMA) == []
    findings = errors(gold, "SELECT min(singer_id) FROM concert")
    assert "misread_superlative" not in findings
    assert "misread_superlative" in errors(gold, "SELECT min(stadium_id) FROM concert")


def test_a_count_tested_for_the_most_is_named():
    predicted = "SELECT country FROM singer GROUP BY country HAVING count(*) > 10"
    assert message(MOST, predicted, "misread_superlative").endswith("takes COUNT(*) > 10 for it")


def test_rows_that_an_extreme_is_taken_from_are_compared():
    gold = "SELECT name FROM singer WHERE country = 'x' ORDER BY age DESC LIMIT 1"
    findings = diagnose(
        gold,
        "SELECT name FROM singer WHERE country = 'x' AND age = "
        "(SELECT max(age) FROM singer WHERE country = 'y')",
        SCHEMA,
    )
    assert findings == [
        Finding("wrong_value", "in the subquery: compares singer.Country with 'y'; gold with 'x'")
    ]


NO_CONCERT = "SELECT name FROM singer WHERE singer_id NOT IN (SELECT singer_id FROM concert)"
CONCERT_IN = "SELECT name FROM singer WHERE singer_id IN (SELECT singer_id FROM concert)"
MEMBERSHIPS = [
    (
        NO_CONCERT,
        "SELECT name FROM singer AS s WHERE NOT EXISTS"
        " (SELECT 1 FROM concert AS c WHERE s.singer_id = c.singer_id)",
    ),
    (
        NO_CONCERT,
        "SELECT name FROM singer LEFT JOIN concert ON singer.singer_id = concert.singer_id"
        " WHERE concert.concert_id IS NULL",
    ),
    (
        NO_CONCERT,
        "SELECT name FROM singer EXCEPT SELECT name FROM singer JOIN concert"
        " ON singer.singer_id = concert.singer_id",
    ),
    (
        CONCERT_IN,
        "SELECT name FROM singer WHERE EXISTS"
        " (SELECT * FROM concert WHERE concert.singer_id = singer.singer_id)",
    ),
    (
        CONCERT_IN,
        "SELECT name FROM singer JOIN concert ON singer.singer_id = concert.singer_id",
    ),
    (
        "SELECT name FROM singer WHERE age > 3 INTERSECT SELECT name FROM singer WHERE age < 9",
        "SELECT name FROM singer WHERE age > 3 AND name IN (SELECT name FROM singer WHERE age < 9)",
    ),
    (
        "SELECT name FROM singer WHERE age > 3 UNION SELECT name FROM singer WHERE country = 'x'",
        "SELECT name FROM singer WHERE age > 3 OR country = 'x'",
    ),
]
MEMBERSHIPS += [
    (
        "SELECT T1.name, T1.age FROM singer AS T1 JOIN concert AS T2 ON T1.singer_id = T2.singer_id"
        " WHERE T2.year = 3 INTERSECT SELECT T1.name, T1.age FROM singer AS T1 JOIN concert AS T2"
        " ON T1.singer_id = T2.singer_id WHERE T2.year = 4",
        "SELECT name, age FROM singer WHERE"
        " singer_id IN (SELECT singer_id FROM concert WHERE year = 3)"
        " AND singer_id IN (SELECT singer_id FROM concert WHERE year = 4)",
    ),
    (
        "SELECT name FROM singer WHERE name NOT IN (SELECT T1.name FROM singer AS T1"
        " JOIN concert AS T2 ON T1.singer_id = T2.singer_id WHERE T2.year = 3)",
        "SELECT name FROM singer WHERE singer_id NOT IN"
        " (SELECT singer_id FROM concert WHERE year = 3)",
    ),
    (
        "SELECT name FROM singer JOIN concert ON singer.singer_id = concert.singer_id"
        " ORDER BY year LIMIT 1",
        "SELECT name FROM singer WHERE singer_id ="
        " (SELECT singer_id FROM concert ORDER BY year LIMIT 1)",
    ),
]
MEMBERSHIPS += [pair[::-1] for pair in MEMBERSHIPS]


@pytest.mark.parametrize(("gold", "predicted"), MEMBERSHIPS)
def test_membership_in_another_spelling_is_one_finding_at_most(gold, predicted):
    findings = diagnose(gold, predicted, SCHEMA)
    assert [finding.error for finding in findings] in (["wrong_nesting"], ["wrong_set_operation"])


@pytest.mark.parametrize(("gold", "predicted"), MEMBERSHIPS)
def test_the_error_is_found_beside_membership_in_another_spelling(gold, predicted):
    sides = 2 if re.search("UNION|EXCEPT|INTERSECT", predicted) else 1
    wrong = re.sub(r"SELECT (T1\.)?name", r"SELECT \1country", predicted, count=sides)
    findings = errors(gold, wrong)
    assert set(findings) - {"wrong_nesting", "wrong_filter_column"} == {"wrong_columns"}
    assert "wrong_nesting" not in findings or "JOIN" in gold + predicted


def test_a_key_tested_by_in_is_the_join():
    gold = (
        "SELECT year FROM concert AS T1 JOIN singer AS T2 ON T1.singer_id = T2.singer_id"
        " WHERE T2.age > 3"
    )
    predicted = (
        "SELECT year FROM concert WHERE singer_id IN (SELECT singer_id FROM singer WHERE {})"
    )
    assert errors(gold, predicted.format("age > 4")) == ["wrong_value"]
    assert errors(gold, predicted.format("age > 3")) == ["wrong_nesting"]


def test_what_both_sides_of_a_union_ask_is_asked_once():
    side = "SELECT name FROM singer WHERE country = '{}' AND age > 3"
    gold = f"{side.format('x')} UNION {side.format('y')}"
    predicted = "SELECT name FROM singer WHERE country IN ('x', 'y')"
    assert errors(gold, predicted) == ["missing_filter"]
    assert errors(gold, f"{predicted} AND age > 3") == ["wrong_set_operation"]
    wider = "SELECT name FROM singer WHERE age > 3"
    assert errors(f"{side.format('x')} UNION {wider}", wider) == ["wrong_set_operation"]


def test_one_computed_row_that_is_joined_is_a_value():
    gold = "SELECT name FROM singer WHERE age > (SELECT avg(age) FROM singer)"
    predicted = (
        "WITH a AS (SELECT {}(age) AS m FROM singer) SELECT name FROM singer, a WHERE age > m"
    )
    assert diagnose(gold, predicted.format("avg"), SCHEMA) == []
    assert errors(gold, predicted.format("sum")) == ["wrong_aggregate"]


JOINED = (
    "SELECT T1.name FROM singer AS T1 JOIN concert AS T2 ON T1.singer_id = T2.singer_id"
    " WHERE T2.year = 3 AND T1.age > 3"
)
FILTERING = [
    "SELECT name FROM singer JOIN (SELECT * FROM concert WHERE year = 3) AS c"
    " ON singer.singer_id = c.singer_id WHERE age > 3",
    "WITH c AS (SELECT singer_id AS id FROM concert WHERE year = 3),"
    " s AS (SELECT name, singer_id FROM singer WHERE age > 3)"
    " SELECT s.name FROM s JOIN c ON c.id = s.singer_id",
    "SELECT s.name FROM (SELECT * FROM singer WHERE age > 3) AS s,"
    " (SELECT singer_id FROM concert WHERE year = 3 ORDER BY year) AS c"
    " WHERE s.singer_id = c.singer_id",
]


@pytest.mark.parametrize("predicted", FILTERING)
def test_a_joined_subquery_that_only_filters_is_its_table(predicted):
    assert errors(JOINED, predicted) == errors(predicted, JOINED) == []
    assert errors(JOINED, predicted.replace("year = 3", "year = 4")) == ["wrong_value"]
    assert errors(JOINED, predicted.replace(" WHERE age > 3", "")) == ["missing_filter"]


@pytest.mark.parametrize(
    "joined",
    [
        "JOIN (SELECT singer_id FROM concert WHERE year = 3 LIMIT 1) AS c",
        "JOIN (SELECT DISTINCT singer_id FROM concert WHERE year = 3) AS c",
        "JOIN (SELECT singer_id FROM concert WHERE year = 3 GROUP BY singer_id) AS c",
        "LEFT JOIN (SELECT singer_id FROM concert WHERE year = 3) AS c",
    ],
)
def test_a_joined_subquery_that_does_more_stays_one(joined):
    """It is told as such, and the table that it reads is not called missing."""
    predicted = f"SELECT name FROM singer {joined} ON singer.singer_id = c.singer_id WHERE age > 3"
    for findings in (errors(JOINED, predicted), errors(predicted, JOINED)):
        assert "wrong_nesting" in findings
        assert not {"missing_join", "extra_join", "wrong_table"} & set(findings)


def test_a_table_read_in_a_condition_is_not_joined():
    joined = (
        "SELECT T1.name FROM singer AS T1 JOIN concert AS T2 ON T1.singer_id = T2.singer_id"
        " GROUP BY T1.singer_id HAVING count(*) > 1"
    )
    nested = (
        "SELECT name FROM singer WHERE singer_id IN"
        " (SELECT singer_id FROM concert GROUP BY year HAVING count(*) > 2)"
    )
    assert message(joined, nested, "missing_join") == "does not join concert, as gold does"
    assert message(nested, joined, "extra_join") == (
        "joins concert, which gold reads in a subquery"
    )


def test_joined_subqueries_of_one_table_stay_apart():
    predicted = JOINED.replace("JOIN concert", "JOIN (SELECT * FROM singer WHERE age > 5)")
    assert "wrong_nesting" in errors(JOINED, predicted)


def test_a_lone_value_is_what_it_computes():
    gold = "SELECT max(age) FROM singer WHERE country = 'x'"
    assert errors(gold, f"SELECT ({gold})") == errors(f"SELECT ({gold}) AS m", gold) == []
    assert errors(gold, f"SELECT ({gold.replace('max', 'avg')})") == ["wrong_aggregate"]


def test_and_for_intersect_is_a_wrong_set_operation_alone():
    gold = "SELECT name FROM singer WHERE age > 3 INTERSECT SELECT name FROM singer WHERE age < 9"
    predicted = "SELECT name FROM singer WHERE age > 3 AND age < 9"
    assert errors(gold, predicted) == errors(predicted, gold) == ["wrong_set_operation"]


def test_the_columns_of_both_sides_of_a_union_are_compared_by_place():
    gold = "SELECT name, country FROM singer UNION SELECT name, capacity FROM stadium"
    swapped = gold.replace("name, capacity", "capacity, name")
    assert message(gold, swapped, "wrong_columns") == (
        "puts singer.Name with stadium.Capacity in one column; gold puts singer.Name with "
        "stadium.Name"
    )
    both = swapped.replace("name, country", "country, name")
    assert diagnose(gold, both, SCHEMA) == []


def test_counting_distinct_rows_of_a_subquery_is_count_distinct():
    gold = "SELECT count(DISTINCT country) FROM singer WHERE age > 3"
    for inner in ("SELECT DISTINCT country FROM singer", "SELECT country FROM singer"):
        group = "" if "DISTINCT" in inner else " GROUP BY country"
        predicted = f"SELECT count(*) FROM ({inner} WHERE age > 4{group})"
        assert errors(gold, predicted) == ["wrong_value"]


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("-age", "-singer.Age"),
        ("CASE WHEN age > 3 THEN 'a' END", "CASE WHEN singer.Age > 3 THEN 'a' END"),
        ("CAST(age AS REAL)", "CAST(singer.Age AS REAL)"),
        ("2 * (age + 1)", "(1 + singer.Age) * 2"),
        ("count(*) OVER (PARTITION BY age)", "COUNT(*) OVER (PARTITION BY singer.Age)"),
        ("strftime('%Y', age)", "STRFTIME('%Y', singer.Age)"),
        ("age COLLATE NOCASE", "singer.Age COLLATE NOCASE"),
    ],
)
def test_messages_show_expressions_as_sql(expression, shown):
    predicted = f"SELECT {expression} FROM singer"
    assert message("SELECT name FROM singer", predicted, "wrong_columns") == (
        f"returns {shown}; gold returns singer.Name"
    )


def test_messages_stay_short():
    gold = "SELECT name FROM singer"
    assert message(gold, "SELECT * FROM singer", "wrong_columns") == (
        "returns all columns of singer; gold returns singer.Name"
    )
    repeated = f"SELECT {', '.join(['name'] * 30)} FROM singer"
    assert message(gold, repeated, "wrong_columns") == "also returns singer.Name (29 times)"
    many = ", ".join(f"age + {number}" for number in range(20))
    assert message(gold, f"SELECT name, {many} FROM singer", "wrong_columns").endswith(
        "and 12 more"
    )
    number = f"{gold} WHERE age = 1{'0' * 500}"
    assert len(message(gold, number, "extra_filter")) < 150
    conditions = " OR ".join(f"age = {number}" for number in range(40))
    findings = diagnose(gold, f"{gold} WHERE {conditions}", SCHEMA)
    assert len(findings) == 13
    assert findings[-1] == Finding("extra_filter", "and 28 more like these")


def test_an_invented_table_has_one_meaning():
    gold = "SELECT name FROM stadium"
    findings = diagnose(gold, "SELECT name FROM singer_stadium", SCHEMA)
    assert [finding.message for finding in findings][1:] == [
        "`singer_stadium` is not a table of music; did you mean stadium?"
    ]


def test_the_tables_of_an_unreadable_query_are_looked_up():
    findings = errors(GOLD, "SELECT * FROM singer FROM band WHERE x = 1")
    assert findings == ["invalid_sql", "invented_table"]
    assert errors(GOLD, "WITH x AS (SELECT 1) SELECT * FROM x FROM singer") == ["invalid_sql"]


def test_a_word_that_the_limit_cut_is_not_invented():
    predicted = "SELECT name FROM singer WHERE coun"
    assert "invented_column" in errors(GOLD, predicted)
    assert "invented_column" not in errors(GOLD, predicted, status="max_tokens")
    assert "invented_column" in errors(GOLD, predicted + "_x", status="max_tokens")
