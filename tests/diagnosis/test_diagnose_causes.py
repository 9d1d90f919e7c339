"""The cause is named, and what only looks like a difference is not."""

import dataclasses

import pytest
from test_diagnose import SCHEMA, errors, message

from t2sql.diagnosis.diagnose import Finding, diagnose
from t2sql.evaluation.sandbox.sqlite_sandbox import ExecutionResult

JOINED = "FROM singer AS T1 JOIN concert AS T2 ON T1.singer_id = T2.singer_id"
MANY = "SELECT singer_id FROM concert GROUP BY singer_id HAVING count(*) > 2"


def test_counting_groups_is_compared_by_what_is_counted():
    gold = "SELECT count(*) FROM concert WHERE year = 2014"
    assert diagnose(gold, f"SELECT count(*) FROM ({MANY})", SCHEMA) == [
        Finding(
            "wrong_nesting",
            "computes COUNT(*) over the subquery (SELECT concert.Singer_ID FROM concert GROUP BY"
            " concert.Singer_ID HAVING COUNT(*) > 2), which gold does not",
        ),
        Finding("missing_filter", "lacks the condition concert.Year = 2014"),
        Finding("extra_filter", "keeps only groups with COUNT(*) > 2, which gold does not ask"),
    ]


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (f"SELECT count(*) FROM ({MANY})", []),
        (f"SELECT count(*) FROM ({MANY.replace('> 2', '> 3')})", ["wrong_value"]),
        (f"SELECT count(*) FROM ({MANY.replace('_id FROM', '_id, count(*) FROM')})", []),
        (MANY.replace("singer_id FROM", "count(*) FROM"), ["wrong_nesting"]),
        (MANY, ["wrong_aggregate", "wrong_columns", "wrong_nesting"]),
        (f"SELECT sum(n) FROM ({MANY.replace('singer_id FROM', 'count(*) AS n FROM')})",
         ["wrong_aggregate"]),
    ],
)  # fmt: skip
def test_gold_that_counts_groups(predicted, expected):
    assert errors(f"SELECT count(*) FROM ({MANY})", predicted) == expected


def test_a_mean_over_groups_is_no_wrong_aggregate_of_the_inner_query():
    gold = "SELECT avg(n) FROM (SELECT count(*) AS n FROM concert GROUP BY singer_id)"
    findings = diagnose(gold, "SELECT avg(year) FROM concert GROUP BY singer_id", SCHEMA)
    assert [finding.error for finding in findings] == ["wrong_nesting", "wrong_columns"]
    assert findings[1].message == "returns AVG(concert.Year); gold returns AVG(COUNT(*))"


GROUPED = [
    f"SELECT T1.name {JOINED} GROUP BY T1.singer_id HAVING count(*) > 2",
    f"SELECT name FROM singer WHERE singer_id IN ({MANY})",
    "SELECT name FROM singer WHERE singer_id IN (SELECT singer_id FROM"
    " (SELECT singer_id, count(*) AS n FROM concert GROUP BY singer_id) WHERE n > 2)",
    "SELECT name FROM singer s WHERE (SELECT count(*) FROM concert c"
    " WHERE c.singer_id = s.singer_id) > 2",
    "SELECT name FROM singer s WHERE EXISTS (SELECT 1 FROM concert c"
    " WHERE c.singer_id = s.singer_id GROUP BY c.singer_id HAVING count(*) > 2)",
    f"SELECT name FROM singer JOIN ({MANY}) AS x ON x.singer_id = singer.singer_id",
    f"WITH x AS ({MANY}) SELECT name FROM singer WHERE singer_id IN (SELECT singer_id FROM x)",
]


@pytest.mark.parametrize("gold", GROUPED)
@pytest.mark.parametrize("predicted", GROUPED)
def test_rows_with_many_matches_in_all_their_spellings(gold, predicted):
    assert set(errors(gold, predicted)) <= {"wrong_nesting"}
    other = predicted.replace("> 2", "> 5")
    assert errors(gold, other) == ["wrong_value"]


