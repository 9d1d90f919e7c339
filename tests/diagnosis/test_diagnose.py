"""The diagnosis against the article, the official verdicts, and how a prediction came about."""

import dataclasses
import json
from pathlib import Path

import pytest

from t2sql.data.read_schema import read_tables
from t2sql.data.schema import Column, ColumnRef, ForeignKey, Schema, Table
from t2sql.diagnosis.diagnose import ERROR_CLASSES, Finding, diagnose
from t2sql.evaluation.sandbox.sqlite_sandbox import ExecutionResult

GOLD = "SELECT name FROM singer WHERE country = 'France'"


def table(name: str, *columns: str) -> Table:
    return Table(
        name=name,
        natural_name=name,
        columns=tuple(Column(name=column, type="text", natural_name=column) for column in columns),
    )


SCHEMA = Schema(
    db_id="music",
    tables=(
        table("singer", "Singer_ID", "Name", "Country", "Age"),
        table("concert", "Concert_ID", "Singer_ID", "Stadium_ID", "Year"),
        table("stadium", "Stadium_ID", "Name", "Capacity"),
        table("sqlite_sequence", "name", "seq"),
    ),
    primary_keys=(ColumnRef("singer", "Singer_ID"), ColumnRef("concert", "Concert_ID")),
    foreign_keys=(
        ForeignKey(ColumnRef("concert", "Singer_ID"), ColumnRef("singer", "Singer_ID")),
        ForeignKey(ColumnRef("concert", "Stadium_ID"), ColumnRef("stadium", "Stadium_ID")),
    ),
)


def errors(gold: str | None, predicted: str, **how) -> list[str]:
    return sorted({finding.error for finding in diagnose(gold, predicted, SCHEMA, **how)})


def message(gold: str, predicted: str, error: str, **how) -> str:
    findings = diagnose(gold, predicted, SCHEMA, **how)
    return next(finding.message for finding in findings if finding.error == error)


@pytest.fixture(scope="module")
def schemas(spider_root: Path) -> dict[str, Schema]:
    return read_tables(spider_root)


def conformance(spider_root: Path, name: str) -> list[dict]:
    return json.loads((spider_root.parent / "conformance" / name).read_text())


@pytest.mark.spider
def test_the_article_is_agreed_with(spider_root, schemas):
    for example in conformance(spider_root, "series_examples.json"):
        findings = diagnose(example["gold"], example["predicted"], schemas[example["db_id"]])
        named = {finding.error for finding in findings}
        assert not (named if example["good"] else set(example["must_name"]) - named), example


@pytest.mark.spider
def test_every_wrong_prediction_of_a_real_model_is_diagnosed(spider_root, schemas):
    pairs = conformance(spider_root, "official_verdicts.json")
    wrong = [p for p in pairs if not p["execution"] and p["kind"] == "model prediction"]
    silent = [p["id"] for p in wrong if not diagnose(p["gold"], p["pred"], schemas[p["db_id"]])]
    assert (len(wrong), silent) == (265, [])


SAME = {"swap_select_columns", "table_alias_rename", "identity", "reorder_and_conditions"} | {
    *("count_star_to_count_1", "column_alias_added", "keywords_upper_identifiers_lower"),
    *("everything_upper", "everything_lower", "join_condition_sides_swapped"),
    *("join_tables_swapped", "inner_join_keyword", "string_quote_style", "table_alias_removed"),
    *("comma_join", "not_equal_spelling", "extra_whitespace", "redundant_parentheses"),
    *("explicit_asc", "quoted_identifiers", "trailing_semicolon", "no_spaces_around_operators"),
    *("qualified_column_single_table", "trailing_comment", "two_statements", "between_to_range"),
}


