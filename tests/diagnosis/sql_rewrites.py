"""Other spellings of a query that mean the same, for tests of the diagnosis.

A rewrite takes a query and its schema, and gives another text, or None where it has nothing to
rewrite.
"""

from collections.abc import Callable

import sqlglot
from sqlglot import exp

from t2sql.data.schema import Schema
from t2sql.sql.names import fold
from t2sql.sql.tokens import tokenize

REWRITES: dict[str, Callable[[str, Schema], str | None]] = {}

_FLIPPED = {exp.EQ: exp.EQ, exp.GT: exp.LT, exp.LT: exp.GT, exp.GTE: exp.LTE, exp.LTE: exp.GTE}


def parse(sql: str) -> exp.Expression:
    return sqlglot.parse_one(sql.strip().rstrip(";"), dialect="sqlite")


def write(tree: exp.Expression, **options) -> str:
    return tree.sql(dialect="sqlite", **options)


def _rewrite(function):
    REWRITES[function.__name__] = function
    return function


def _of_tree(function):
    """A rewrite that changes the syntax tree in place and says whether it did."""

    def rewrite(sql: str, schema: Schema) -> str | None:
        tree = parse(sql)
        return write(tree) if function(tree, schema) else None

    REWRITES[function.__name__] = rewrite
    return rewrite


def _words(sql: str, change: Callable[[str], str]) -> str:
    return "".join(change(t.text) if t.kind == "word" else t.text for t in tokenize(sql))


@_rewrite
def pretty(sql, schema):
    return write(parse(sql), pretty=True) + ";"


@_rewrite
def upper(sql, schema):
    return _words(sql, str.upper)


@_rewrite
def lower(sql, schema):
    return _words(sql, str.lower)


@_rewrite
def commented(sql, schema):
    spaced = "".join(
        "\n/* it's */ " if t.kind == "space" else t.text for t in tokenize(sql.rstrip(" ;"))
    )
    return f"-- a comment\n{spaced} ;\n"


@_rewrite
def inner_join(sql, schema):
    changed = _words(sql, lambda word: "INNER JOIN" if word.upper() == "JOIN" else word)
    return changed if changed != sql else None


@_rewrite
def other_not_equal(sql, schema):
    changed = sql.replace("!=", "<>")
    return changed if changed != sql else None


@_rewrite
def quoted_identifiers(sql, schema):
    return write(parse(sql), identify=True)


@_rewrite
def backticks(sql, schema):
    tree = parse(sql)
    for column in list(tree.find_all(exp.Column)):
        if column.this.args.get("quoted") and not column.table:
            column.replace(exp.Literal.string(column.name))
    return sqlglot.transpile(write(tree, identify=True), read="sqlite", write="mysql")[0]


@_of_tree
def single_quotes(tree, schema):
    changed = [c for c in tree.find_all(exp.Column) if c.this.args.get("quoted") and not c.table]
    for column in changed:
        column.replace(exp.Literal.string(column.name))
    return changed


@_of_tree
def renamed_aliases(tree, schema):
    names = {fold(a.name) for a in tree.find_all(exp.TableAlias)}
    changed = [
        i
        for i in tree.find_all(exp.Identifier)
        if fold(i.name) in names and (isinstance(i.parent, exp.TableAlias) or i.arg_key == "table")
    ]
    for identifier in changed:
        identifier.set("this", "other_" + identifier.name[::-1])
    return changed


def tables_of(select: exp.Select) -> list[exp.Table]:
    from_ = select.args.get("from_")
    joined = [join.this for join in select.args.get("joins") or ()]
    return [from_.this, *joined] if from_ else joined


def select_of(node: exp.Expression) -> exp.Select | None:
    return node.find_ancestor(exp.Select)


@_of_tree
def qualified(tree, schema):
    changed = []
    for column in tree.find_all(exp.Column):
        select = select_of(column)
        tables = tables_of(select) if select else []
        if column.table or len(tables) != 1 or not isinstance(tables[0], exp.Table):
            continue
        if schema.column(tables[0].name, column.name):
            column.set("table", exp.to_identifier(tables[0].alias_or_name))
            changed.append(column)
    return changed


@_of_tree
def aliased(tree, schema):
    """Gives an alias to a table that has none, and its name to the columns."""
    changed = []
    for number, table in enumerate(list(tree.find_all(exp.Table))):
        if table.alias or not isinstance(table.parent, exp.From):
            continue
        select = table.parent.parent
        if len(tables_of(select)) != 1:
            continue
        for column in select.find_all(exp.Column):
            if select_of(column) is select and schema.column(table.name, column.name):
                column.set("table", exp.to_identifier(f"x{number}"))
        table.set("alias", exp.TableAlias(this=exp.to_identifier(f"x{number}")))
        changed.append(table)
    return changed