def test_a_count_for_each_group_is_not_a_count_of_them():
    gold = f"SELECT count(*) FROM singer WHERE singer_id IN ({MANY})"
    predicted = f"SELECT count(*) {JOINED} GROUP BY T1.singer_id HAVING count(*) > 2"
    assert errors(gold, predicted) == errors(predicted, gold) == ["wrong_nesting"]
    assert "computes for each group" in message(gold, predicted, "wrong_nesting")


PLAYED = "singer_id IN (SELECT singer_id FROM concert WHERE year = {})"
BOTH = [
    f"SELECT T1.name {JOINED} WHERE T2.year = 1"
    f" INTERSECT SELECT T1.name {JOINED} WHERE T2.year = 2",
    f"SELECT name FROM singer WHERE {PLAYED.format(1)} AND {PLAYED.format(2)}",
    "SELECT name FROM singer WHERE singer_id IN (SELECT singer_id FROM concert WHERE year = 1"
    " INTERSECT SELECT singer_id FROM concert WHERE year = 2)",
    f"SELECT T1.name {JOINED} WHERE T2.year = 1 AND T1.{PLAYED.format(2)}",
    f"SELECT T1.name {JOINED} JOIN concert AS T3 ON T1.singer_id = T3.singer_id"
    " WHERE T2.year = 1 AND T3.year = 2",
    f"SELECT T1.name {JOINED} WHERE T2.year IN (1, 2) GROUP BY T1.singer_id"
    " HAVING count(DISTINCT T2.year) = 2",
]


@pytest.mark.parametrize("predicted", BOTH[1:])
def test_intersect_by_memberships_differs_by_duplicates_alone(predicted):
    findings = diagnose(BOTH[0], predicted, SCHEMA)
    assert findings == [
        Finding(
            "wrong_set_operation",
            "is one SELECT; gold combines two by INTERSECT, which drops duplicates",
        )
    ]
    # Another value, and that alone.
    wrong = predicted.replace("year = 2", "year = 3").replace("(1, 2)", "(1, 3)")
    assert errors(BOTH[0], wrong) == ["wrong_value"]


def test_intersect_within_one_table_by_memberships():
    gold = (
        "SELECT country FROM singer WHERE age > 40 INTERSECT"
        " SELECT country FROM singer WHERE age < 30"
    )
    member = "country IN (SELECT country FROM singer WHERE age {})"
    both = f"SELECT country FROM singer WHERE {member.format('> 40')} AND {member.format('< 30')}"
    assert errors(gold, both) == ["wrong_set_operation"]
    assert errors(gold, both.replace("< 30", "< 20")) == ["wrong_value"]
    assert errors(gold, "SELECT country FROM singer WHERE age > 40") == ["wrong_set_operation"]


@pytest.mark.parametrize("operator", ["UNION", "UNION ALL"])
def test_or_by_union_differs_by_duplicates_alone(operator):
    gold = "SELECT name FROM singer WHERE country = 'a' OR age > 3 OR age = 1"
    sides = [f"SELECT name FROM singer WHERE {c}" for c in ("country = 'a'", "age > 3", "age = 1")]
    text = message(gold, f" {operator} ".join(sides), "wrong_set_operation")
    effect = "keeps a row of both twice" if "ALL" in operator else "drops duplicates"
    assert text == f"combines two SELECTs by {operator}, which {effect}; gold is one"
    sides[2] = sides[2].replace("1", "2")
    assert errors(gold, f" {operator} ".join(sides)) == ["wrong_value"]


@pytest.mark.parametrize(
    "keys", ["T1.singer_id, T1.name", "T2.singer_id, T1.name", "T1.country, T1.singer_id"]
)
def test_a_key_and_what_depends_on_it_group_as_the_key_does(keys):
    gold = f"SELECT T1.name, count(*) {JOINED} GROUP BY T1.singer_id"
    predicted = gold.replace("GROUP BY T1.singer_id", f"GROUP BY {keys}")
    assert diagnose(gold, predicted, SCHEMA) == diagnose(predicted, gold, SCHEMA) == []
    assert errors(gold, predicted.replace("count(*)", "max(age)")) == ["wrong_aggregate"]


