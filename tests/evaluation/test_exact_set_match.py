"""Exact set match and hardness, rule by rule; the official verdicts are in test_evaluate.py."""

import pytest

from t2sql.data.schema import Column, ColumnRef, ForeignKey, Schema, Table
from t2sql.evaluation.exact_set_match import exact_match, tied_columns
from t2sql.evaluation.hardness import hardness
from t2sql.evaluation.spider_dialect.parser import UnreadableError, read_query


def _table(name: str, *columns: str) -> Table:
    made = (Column(name=name, type="text", natural_name=name) for name in columns)
    return Table(name=name, natural_name=name, columns=tuple(made))


def _key(table: str, column: str, other: str, target: str) -> ForeignKey:
    return ForeignKey(ColumnRef(table, column), ColumnRef(other, target))


SHOP = Schema(
    db_id="shop",
    tables=(
        _table("Customer", "id", "name", "city"),
        _table("Purchase", "id", "customer_id", "price", "day"),
        _table("Review", "customer_id", "stars"),
    ),
    foreign_keys=(
        _key("Purchase", "customer_id", "Customer", "id"),
        _key("Review", "customer_id", "Customer", "id"),
    ),
)
JOIN = "FROM Customer AS T1 JOIN Purchase AS T2 ON T1.id = T2.customer_id"


@pytest.mark.parametrize(
    "gold, predicted",
    [
        ("SELECT name, city FROM Customer", "select CITY , Name from CUSTOMER"),
        ("SELECT name FROM Customer", "SELECT DISTINCT Customer.name FROM Customer;"),
        ("SELECT count(DISTINCT city) FROM Customer", "SELECT count(city) FROM Customer"),
        (
            "SELECT name FROM Customer WHERE city = 'a' AND id > 3",
            'SELECT name FROM Customer WHERE id > 99 AND city = "b"',
        ),
        ("SELECT name FROM Customer LIMIT 1", "SELECT name FROM Customer LIMIT 7"),
        ("SELECT day FROM Purchase ORDER BY day", "SELECT day FROM Purchase ORDER BY day ASC"),
        (f"SELECT T1.id {JOIN}", f"SELECT T2.customer_id {JOIN}"),
        (
            f"SELECT T1.name {JOIN}",
            "SELECT a.name FROM Purchase AS b JOIN Customer AS a ON b.id = a.city",
        ),
        (f"SELECT T1.name {JOIN}", "SELECT name FROM Customer JOIN Purchase"),
        (
            "SELECT name FROM Customer WHERE id IN (SELECT customer_id FROM Review)",
            "SELECT name FROM Customer WHERE id IN (SELECT customer_id FROM Review);",
        ),
        (
            "SELECT name FROM Customer WHERE id IN (SELECT id FROM Customer WHERE id = 1)",
            "SELECT name FROM Customer WHERE id IN (SELECT id FROM Customer WHERE id = 2)",
        ),
        ("SELECT city FROM Customer", "SELECT city, FROM Customer"),
        ("SELECT city FROM Customer", "SELECT city FROM Customer ) of all customers"),
        (
            "SELECT price FROM Purchase WHERE price BETWEEN 1 AND 2",
            "SELECT price FROM Purchase WHERE price BETWEEN 7 AND id",
        ),
    ],
)
def test_match(gold, predicted):
    assert exact_match(read_query(gold, SHOP), read_query(predicted, SHOP), SHOP)


@pytest.mark.parametrize(
    "gold, predicted",
    [
        ("SELECT name FROM Customer", "SELECT city FROM Customer"),
        ("SELECT name FROM Customer", "SELECT name, name FROM Customer"),
        ("SELECT max(price) FROM Purchase", "SELECT min(price) FROM Purchase"),
        ("SELECT name FROM Customer", f"SELECT T1.name {JOIN}"),
        (
            "SELECT name FROM Customer WHERE id = 1 AND city = 'a'",
            "SELECT name FROM Customer WHERE id = 1 OR city = 'a'",
        ),
        (
            "SELECT stars FROM Review WHERE stars > 1",
            "SELECT stars FROM Review WHERE stars >= 1",
        ),
        (
            "SELECT name FROM Customer WHERE city IN (SELECT city FROM Customer)",
            "SELECT name FROM Customer WHERE city NOT IN (SELECT city FROM Customer)",
        ),
        (
            "SELECT count(*) FROM (SELECT name FROM Customer WHERE id = 1)",
            "SELECT count(*) FROM (SELECT name FROM Customer WHERE id = 2)",
        ),
        # Within a nested query order, DISTINCT and the tied column all count.
        (
            "SELECT name FROM Customer WHERE id IN (SELECT customer_id FROM Review)",
            "SELECT name FROM Customer WHERE id IN (SELECT DISTINCT customer_id FROM Review)",
        ),
        (
            f"SELECT name FROM Customer WHERE id IN (SELECT T1.id {JOIN})",
            f"SELECT name FROM Customer WHERE id IN (SELECT T2.customer_id {JOIN})",
        ),
        ("SELECT day FROM Purchase ORDER BY day", "SELECT day FROM Purchase ORDER BY day DESC"),
        ("SELECT day FROM Purchase ORDER BY day, id", "SELECT day FROM Purchase ORDER BY id, day"),
        ("SELECT day FROM Purchase ORDER BY day", "SELECT day FROM Purchase"),
        ("SELECT day FROM Purchase ORDER BY day LIMIT 1", "SELECT day FROM Purchase ORDER BY day"),
        (
            "SELECT city FROM Customer GROUP BY city, name",
            "SELECT city FROM Customer GROUP BY name, city",
        ),
        (
            "SELECT city FROM Customer GROUP BY city HAVING count(*) > 1",
            "SELECT city FROM Customer GROUP BY city HAVING count(*) >= 1",
        ),
        (
            "SELECT name FROM Customer UNION SELECT day FROM Purchase",
            "SELECT name FROM Customer INTERSECT SELECT day FROM Purchase",
        ),
        (
            "SELECT name FROM Customer EXCEPT SELECT day FROM Purchase",
            "SELECT day FROM Purchase EXCEPT SELECT name FROM Customer",
        ),
    ],
)
def test_no_match(gold, predicted):
    gold_query, predicted_query = read_query(gold, SHOP), read_query(predicted, SHOP)
    assert not exact_match(gold_query, predicted_query, SHOP)
    assert exact_match(gold_query, gold_query, SHOP)