@_of_tree
def unqualified(tree, schema):
    """Drops qualifiers where one table of the SELECT alone has the column."""
    changed = []
    for column in tree.find_all(exp.Column):
        select = select_of(column)
        if not column.table or select is None:
            continue
        names = {table.alias_or_name for table in tables_of(select)}
        owners = [t for t in tables_of(select) if schema.column(t.name, column.name)]
        if column.table in names and len(owners) == 1 and not isinstance(column.this, exp.Star):
            column.set("table", None)
            changed.append(column)
    return changed


@_of_tree
def comma_joins(tree, schema):
    changed = False
    for select in list(tree.find_all(exp.Select)):
        for join in select.args.get("joins") or ():
            on = join.args.get("on")
            if on is not None and not join.side:
                join.set("on", None)
                join.set("kind", "CROSS")
                select.where(on, copy=False)
                changed = True
    return changed


@_of_tree
def flipped_comparisons(tree, schema):
    changed = list(tree.find_all(*_FLIPPED))
    for node in changed:
        left, right = node.this, node.expression
        node.replace(_FLIPPED[type(node)](this=right.copy(), expression=left.copy()))
    return changed


@_of_tree
def reversed_conditions(tree, schema):
    changed = list(tree.find_all(exp.And, exp.Or))
    for node in changed:
        left, right = node.this, node.expression
        node.set("this", exp.paren(right.copy()))
        node.set("expression", exp.paren(left.copy()))
    return changed


@_of_tree
def parenthesised(tree, schema):
    changed = list(tree.find_all(exp.Where, exp.Having))
    for node in changed:
        node.set("this", exp.paren(exp.paren(node.this.copy())))
    return changed


@_of_tree
def spelled_out_between(tree, schema):
    changed = list(tree.find_all(exp.Between))
    for node in changed:
        value, low, high = node.this, node.args["low"], node.args["high"]
        node.replace(
            exp.paren(
                exp.and_(
                    exp.GTE(this=value.copy(), expression=low.copy()),
                    exp.LTE(this=value.copy(), expression=high.copy()),
                )
            )
        )
    return changed


@_of_tree
def reversed_joins(tree, schema):
    """The tables in the other order, with all conditions on the last join."""
    changed = False
    for select in list(tree.find_all(exp.Select)):
        joins = select.args.get("joins") or []
        if not joins or any(join.side or join.method or join.args.get("using") for join in joins):
            continue
        tables = [table.copy() for table in tables_of(select)][::-1]
        conditions = [join.args["on"].copy() for join in joins if join.args.get("on")]
        select.args["from_"].set("this", tables[0])
        new = [exp.Join(this=table) for table in tables[1:]]
        if conditions:
            new[-1].set("on", exp.and_(*conditions))
        select.set("joins", new)
        changed = True
    return changed


@_of_tree
def using(tree, schema):
    changed = False
    for select in list(tree.find_all(exp.Select)):
        joins = select.args.get("joins") or []
        on = joins[0].args.get("on") if len(joins) == 1 else None
        sides = (on.this, on.expression) if isinstance(on, exp.EQ) else ()
        columns = bool(sides) and all(isinstance(side, exp.Column) for side in sides)
        if columns and fold(sides[0].name) == fold(sides[1].name):
            joins[0].set("on", None)
            joins[0].set("using", [exp.to_identifier(sides[0].name)])
            changed = True
    return changed


@_of_tree
def reversed_columns(tree, schema):
    selects = list(tree.find_all(exp.Select))
    top = [s for s in selects if s.find_ancestor(exp.Select) is None]
    if all(len(select.expressions) < 2 for select in top):
        return False
    for select in top:
        select.set("expressions", select.expressions[::-1])
    return not any(isinstance(order.this, exp.Literal) for order in tree.find_all(exp.Ordered))


@_of_tree
def column_aliases(tree, schema):
    select = tree.find(exp.Select)
    for number, item in enumerate(list(select.expressions)):
        if not isinstance(item, exp.Star | exp.Alias):
            item.replace(exp.alias_(item.copy(), f"returned_{number}"))
    return True


@_of_tree
def count_one(tree, schema):
    changed = [c for c in tree.find_all(exp.Count) if isinstance(c.this, exp.Star)]
    for count in changed:
        count.set("this", exp.Literal.number(1))
    return changed


@_rewrite
def explicit_asc(sql, schema):
    tree = parse(sql)
    keys = [key for key in tree.find_all(exp.Ordered) if not key.args.get("desc")]
    for key in keys:
        key.set("desc", False)
    return write(tree) if keys and " ASC" in write(tree) else None


@_rewrite
def wrapped(sql, schema):
    tree = parse(sql)
    return f"SELECT * FROM ({write(tree)}) AS wrapped"


@_rewrite
def in_a_cte(sql, schema):
    return f"WITH answer AS ({sql.strip().rstrip(';')}) SELECT * FROM answer"