def test_a_column_that_the_key_of_a_joined_row_decides_depends_on_it():
    gold = f"SELECT T2.concert_id, count(*) {JOINED} GROUP BY T2.concert_id"
    assert diagnose(gold, f"{gold}, T1.name", SCHEMA) == []
    assert errors(gold, gold.replace("BY T2.concert_id", "BY T1.name")) == ["wrong_group_by"]
    other = f"SELECT T1.name, count(*) {JOINED} GROUP BY T1.singer_id"
    assert errors(other, f"{other}, T2.year") == ["wrong_group_by"]


@pytest.mark.parametrize(
    "predicted",
    [
        'SELECT name || " " || country FROM singer WHERE age = 1',
        'SELECT name || ( " " ) || country FROM singer WHERE age = 1',
    ],
)
def test_text_in_double_quotes_as_an_operand_is_no_invented_column(predicted):
    assert errors("SELECT name || ' ' || country FROM singer", predicted) == ["extra_filter"]


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ("SELECT count(*) FROM singer WHERE country = (\"France\")", []),
        ('SELECT count(*) FROM singer WHERE "France" IN (country)', []),
        ('SELECT count(*) FROM singer WHERE country LIKE "%" || "France" || "%"',
         ["wrong_operator", "wrong_value"]),
        ('SELECT name || "nam" FROM singer', ["invented_column", "missing_filter",
         "wrong_aggregate", "wrong_columns"]),
        ('SELECT ", ", count(*) FROM singer WHERE country = "France"', ["wrong_columns"]),
        ('SELECT count("Nam") FROM singer WHERE country = "France"', ["invented_column"]),
    ],
)  # fmt: skip
def test_text_in_double_quotes_is_invented_where_it_may_be_a_name(predicted, expected):
    assert errors("SELECT count(*) FROM singer WHERE country = 'France'", predicted) == expected


@pytest.mark.parametrize(
    "execution", [None, ExecutionResult(status="error", message="not authorized")]
)
@pytest.mark.parametrize(
    ("predicted", "word"),
    [
        ("CREATE TABLE x (a INT)", "CREATE changes the database, and is not run"),
        ("create view v as select name from gone", "CREATE changes the database, and is not run"),
        ("INSERT INTO gone VALUES (1)", "INSERT changes the database, and is not run"),
        ("PRAGMA table_info(singer)", "PRAGMA asks for no rows of the database"),
        ("WITH x AS (SELECT 1) DELETE FROM gone", "DELETE changes the database, and is not run"),
        ("/* so */ vacuum into 'x'", "VACUUM changes the database, and is not run"),
    ],
)
def test_what_is_no_query_is_called_so_and_nothing_else(predicted, word, execution):
    findings = diagnose("SELECT name FROM singer", predicted, SCHEMA, execution=execution)
    assert findings == [Finding("invalid_sql", f"it is no query: {word}")]


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("\\end{code}", '"\\end{code}": clean it first (--clean)'),
        (" \\end{document} so", '"\\end{document} so": clean it first (--clean)'),
        (" ```", '"```": clean it first (--clean)'),
        ("\n\nThis query returns all names.",
         '"This query returns all names.": clean it first (--clean)'),
        (" This query returns all names",
         '"This query returns all names": clean it first (--clean)'),
        (" Here you are: all of them", '"Here you are: all of them": clean it first (--clean)'),
        (" AS s This returns all", '"This returns all"'),
        (". It returns all names", '". It returns all names"'),
    ],
)  # fmt: skip
def test_what_follows_the_query_is_told(text, after):
    findings = diagnose("SELECT name FROM singer", f"SELECT name FROM singer{text}", SCHEMA)
    assert findings[0].error == "invalid_sql"
    assert findings[0].message.endswith(f"the query is followed by {after}")


