import pytest

from t2sql.evaluation.features import features


@pytest.mark.parametrize(
    "sql, joins",
    [
        ("SELECT a FROM t", "0"),
        ("SELECT a, b FROM t WHERE c IN (1, 2) ORDER BY a, b", "0"),
        ("SELECT a FROM t JOIN u ON t.x = u.x", "1"),
        ("SELECT a FROM t, u AS v WHERE t.x = v.x", "1"),
        ("SELECT a FROM t JOIN u JOIN v WHERE a IN (SELECT b FROM w)", "2"),
        ("SELECT a FROM t WHERE a IN (SELECT max(b, c) FROM w, x)", "1"),
        ("SELECT a FROM (SELECT a, b FROM t, u), v, w", "3+"),
        ("SELECT a FROM t LEFT JOIN u LEFT JOIN v NATURAL JOIN w JOIN x", "3+"),
        ("SELECT 'a JOIN b', \"c JOIN d\" FROM t -- JOIN", "0"),
    ],
)
def test_joins(sql, joins):
    assert features(sql)["joins"] == joins


@pytest.mark.parametrize(
    "sql, nesting",
    [
        ("SELECT count(*) FROM t WHERE (a = 1)", "0"),
        ("SELECT a FROM t UNION SELECT a FROM u", "0"),
        ("(SELECT a FROM t) UNION ALL (SELECT a FROM u)", "0"),
        ("SELECT a FROM (SELECT a FROM t)", "1"),
        ("SELECT a FROM t WHERE a > (SELECT 1) AND b > (SELECT 2)", "1"),
        ("SELECT a FROM t WHERE a IN (SELECT a FROM u WHERE b IN (SELECT b FROM v))", "2+"),
    ],
)
def test_nesting(sql, nesting):
    assert features(sql)["nesting"] == nesting


@pytest.mark.parametrize(
    "sql, dimension, group",
    [
        ("SELECT a FROM t", "set operation", "none"),
        ("select a from t except select a from u", "set operation", "except"),
        ("SELECT 1 UNION SELECT 2 EXCEPT SELECT 3", "set operation", "union and except"),
        ("SELECT a FROM t", "aggregation", "none"),
        ("SELECT count FROM t", "aggregation", "none"),
        ("SELECT Count ( * ) FROM t", "aggregation", "aggregate"),
        ("SELECT a, count(*) FROM t GROUP BY a", "aggregation", "group by"),
        ("SELECT a FROM t GROUP BY a HAVING count(*) > 1", "aggregation", "having"),
        ("SELECT a FROM t", "ordering", "none"),
        ("SELECT a FROM t LIMIT 3", "ordering", "limit"),
        ("SELECT a FROM t ORDER BY a", "ordering", "order by"),
        ("SELECT a FROM t order by a limit 1", "ordering", "order by limit"),
    ],
)
def test_other_dimensions(sql, dimension, group):
    assert features(sql)[dimension] == group


@pytest.mark.parametrize(
    "sql", ["", "((((", "))))", "SELECT", "FROM , , ,", "'", "\0", "(" * 9_999]
)
def test_any_text_has_features(sql):
    assert set(features(sql)) == {"joins", "nesting", "set operation", "aggregation", "ordering"}