@pytest.mark.spider
def test_mutations_that_change_nothing_are_not_diagnosed(spider_root, schemas):
    pairs = conformance(spider_root, "official_verdicts.json")
    same = [p for p in pairs if p["kind"].removeprefix("mutation: ") in SAME]
    # `everything_*` changes the case of values too.
    same = [p for p in same if p["execution"] and "everything" not in p["kind"]]
    findings = {p["id"]: diagnose(p["gold"], p["pred"], schemas[p["db_id"]]) for p in same}
    assert len(findings) > 80
    assert {key: value for key, value in findings.items() if value} == {}


@pytest.mark.parametrize(
    "missing",
    [
        "table: main.crew",
        "module: VirtualSpatialIndex",
        "function: age_of",
        "collation sequence: x",
    ],
)
def test_what_sqlite_misses_inside_of_a_view_is_no_invented_name(missing):
    schema = dataclasses.replace(SCHEMA, left_out=("roster",))
    execution = ExecutionResult(status="error", message=f"no such {missing}")
    predicted = "SELECT name FROM roster WHERE country = 'France'"
    (finding,) = [
        finding
        for finding in diagnose(GOLD, predicted, schema, execution=execution)
        if finding.error not in ("wrong_table", "wrong_columns", "wrong_filter_column")
    ]
    said = f"no such {missing}; the fault is the database's, not the query's"
    assert finding == Finding("invalid_sql", said)


def test_a_table_that_sqlite_misses_itself_is_invented():
    execution = ExecutionResult(status="error", message="no such table: roster")
    predicted = "SELECT name FROM roster WHERE country = 'France'"
    assert "invented_table" in errors(GOLD, predicted, execution=execution)


def test_nothing_is_wrong_with_gold():
    assert diagnose(GOLD, GOLD, SCHEMA) == []
    other = 'select T1."Name" from SINGER as T1 where "France"=T1.Country;'
    assert diagnose(GOLD, other, SCHEMA) == []


@pytest.mark.parametrize("predicted", ["", "  \n", ";", " ; ;\n", "-- no idea", "/* SELECT 1 */"])
def test_nothing_written_is_empty(predicted):
    assert errors(GOLD, predicted) == ["empty"]
    assert errors(GOLD, predicted, status="max_tokens") == ["empty", "truncated"]


def test_what_seldom_makes_a_difference_is_not_told_beside_what_does():
    gold = "SELECT count(*) FROM singer"
    assert errors(gold, "SELECT count(age) FROM singer") == ["wrong_aggregate"]
    assert errors(gold, "SELECT count(id) FROM singer") == ["invalid_sql", "invented_column"]


def test_prose_without_sql_is_empty_and_invalid():
    assert errors(GOLD, "I do not know.") == ["empty", "invalid_sql"]


def test_the_status_of_the_prediction_is_told():
    assert errors(GOLD, "", status="prompt_too_long") == ["empty"]
    assert "too long" in message(GOLD, "", "empty", status="prompt_too_long")
    assert errors(GOLD, "SELECT name FROM singer WHERE", status="max_tokens") == [
        "invalid_sql",
        "truncated",
    ]


@pytest.mark.parametrize("status", ["timeout", "too_large", "out_of_memory", "crashed"])
def test_a_stopped_query_is_a_timeout_and_still_compared(status):
    result = ExecutionResult(status=status, message="stopped at 10 s")
    findings = diagnose(GOLD, "SELECT name FROM singer", SCHEMA, execution=result)
    assert findings[0] == Finding("timeout", "stopped at 10 s")
    assert findings[1].error == "missing_filter"


def test_the_message_of_the_execution_is_used():
    result = ExecutionResult(status="error", message="no such column: nam")
    findings = diagnose(GOLD, GOLD.replace("name", "nam"), SCHEMA, execution=result)
    assert findings[0] == Finding("invalid_sql", "no such column: nam")