def test_what_stands_before_the_query_is_told():
    text = message("SELECT name FROM singer", "Answer: SELECT name FROM singer", "invalid_sql")
    assert text.endswith('the query stands after "Answer:": clean it first (--clean)')


@pytest.mark.parametrize("quotes", ["“{}”", "‘{}’"])
def test_curly_quotes_are_no_invented_column(quotes):
    predicted = f"SELECT name FROM singer WHERE country = {quotes.format('France')}"
    (finding,) = diagnose("SELECT name FROM singer WHERE country = 'France'", predicted, SCHEMA)
    assert finding.error == "invalid_sql"
    assert finding.message.endswith("curly quotes are letters to SQLite: clean it first (--clean)")


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        ("SELECT {name} FROM singer", 'unrecognized token: "{"'),
        ("SELECT name FROM singer WHERE country = <country>", 'near "<": syntax error'),
    ],
)
def test_a_template_that_was_not_filled_is_invalid_and_nothing_else(predicted, message):
    assert diagnose("SELECT name FROM singer", predicted, SCHEMA) == [
        Finding("invalid_sql", message)
    ]


def test_nulls_at_the_other_end_are_a_wrong_order():
    gold = "SELECT age FROM singer ORDER BY age"
    assert diagnose(gold, f"{gold} NULLS LAST", SCHEMA) == [
        Finding(
            "wrong_order",
            "orders by singer.Age ASC NULLS LAST; gold orders by singer.Age ASC",
        )
    ]
    assert diagnose(gold, f"{gold} ASC NULLS FIRST", SCHEMA) == []
    assert diagnose(f"{gold} DESC", f"{gold} DESC NULLS LAST", SCHEMA) == []
    assert errors(f"{gold} DESC", f"{gold} DESC NULLS FIRST") == ["wrong_order"]


def test_a_filter_in_having_tests_one_row_of_each_group():
    gold = "SELECT country, count(*) FROM singer WHERE age > 3 GROUP BY country"
    predicted = "SELECT country, count(*) FROM singer GROUP BY country HAVING age > 3"
    assert message(gold, predicted, "missing_filter") == (
        "tests singer.Age > 3 in HAVING, on one row of each group; gold on all rows"
    )
    assert errors(predicted, gold) == ["missing_having"]
    # Of one group all rows agree on what it is grouped by.
    assert diagnose(gold.replace("age > 3", "country = 'a'"),
                    predicted.replace("age > 3", "country = 'a'"), SCHEMA) == []  # fmt: skip
    key = "SELECT singer_id, count(*) FROM singer {}GROUP BY singer_id"
    late = key.format("") + " HAVING age > 3"
    # So with what depends on a key, if it is the whole key.
    assert errors(key.format("WHERE age > 3 "), late) == ["missing_filter"]
    assert errors(key.format("WHERE age > 3 "), f"{late} LIMIT 3") == ["extra_limit"]


def test_like_looks_at_no_upper_and_lower_case():
    gold = "SELECT name FROM singer WHERE country LIKE '%France%'"
    other = gold.replace("%France%", "%FRANCE%")
    assert errors(gold, f"{other} LIMIT 3") == ["extra_limit"]
    assert errors(gold, other) == ["wrong_value"]
    equal = gold.replace("LIKE '%France%'", "= 'France'")
    assert errors(equal, equal.replace("France'", "france'")) == ["wrong_value"]


@pytest.mark.parametrize(
    "counted",
    ["count(CASE WHEN {} THEN 1 END)", "sum(CASE WHEN {} THEN 1 ELSE 0 END)"],
)
def test_counting_by_case_is_a_filter(counted):
    gold = "SELECT count(*) FROM singer WHERE country = 'France'"
    predicted = f"SELECT {counted} FROM singer"
    assert diagnose(gold, predicted.format("country = 'France'"), SCHEMA) == []
    assert errors(gold, predicted.format("country = 'Spain'")) == ["wrong_value"]