@pytest.mark.parametrize(
    "sql, words",
    [
        ("", "there is no FROM"),
        ("SELECT 1", "there is no FROM"),
        ("SELECT name FROM", "'name' is no column of its tables"),
        ("Here it is: SELECT name FROM Customer", "'select' expected"),
        ("SELECT name FROM Nobody", "'nobody' is no table or alias"),
        ("SELECT price FROM Customer", "'price' is no column of its tables"),
        ("SELECT T1.name FROM Customer", "'t1' is no table or alias"),
        ("SELECT name AS n FROM Customer", "Spider's dialect has no alias here"),
        ("SELECT count(1) FROM Customer", "'1' is no column of its tables"),
        ("SELECT name FROM Customer c", "'c' is no table or alias"),
        ("SELECT name FROM Customer\0", "is no table or alias"),
        ('SELECT "T1"."name" FROM Customer', "the text '…' stands where a name has to"),
        ("SELECT name FROM Customer AS Review", "the alias review is the name of a table"),
        ("SELECT name FROM Customer, Purchase", "Spider's dialect has no ',' here"),
        ("SELECT name FROM Customer INNER JOIN Purchase", "Spider's dialect has no INNER here"),
        ("SELECT name FROM Customer WHERE id=3", "Spider's dialect reads = only between spaces"),
        ("SELECT name FROM Customer WHERE id <> 3", "Spider's dialect has no '>' here"),
        ("SELECT name FROM Customer WHERE (id = 3)", "')' expected"),
        ("SELECT name FROM Customer WHERE id IS NULL", "Spider's dialect has no NULL here"),
        ("SELECT name FROM Customer WHERE id IN (1, 2)", "')' expected, ',' found"),
        ("SELECT name FROM Customer WHERE id = 3 4", "neither AND nor OR stands before '4'"),
        ("SELECT name FROM Customer WHERE name = 'x", "a quotation mark is left open"),
        ("SELECT `name` FROM Customer", "Spider's dialect has no '`' here"),
        ('SELECT "name" FROM Customer', 'the text "name" stands where a name has to'),
        ("SELECT name FROM Customer UNION ALL SELECT name FROM Customer", "'select' expected"),
        ("SELECT name FROM Customer LIMIT", "it ends too early"),
        ("SELECT name FROM " + "(SELECT name FROM " * 5_000, "nested too deeply"),
    ],
)
def test_unreadable(sql, words):
    with pytest.raises(UnreadableError) as caught:
        read_query(sql, SHOP)
    assert words in str(caught.value)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "part", ["'", '"', "(", ", ", "AS ", "SELECT ", "FROM ", "a = b OR ", "(SELECT ", "x.", "\0"]
)
def test_reads_hostile_text_in_linear_time(part):
    for start in ("", "SELECT name FROM Customer WHERE name = name OR "):
        try:
            read_query(start + part * 200_000, SHOP)
        except UnreadableError:
            continue


def test_a_column_as_value_swallows_what_follows_or():
    query = read_query("SELECT name FROM Customer WHERE id = city OR name = 'x'", SHOP)
    assert len(query.where.units) == 1
    assert query.connectors() == []


def test_groups_of_tied_columns_never_merge():
    chain = Schema(
        db_id="chain",
        tables=(_table("a", "x"), _table("b", "x"), _table("c", "x"), _table("d", "x")),
        foreign_keys=(_key("a", "x", "b", "x"), _key("d", "x", "c", "x"), _key("b", "x", "c", "x")),
    )
    assert tied_columns(chain) == {"a.x": "a.x", "b.x": "a.x", "c.x": "c.x", "d.x": "c.x"}


@pytest.mark.parametrize(
    "sql, level",
    [
        ("SELECT name FROM Customer", "easy"),
        ("SELECT count(*) FROM Customer WHERE id = 1", "easy"),
        ("SELECT name, city FROM Customer WHERE id = 1", "medium"),
        ("SELECT name FROM Customer WHERE id = 1 AND city = 'a'", "medium"),
        (f"SELECT T1.name {JOIN} WHERE T2.price > 1", "medium"),
        ("SELECT city, count(*) FROM Customer GROUP BY city ORDER BY count(*)", "extra"),
        ("SELECT city, count(*) FROM Customer GROUP BY city, name ORDER BY count(*)", "hard"),
        ("SELECT name FROM Customer WHERE id = 1 ORDER BY id LIMIT 1", "hard"),
        ("SELECT name FROM Customer WHERE id IN (SELECT customer_id FROM Review)", "hard"),
        ("SELECT name FROM Customer EXCEPT SELECT day FROM Purchase", "hard"),
        ("SELECT name, city FROM Customer WHERE id IN (SELECT id FROM Customer)", "extra"),
        (f"SELECT T1.name {JOIN} WHERE T1.name LIKE 'a' OR T1.id = 1 ORDER BY T1.id", "extra"),
    ],
)
def test_hardness(sql, level):
    assert hardness(read_query(sql, SHOP)) == level