def test_names_that_sqlite_knows_are_not_invented():
    """The file may have columns that tables.json leaves out."""
    ok = ExecutionResult(status="ok")
    assert errors(GOLD, GOLD.replace("name", "Nickname"), execution=ok) == ["wrong_columns"]


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ('SELECT "Singer_Name" FROM singer', "`Singer_Name` is not a column of singer; did you mean"
         " Name? (SQLite takes the double-quoted name as text)"),
        ("SELECT id FROM singer", "`id` is not a column of singer; did you mean Singer_ID?"),
        ("SELECT contry FROM singer", "`contry` is not a column of singer; did you mean Country?"),
        ("SELECT capacity FROM singer", "`capacity` is not a column of singer, but of stadium"),
        ("SELECT s.capacity FROM singer s", "`capacity` is not a column of singer, but of stadium"),
        ("SELECT name FROM singer WHERE \"Nation\" = 'x'", "`Nation` is not a column of singer"
         " (SQLite takes the double-quoted name as text)"),
        ('SELECT name FROM singer ORDER BY "Fame"', "`Fame` is not a column of singer; did you mean"
         " Name? (SQLite takes the double-quoted name as text)"),
        ("SELECT x.y FROM (SELECT name FROM singer) AS x", "`y` is not a column of x"),
    ],
)  # fmt: skip
def test_an_invented_column_gets_a_guess(predicted, expected):
    assert message("SELECT name FROM singer", predicted, "invented_column") == expected


def test_a_guess_from_a_table_that_is_not_read_names_it():
    text = message("SELECT name FROM singer", "SELECT capacities FROM singer", "invented_column")
    assert text == "`capacities` is not a column of singer; did you mean stadium.Capacity?"


def test_a_column_that_a_table_lacks_is_not_that_of_another_table_which_is_read():
    gold = "SELECT T1.Name FROM singer AS T1 JOIN concert AS T2 ON T1.Singer_ID = T2.Singer_ID"
    predicted = "SELECT T1.Name FROM singer AS T1 JOIN concert AS T2 ON T1.Age = T2.Age"
    messages = [finding.message for finding in diagnose(gold, predicted, SCHEMA)]
    assert not any("singer.Age = singer.Age" in message for message in messages)
    assert errors(gold, predicted) == ["invalid_sql", "invented_column", "wrong_join_condition"]


def test_findings_follow_the_order_of_the_query():
    # Enough conditions that an order by hash would hardly ever be this one.
    filters = [f"singer.Age != {number}" for number in range(12, 0, -1)]
    gold = f"SELECT name FROM singer WHERE {' AND '.join(filters)}"
    findings = [finding.message for finding in diagnose(gold, "SELECT name FROM singer", SCHEMA)]
    assert findings == [f"lacks the condition {condition}" for condition in filters]


def test_a_column_in_the_place_of_an_aggregate_is_a_wrong_aggregate_beside_another():
    gold, predicted = "SELECT max(age), avg(age) FROM singer", "SELECT max(age), name FROM singer"
    assert errors(gold, predicted) == ["wrong_aggregate", "wrong_columns"]
    assert message(gold, predicted, "wrong_aggregate") == "does not compute AVG(singer.Age)"
    assert errors(gold, "SELECT max(age) FROM singer") == ["wrong_columns"]


def test_a_value_in_double_quotes_is_no_invented_column():
    for predicted in (
        'SELECT name FROM singer WHERE country = "France"',
        'SELECT name FROM singer WHERE "France" = country',
        'SELECT name FROM singer WHERE country IN ("France")',
    ):
        assert diagnose(GOLD, predicted, SCHEMA) == []


def test_tables_and_qualifiers_are_checked():
    assert message(GOLD, "SELECT name FROM singers", "invented_table") == (
        "`singers` is not a table of music; did you mean singer?"
    )
    assert message(GOLD, "SELECT T2.name FROM singer AS T1", "invented_table") == (
        "`T2` is no table or alias of the query; it reads singer"
    )
    assert errors(GOLD, "SELECT singer.name FROM concert WHERE singer.country = 'France'") == [
        "invalid_sql",
        "wrong_table",
    ]