def test_an_invented_table_is_not_a_table_that_is_read_beside_it():
    gold = "SELECT name FROM singer WHERE country LIKE 'x'"
    predicted = "SELECT T1.name FROM singer AS T1 JOIN song AS T2 ON T1.name = T2.name"
    assert message(gold, predicted, "extra_join") == "reads song, which gold does not need"
    # The one table that gold reads, under a name that is none.
    assert errors("SELECT name FROM stadium", "SELECT name FROM venue") == [
        "invalid_sql",
        "invented_table",
    ]


def test_two_counts_are_not_the_count_of_both():
    gold = "SELECT count(*) FROM singer WHERE age = 9 OR age = 10"
    sides = [f"SELECT count(*) FROM singer WHERE age = {age}" for age in (9, 10)]
    assert message(gold, " UNION ".join(sides), "wrong_set_operation") == (
        "combines two SELECTs by UNION; gold is one"
    )


def test_a_number_and_the_text_of_it_are_told_apart_where_sqlite_does():
    gold = "SELECT country FROM singer GROUP BY country HAVING count(*) = 3"
    assert message(gold, gold.replace("3", "'3'"), "wrong_value") == (
        "compares COUNT(*) with '3'; gold with 3 (one is a text, the other a number)"
    )
    assert message("SELECT 3 FROM singer", "SELECT '3' FROM singer", "wrong_columns") == (
        "returns the text '3'; gold returns 3"
    )
    # A column turns what it is compared with into its own type.
    filtered = "SELECT name FROM singer WHERE age = 3"
    assert diagnose(filtered, filtered.replace("3", "'3'"), SCHEMA) == []


def test_what_a_subquery_in_from_returns_counts_where_it_is_used():
    gold = "SELECT name FROM (SELECT name, age FROM singer ORDER BY age LIMIT 3) WHERE age > 2"
    assert diagnose(gold, gold.replace("name, age FROM", "* FROM"), SCHEMA) == []
    inner = "SELECT name FROM singer ORDER BY age LIMIT 3"
    predicted = "SELECT name FROM (SELECT name, age FROM singer ORDER BY age LIMIT 3) ORDER BY name"
    assert "wrong_columns" not in errors(inner, predicted)


LOOKED_UP = [
    ("SELECT singer_id FROM concert", f"SELECT T1.singer_id {JOINED}"),
    ("SELECT year FROM concert WHERE singer_id = 3",
     f"SELECT T2.year {JOINED} WHERE T1.singer_id = 3"),
    ("SELECT name FROM singer WHERE singer_id IN (SELECT singer_id FROM concert)",
     f"SELECT name FROM singer WHERE singer_id IN (SELECT T1.singer_id {JOINED})"),
    (f"SELECT T1.name, T1.age {JOINED} WHERE T2.year = 3",
     f"SELECT T1.name, T3.age {JOINED} JOIN singer AS T3 ON T2.singer_id = T3.singer_id"
     " WHERE T2.year = 3"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "predicted"), [*LOOKED_UP, *(pair[::-1] for pair in LOOKED_UP)])
def test_a_row_looked_up_in_vain_is_told_where_nothing_else_differs(gold, predicted):
    alone = {finding.error for finding in diagnose(gold, predicted, SCHEMA)}
    assert alone and alone <= {"extra_join", "missing_join", "wrong_columns", "wrong_nesting"}
    cut = diagnose(gold, f"{predicted} LIMIT 2", SCHEMA)
    assert [finding.error for finding in cut] == ["extra_limit"]


@pytest.mark.parametrize(
    "predicted",
    [
        f"SELECT T2.year {JOINED.replace('JOIN', 'LEFT JOIN')}",  # all singers
        "SELECT T2.year FROM concert AS T2 JOIN singer AS T1 ON T1.age = T2.singer_id",  # no key
        f"SELECT T2.year {JOINED} WHERE T1.age > 3",
    ],
)
def test_a_join_that_does_more_is_told_beside_other_things(predicted):
    assert "extra_join" in errors("SELECT year FROM concert", f"{predicted} LIMIT 2")


BIGGEST = "(SELECT stadium_id FROM stadium ORDER BY capacity DESC LIMIT 1)"
IN_STADIUM = "FROM concert AS T1 JOIN stadium AS T2 ON T1.stadium_id = T2.stadium_id"


def test_an_extreme_by_a_foreign_key_is_one_by_a_join():
    gold = f"SELECT count(*) FROM concert WHERE stadium_id = {BIGGEST}"
    largest = "T2.capacity = (SELECT max(capacity) FROM stadium)"
    assert errors(gold, f"SELECT count(*), T2.name {IN_STADIUM} WHERE {largest}") == [
        "wrong_columns"
    ]
    smallest = largest.replace("max", "min")
    assert errors(gold, f"SELECT count(*) {IN_STADIUM} WHERE {smallest}") == ["misread_superlative"]
    # The one count is cut to the first row, whatever it is ordered by.
    counted = errors(gold, f"SELECT count(*) {IN_STADIUM} ORDER BY T2.capacity DESC LIMIT 1")
    assert {"extra_limit", "missing_filter"} <= set(counted)


def test_the_extreme_of_those_that_have_the_extreme_is_one():
    youngest = "SELECT min(age) FROM singer"
    gold = "SELECT name FROM singer ORDER BY age LIMIT 1"
    twice = f"SELECT country FROM singer WHERE age = ({youngest} WHERE age = ({youngest}))"
    assert errors(gold, twice) == ["wrong_columns"]


def test_a_condition_of_the_other_side_is_one_that_gold_asks():
    left, right = "SELECT singer_id FROM singer", "SELECT singer_id FROM concert WHERE year = 2014"
    combined = ["wrong_set_operation"]
    for predicted in (right.replace("=", "!="), right):
        assert errors(f"{left} EXCEPT {right}", predicted) == combined
    assert errors(f"{left} WHERE age > 3 INTERSECT {right}", f"{left} WHERE age > 3") == combined
    unread = f"{left} WHERE year != 2014"
    assert errors(f"{left} EXCEPT {right}", unread) == [
        "invalid_sql",
        "invented_column",
        "wrong_set_operation",
    ]


def test_of_two_bounds_the_lower_one_is_meant_to_be_the_lower_one():
    gold = "SELECT year FROM concert GROUP BY year HAVING count(*) BETWEEN 1 AND 2"
    predicted = gold.replace("BETWEEN 1 AND 2", ">= 2")
    assert diagnose(gold, predicted, SCHEMA) == [
        Finding("wrong_value", "compares COUNT(*) with 2; gold with 1"),
        Finding("missing_having", "lacks HAVING COUNT(*) <= 2"),
    ]
    more = gold.replace("BETWEEN 1 AND 2", ">= 2")
    assert message(more, more.replace(">= 2", "> 3"), "wrong_value") == (
        "tests COUNT(*) > 3; gold tests COUNT(*) >= 2"
    )


def test_a_table_stands_in_the_place_of_the_one_that_is_most_like_it():
    gold = f"SELECT T1.name {JOINED}"
    predicted = "SELECT max(seq) FROM sqlite_sequence JOIN stadium ON seq = stadium_id"
    findings = diagnose(gold, predicted, SCHEMA)
    assert [finding.message for finding in findings if finding.error == "wrong_table"] == [
        "reads sqlite_sequence; gold reads singer",  # both have a name
        "reads stadium; gold reads concert",
    ]


def test_a_name_that_repeats_is_no_key():
    gold = "SELECT name FROM singer"
    predicted = (
        "SELECT name FROM singer WHERE country IN"
        " (SELECT T1.country FROM singer AS T1 JOIN stadium AS T2 ON T1.age = T2.capacity)"
    )
    assert "singer.Country IN" in message(gold, predicted, "extra_filter")