def test_an_ambiguous_name_names_its_tables():
    gold = "SELECT T1.name FROM singer AS T1 JOIN concert AS T2 ON T1.singer_id = T2.singer_id"
    predicted = gold.replace("T1.singer_id = T2", "singer_id = T2")
    assert message(gold, predicted, "ambiguous_column") == (
        "`singer_id` is a column of singer and concert: which one is meant?"
    )


def test_an_invented_table_is_compared_as_the_one_it_stands_for():
    assert errors(GOLD, "SELECT name FROM singer_list WHERE country = 'France'") == [
        "invalid_sql",
        "invented_table",
    ]


@pytest.mark.parametrize(
    "predicted",
    [
        "SELECT name FROM (SELECT * FROM singer) AS x WHERE country = 'France'",
        "WITH french AS (SELECT * FROM singer WHERE country = 'France') SELECT name FROM french",
        "SELECT x.name FROM (SELECT name, country FROM singer) x WHERE NOT x.country != 'France'",
    ],
)
def test_a_wrapped_query_is_the_query(predicted):
    assert diagnose(GOLD, predicted, SCHEMA) == []


def test_groups_filtered_from_outside_are_having():
    gold = "SELECT country FROM singer GROUP BY country HAVING count(*) > 2"
    predicted = (
        "WITH n AS (SELECT country, count(*) AS c FROM singer GROUP BY country)"
        " SELECT country FROM n WHERE c >= 3"
    )
    assert diagnose(gold, predicted, SCHEMA) == []


def test_uses_of_one_table_are_matched_by_what_they_do():
    gold = (
        "SELECT T2.name FROM concert AS T1 JOIN singer AS T2 ON T1.singer_id = T2.singer_id"
        " JOIN singer AS T3 ON T1.stadium_id = T3.age WHERE T3.name = 'Joe'"
    )
    swapped = gold.replace("T2", "TX").replace("T3", "T2").replace("TX", "T3")
    reordered = (
        "SELECT b.name FROM singer AS a, singer AS b, concert AS c WHERE a.name = 'Joe'"
        " AND c.stadium_id = a.age AND b.singer_id = c.singer_id"
    )
    assert diagnose(gold, swapped, SCHEMA) == diagnose(gold, reordered, SCHEMA) == []
    findings = diagnose(gold, gold.replace("SELECT T2", "SELECT T3"), SCHEMA)
    assert findings == [Finding("wrong_columns", "returns singer#2.Name; gold returns singer.Name")]


def test_what_most_often_means_the_same_is_told_only_if_nothing_else_is():
    gold = "SELECT count(*) FROM singer"
    assert errors(gold, "SELECT count(age) FROM singer") == ["wrong_aggregate"]
    assert errors(gold, "SELECT count(age) FROM singer LIMIT 1") == ["extra_limit"]


def test_a_query_in_prose_is_invalid_and_yet_compared():
    findings = diagnose(GOLD, "Sure:\n```sql\nSELECT name FROM singer\n```", SCHEMA)
    assert [finding.error for finding in findings] == ["invalid_sql", "missing_filter"]
    assert "clean it first" in findings[0].message


def test_without_gold_only_the_query_itself_is_examined():
    assert errors(None, "SELECT nam FROM singer LIMIT 3") == ["invalid_sql", "invented_column"]
    assert errors(None, "SELECT name FROM singer LIMIT 3") == []


def test_a_gold_that_cannot_be_read_is_not_compared():
    assert errors("this is no SQL", "SELECT name FROM singer") == []


def test_what_is_no_query_is_not_compared():
    findings = diagnose(GOLD, f"EXPLAIN {GOLD}", SCHEMA, execution=ExecutionResult(status="ok"))
    said = "it is no query: EXPLAIN asks for no rows of the database"
    assert findings == [Finding("invalid_sql", said)]


def test_findings_are_of_known_classes():
    with pytest.raises(ValueError, match="is not an error class"):
        Finding("bad_sql", "x")
    assert len(ERROR_CLASSES) == 33