def test_a_column_of_gold_that_the_query_cannot_see_is_no_other_column():
    gold = f"SELECT T2.year {JOINED} WHERE T1.age > 3"
    assert errors(gold, "SELECT year FROM singer WHERE age > 3") == [
        "invalid_sql",
        "invented_column",
        "missing_join",
    ]


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ("SELECT name FROM singer WHERE age = 3", "SELECT name FROM singer WHERE age = '3'"),
        ("SELECT name FROM singer WHERE age IN (3)", "SELECT name FROM singer WHERE age IN ('3')"),
    ],
)
def test_a_column_without_a_type_keeps_a_number_and_its_text_apart(gold, predicted):
    singer, *others = SCHEMA.tables
    columns = [dataclasses.replace(column, has_affinity=False) for column in singer.columns]
    untyped = dataclasses.replace(singer, columns=tuple(columns))
    schema = dataclasses.replace(SCHEMA, tables=(untyped, *others))
    (finding,) = diagnose(gold, predicted, schema)
    assert finding == Finding(
        "wrong_value",
        "compares singer.Age with '3'; gold with 3 (one is a text, the other a number)",
    )
    assert diagnose(gold, predicted, SCHEMA) == []


def test_a_text_column_tells_two_spellings_of_a_number_apart():
    gold = "SELECT age FROM singer WHERE name = '1'"
    assert errors(gold, gold.replace("'1'", "'1.0'")) == ["wrong_value"]
    assert errors("SELECT age / 2 FROM singer", "SELECT age / 2.0 FROM singer") == ["wrong_columns"]


def test_what_a_file_lacks_and_the_schema_has_is_no_invented_name():
    execution = ExecutionResult(status="error", message="no such table: concert")
    sql = "SELECT year FROM concert"
    said = "no such table: concert; the fault is the database's, not the query's"
    assert diagnose(sql, sql, SCHEMA, execution=execution) == [Finding("invalid_sql", said)]


def test_a_column_that_is_joined_to_itself_joins_nothing():
    gold = f"SELECT T1.name {JOINED}"
    predicted = gold.replace("= T2.singer_id", "= T1.singer_id")
    assert message(gold, predicted, "wrong_join_condition") == (
        "joins without concert.Singer_ID = singer.Singer_ID"
    )
    unread = "SELECT name FROM singer WHERE singer_id IN (SELECT singer_id FROM stadium)"
    assert "invented_column" not in errors(gold, unread)


LOOKED_UP = f"SELECT T2.year {JOINED} WHERE T1.name = 'Ann'"


def test_a_row_looked_up_by_equals_is_one_that_is_joined():
    by_equals = "SELECT year FROM concert WHERE singer_id = (SELECT singer_id FROM singer WHERE {})"
    assert diagnose(LOOKED_UP, by_equals.format("name = 'ann'"), SCHEMA) == [
        Finding(
            "wrong_value",
            "compares singer.Name with 'ann'; gold with 'Ann' (they differ in upper and lower"
            " case)",
        )
    ]
    # Where nothing else differs, this does.
    alone = message(LOOKED_UP, by_equals.format("name = 'Ann'"), "wrong_nesting")
    assert alone.endswith("for the first row of the subquery alone, where gold joins all")


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ("SELECT count(*) FROM singer WHERE age > 3",
         "SELECT count(*) FROM (SELECT singer_id FROM singer WHERE age > 3 EXCEPT"
         " SELECT singer_id FROM concert)"),
        ("SELECT count(*) FROM (SELECT singer_id FROM singer WHERE age > 3 INTERSECT"
         " SELECT singer_id FROM concert)",
         "SELECT count(*) FROM singer WHERE age > 3"),
    ],
)  # fmt: skip
def test_a_count_over_combined_queries_is_compared_by_the_rows_it_counts(gold, predicted):
    assert errors(gold, predicted) == ["wrong_nesting", "wrong_set_operation"]


OLD_OR_BUSY = (
    "SELECT name FROM singer WHERE age > 60 UNION SELECT T1.name"
    f" {JOINED} GROUP BY T1.singer_id HAVING count(*) > 2"
)


@pytest.mark.parametrize(
    ("gold", "predicted", "expected"),
    [
        (OLD_OR_BUSY,
         f"SELECT name FROM singer WHERE age > 60 OR singer_id IN ({MANY})",
         ["wrong_set_operation"]),  # UNION drops duplicates
        (OLD_OR_BUSY,
         f"SELECT name FROM singer WHERE age > 60 OR singer_id IN ({MANY.replace('> 2', '> 3')})",
         ["wrong_value"]),
        (f"SELECT DISTINCT T1.name {JOINED} WHERE T1.age > 60 OR T2.year = 2014",
         f"SELECT name FROM singer WHERE age > 60 UNION SELECT T1.name {JOINED}"
         " WHERE T2.year = 2015",
         ["wrong_set_operation", "wrong_value"]),
        (f"SELECT name FROM singer WHERE age > 60 UNION SELECT T1.name {JOINED}"
         " WHERE T2.year = 2014",
         f"SELECT T1.name {JOINED} WHERE T1.age > 60 AND T2.year = 2014",
         ["wrong_set_operation"]),
        (f"SELECT country FROM singer EXCEPT SELECT T1.country {JOINED} WHERE T2.year = 2014",
         "SELECT DISTINCT country FROM singer WHERE singer_id NOT IN"
         " (SELECT singer_id FROM concert WHERE year = 2014)",
         ["wrong_nesting"]),  # by another column, which is not unique
    ],
)  # fmt: skip
def test_what_either_side_of_a_combination_asks(gold, predicted, expected):
    assert errors(gold, predicted) == expected


def test_a_text_without_its_quotes_is_invented_and_no_other_filter():
    for operator in ("=", "!="):
        gold = f"SELECT name FROM singer WHERE country {operator} 'France'"
        assert errors(gold, gold.replace("'", "")) == ["invalid_sql", "invented_column"]


def test_a_membership_in_having_tests_one_row_of_each_group():
    gold = f"SELECT T2.year {JOINED} WHERE T1.country = 'France' GROUP BY T2.year"
    late = (
        "SELECT year FROM concert GROUP BY year HAVING singer_id IN"
        " (SELECT singer_id FROM singer WHERE country {} 'France')"
    )
    in_having = "in HAVING, on one row of each group; gold on all rows"
    assert message(gold, late.format("="), "missing_filter").endswith(in_having)
    assert message(gold, late.format("LIKE"), "missing_filter").endswith(in_having)


def test_nobody_above_is_an_extreme():
    gold = "SELECT name FROM singer WHERE age = (SELECT max(age) FROM singer)"
    nobody = "SELECT name FROM singer AS a WHERE NOT EXISTS (SELECT 1 FROM singer AS b WHERE {})"
    assert errors(gold, nobody.format("b.age > a.age")) == []
    assert errors(gold, nobody.format("a.age < b.age")) == []
    assert errors(gold, nobody.format("b.age < a.age")) == ["misread_superlative"]


def test_a_subquery_joined_to_the_table_it_reads_ties_no_column_to_itself():
    predicted = (
        "WITH m AS (SELECT country, max(age) AS top FROM singer GROUP BY country) SELECT s.name"
        " FROM singer AS s JOIN m ON s.country = m.country AND s.age = m.top"
    )
    messages = [f.message for f in diagnose("SELECT name FROM singer", predicted, SCHEMA)]
    assert not [text for text in messages if "singer.Country = singer.Country" in text]


@pytest.mark.parametrize(
    "condition", ["age = 3 && country = 'France'", "name = 'it\\'s'", "age >= ALL (SELECT 3)"]
)
def test_other_dialects_operators_are_invalid_and_no_text_behind_a_query(condition):
    findings = diagnose("SELECT name FROM singer", f"SELECT name FROM singer WHERE {condition}",
                        SCHEMA)  # fmt: skip
    assert findings[0].error == "invalid_sql"
    assert "is followed by" not in findings[0].message


def test_a_nul_behind_a_query_is_no_name():
    assert errors("SELECT name FROM singer", "SELECT name FROM singer\0") == ["invalid_sql"]
