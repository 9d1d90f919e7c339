"""Queries made wrong in one known way, for tests of the diagnosis.

A mutation takes gold's syntax tree, which it may change, and the schema; it yields the wrong
query's tree (or text), or nothing where gold has nothing to make wrong in that way.
"""

import functools
from collections.abc import Callable, Iterator

from sql_rewrites import select_of, tables_of
from sqlglot import exp

from t2sql.data.schema import Schema, Table
from t2sql.sql.names import fold

Mutated = exp.Expression | str | None
# error class -> ways to make it
MUTATIONS: dict[str, list[Callable[[exp.Expression, Schema], Mutated]]] = {}


def _mutation(error: str):
    def register(function):
        def mutate(tree: exp.Expression, schema: Schema) -> Mutated:
            return next(function(tree, schema), None)

        MUTATIONS.setdefault(error, []).append(functools.update_wrapper(mutate, function))
        return function

    return register


def _dropped(error: str, *clauses: str) -> None:
    """Registers that the query, or its first SELECT, loses the first clause and those after it."""

    def mutate(tree, schema):
        owner = tree if clauses[0] in ("order", "limit") else _first(tree)
        if owner.args.get(clauses[0]):
            for clause in clauses:
                owner.set(clause, None)
            yield tree

    mutate.__name__ = f"dropped_{clauses[0]}"
    _mutation(error)(mutate)


_dropped("missing_group_by", "group", "having")
_dropped("missing_having", "having")
_dropped("missing_order_by", "order")
_dropped("missing_limit", "limit")


def _first(tree: exp.Expression) -> exp.Select:
    """The leftmost SELECT, not one of a subquery."""
    while isinstance(tree, exp.SetOperation):
        tree = tree.this
    return tree


def _own(select: exp.Select, *kinds: type) -> Iterator[exp.Expression]:
    """Nodes of this SELECT itself."""
    return (node for node in select.find_all(*kinds) if select_of(node) is select)


def _real_tables(select: exp.Select, schema: Schema) -> list[tuple[exp.Table, Table]]:
    nodes = [(t, schema.table(t.name)) for t in tables_of(select) if isinstance(t, exp.Table)]
    return [(node, table) for node, table in nodes if table]


def _owner(column: exp.Column, schema: Schema) -> Table | None:
    select = select_of(column)
    for node, table in _real_tables(select, schema) if select else []:
        if column.table in ("", node.alias_or_name) and table.column(column.name):
            return table
    return None


def _ties(schema: Schema, table: str, column: str) -> set[str]:
    """Columns of the table that a foreign key makes the same as this one."""
    ends = {(fold(table), fold(column))}
    for key in schema.foreign_keys:
        both = {(fold(end.table), fold(end.column)) for end in key}
        ends |= both if both & ends else set()
    return {name for owner, name in ends if owner == fold(table)}


def _other_column(column: exp.Column, schema: Schema) -> str | None:
    table = _owner(column, schema)
    if table is None:
        return None
    same = _ties(schema, table.name, column.name)
    others = [c.name for c in table.columns if fold(c.name) not in same | {fold(column.name)}]
    return others[0] if others else None


def _aggregates(select: exp.Select) -> list[exp.Expression]:
    items = [item.this if isinstance(item, exp.Alias) else item for item in select.expressions]
    return [item for item in items if isinstance(item, exp.AggFunc)]


def _plain_items(select: exp.Select) -> list[exp.Column]:
    items = [item for item in select.expressions if isinstance(item, exp.Column)]
    return [item for item in items if not isinstance(item.this, exp.Star)]


def _returned(select: exp.Select) -> set[str]:
    return {fold(item.name) for item in _plain_items(select)}


def _filters(select: exp.Select, clause: str = "where") -> list[exp.Expression]:
    where = select.args.get(clause)
    kinds = (exp.EQ, exp.NEQ, exp.GT, exp.LT, exp.GTE, exp.LTE, exp.Like)
    comparisons = where.find_all(*kinds) if where else ()
    return [
        node
        for node in comparisons
        if select_of(node) is select and not _joins(node) and not _is_query(node.expression)
    ]


def _joins(atom: exp.Expression) -> bool:
    return all(
        isinstance(side, exp.Column) and not side.this.args.get("quoted")
        for side in (atom.this, atom.expression)
    )


def _is_query(node: exp.Expression) -> bool:
    return isinstance(node, exp.Subquery | exp.Select)


@_mutation("invalid_sql")
def misspelled_keyword(tree, schema):
    yield tree.sql("sqlite").replace("FROM", "FORM")


@_mutation("invalid_sql")
def open_bracket(tree, schema):
    yield tree.sql("sqlite").replace("SELECT ", "SELECT (", 1)


@_mutation("invented_table")
def renamed_table(tree, schema):
    table = tree.find(exp.Table)
    table.this.set("this", table.name + "_archive")
    yield tree


@_mutation("invented_column")
def renamed_column(tree, schema):
    columns = [c for c in tree.find_all(exp.Column) if _owner(c, schema)]
    for column in columns[:1]:
        column.this.set("this", "total_" + column.name)
        yield tree


@_mutation("invented_column")
def renamed_column_in_double_quotes(tree, schema):
    for column in _plain_items(_first(tree)):
        column.replace(exp.column("singular_" + column.name, quoted=True))
        yield tree


@_mutation("ambiguous_column")
def unqualified_join(tree, schema):
    for select in tree.find_all(exp.Select):
        tables = [table for _, table in _real_tables(select, schema)]
        for column in _own(select, exp.Column):
            owners = sum(bool(table.column(column.name)) for table in tables)
            if column.table and owners > 1 and len(tables) == len(tables_of(select)):
                column.set("table", None)
                yield tree


@_mutation("wrong_table")
def another_table(tree, schema):
    select = _first(tree)
    tables = _real_tables(select, schema)
    for node, _ in tables:
        used = {fold(table.name) for _, table in tables}
        others = [table for table in schema.tables if fold(table.name) not in used]
        if others:
            node.this.set("this", others[0].name)
            yield tree


@_mutation("missing_join")
def dropped_join(tree, schema):
    for select in tree.find_all(exp.Select):
        if select.args.get("joins"):
            select.set("joins", select.args["joins"][:-1])
            yield tree


@_mutation("extra_join")
def another_join(tree, schema):
    select = _first(tree)
    used = {fold(table.name) for _, table in _real_tables(select, schema)}
    others = [table for table in schema.tables if fold(table.name) not in used]
    if others and used:
        select.append("joins", exp.Join(this=exp.to_table(others[0].name)))
        yield tree


@_mutation("wrong_join_condition")
def join_on_another_column(tree, schema):
    for join in tree.find_all(exp.Join):
        on = join.args.get("on")
        if isinstance(on, exp.EQ) and (other := _other_column(on.this, schema)):
            on.this.set("this", exp.to_identifier(other))
            yield tree


@_mutation("wrong_join_condition")
def join_on_nothing(tree, schema):
    for join in tree.find_all(exp.Join):
        if join.args.get("on"):
            join.set("on", None)
            yield tree


@_mutation("wrong_columns")
def another_item(tree, schema):
    select = _first(tree)
    for item in _plain_items(select):
        table = _owner(item, schema)
        names = _returned(select)
        others = [c.name for c in (table.columns if table else ()) if fold(c.name) not in names]
        others = [name for name in others if fold(name) not in _ties(schema, table.name, item.name)]
        if others:
            item.set("this", exp.to_identifier(others[0], quoted=True))
            yield tree


@_mutation("wrong_columns")
def dropped_item(tree, schema):
    select = _first(tree)
    if len(select.expressions) > 1 and isinstance(tree, exp.Select):
        select.set("expressions", select.expressions[1:])
        yield tree


@_mutation("wrong_columns")
def added_item(tree, schema):
    if isinstance(tree, exp.Select) and (tables := _real_tables(tree, schema)):
        node, table = tables[0]
        new = [c.name for c in table.columns if fold(c.name) not in _returned(tree)]
        if new and not any(item.find(exp.Star) for item in _plain_items(tree)) and not tree.is_star:
            tree.select(exp.column(new[-1], node.alias_or_name, quoted=True), copy=False)
            yield tree


@_mutation("wrong_aggregate")
def another_aggregate(tree, schema):
    other = {exp.Avg: exp.Sum, exp.Sum: exp.Avg, exp.Max: exp.Min, exp.Min: exp.Max}
    for node in _aggregates(_first(tree)):
        if type(node) in other:
            node.replace(other[type(node)](this=node.this.copy()))
            yield tree


@_mutation("wrong_aggregate")
def no_aggregate(tree, schema):
    for node in _aggregates(_first(tree)):
        if isinstance(node.this, exp.Column):
            node.replace(node.this.copy())
            yield tree


@_mutation("missing_distinct")
def dropped_distinct(tree, schema):
    if isinstance(tree, exp.Select) and tree.args.get("distinct"):
        tree.set("distinct", None)
        yield tree


@_mutation("missing_distinct")
def dropped_count_distinct(tree, schema):
    for node in _aggregates(_first(tree)):
        if isinstance(node.this, exp.Distinct):
            node.set("this", node.this.expressions[0].copy())
            yield tree


@_mutation("extra_distinct")
def added_distinct(tree, schema):
    """Where it can make a difference: not on keys, groups or aggregates."""
    if not isinstance(tree, exp.Select) or tree.args.get("distinct") or tree.args.get("group"):
        return
    returned = _returned(tree)
    keys = {fold(key.column) for key in schema.primary_keys}
    if returned and not returned & keys and not tree.is_star and not _aggregates(tree):
        tree.set("distinct", exp.Distinct())
        yield tree


@_mutation("missing_filter")
def dropped_where(tree, schema):
    select = _first(tree)
    if _filters(select):
        select.set("where", None)
        yield tree


@_mutation("missing_filter")
def dropped_condition(tree, schema):
    for node in _own(_first(tree), exp.And):
        if node.find_ancestor(exp.Where):
            node.replace(node.this.copy())
            yield tree


@_mutation("extra_filter")
def added_condition(tree, schema):
    select = _first(tree)
    for node, table in _real_tables(select, schema):
        column = exp.column(table.columns[-1].name, node.alias_or_name, quoted=True)
        select.where(exp.EQ(this=column, expression=exp.Literal.string("xyz")), copy=False)
        yield tree


@_mutation("wrong_filter_column")
def another_filter_column(tree, schema):
    for atom in _filters(_first(tree)):
        if isinstance(atom.this, exp.Column) and (other := _other_column(atom.this, schema)):
            atom.this.set("this", exp.to_identifier(other, quoted=True))
            yield tree


@_mutation("wrong_operator")
def another_operator(tree, schema):
    other = {exp.EQ: exp.NEQ, exp.GT: exp.LT, exp.LT: exp.GTE, exp.GTE: exp.GT, exp.LTE: exp.EQ}
    for atom in _filters(_first(tree)) + _filters(_first(tree), "having"):
        if type(atom) in other and not isinstance(atom.this, exp.Count):
            atom.replace(other[type(atom)](this=atom.this, expression=atom.expression))
            yield tree


@_mutation("wrong_operator")
def and_for_or(tree, schema):
    for node in _own(_first(tree), exp.And, exp.Or):
        if not any(_joins(side) for side in (node.this, node.expression)):
            other = exp.Or if isinstance(node, exp.And) else exp.And
            node.replace(other(this=node.this.copy(), expression=node.expression.copy()))
            yield tree


@_mutation("wrong_operator")
def in_for_not_in(tree, schema):
    for node in tree.find_all(exp.Not):
        if isinstance(node.this, exp.In):
            node.replace(node.this.copy())
            yield tree


@_mutation("wrong_value")
def another_value(tree, schema):
    for atom in _filters(_first(tree)) + _filters(_first(tree), "having"):
        value = atom.expression
        if isinstance(value, exp.Literal):
            new = value.this + ("1" if not value.is_string else " and more")
            atom.set("expression", exp.Literal(this=new, is_string=value.is_string))
            yield tree
        if isinstance(value, exp.Column):
            atom.set("expression", exp.Literal.string(value.name + " and more"))
            yield tree


@_mutation("wrong_value")
def value_in_other_case(tree, schema):
    for atom in _filters(_first(tree)):
        if atom.expression.is_string and atom.expression.this != atom.expression.this.swapcase():
            atom.set("expression", exp.Literal.string(atom.expression.this.swapcase()))
            yield tree


@_mutation("extra_group_by")
def added_group(tree, schema):
    select = _first(tree)
    if not select.args.get("group") and not select.args.get("distinct"):
        for node, table in _real_tables(select, schema):
            select.group_by(
                exp.column(table.columns[0].name, node.alias_or_name, quoted=True), copy=False
            )
            yield tree


@_mutation("wrong_group_by")
def another_group(tree, schema):
    select = _first(tree)
    for column in (select.args["group"].expressions if select.args.get("group") else ())[:1]:
        if isinstance(column, exp.Column) and (other := _other_column(column, schema)):
            column.set("this", exp.to_identifier(other, quoted=True))
            yield tree


@_mutation("extra_order_by")
def added_order(tree, schema):
    if not tree.args.get("order"):
        yield tree.order_by("1 DESC", copy=False)


@_mutation("wrong_order")
def other_direction(tree, schema):
    if tree.args.get("order"):
        key = tree.args["order"].expressions[0]
        key.set("desc", not key.args.get("desc"))
        yield tree


@_mutation("wrong_order")
def another_order(tree, schema):
    for key in tree.args["order"].expressions[:1] if tree.args.get("order") else ():
        if isinstance(key.this, exp.Column) and (other := _other_column(key.this, schema)):
            key.this.set("this", exp.to_identifier(other, quoted=True))
            yield tree


@_mutation("extra_limit")
def added_limit(tree, schema):
    if not (tree.args.get("limit")):
        yield tree.limit(1, copy=False)


@_mutation("wrong_limit")
def another_limit(tree, schema):
    if tree.args.get("limit"):
        yield tree.limit(7, copy=False)


@_mutation("misread_superlative")
def extreme_as_constant(tree, schema):
    """The youngest singer is the one of age 1."""
    if not (tree.args.get("order") and tree.args.get("limit")) or tree.args.get("group"):
        return
    key = tree.args["order"].expressions[0].this
    if not isinstance(key, exp.Column) or any(True for _ in tree.find_all(exp.Min, exp.Max)):
        return
    tree.set("order", None)
    tree.set("limit", None)
    yield tree.where(exp.EQ(this=key.copy(), expression=exp.Literal.number(1)), copy=False)


@_mutation("misread_superlative")
def extreme_ignored(tree, schema):
    if tree.args.get("order") and tree.args.get("limit") and not tree.find(exp.Min, exp.Max):
        tree.set("order", None)
        tree.set("limit", None)
        yield tree


@_mutation("misread_superlative")
def constant_for_subquery(tree, schema):
    for node in tree.find_all(exp.Subquery):
        inner = node.this
        if isinstance(inner, exp.Select) and inner.find(exp.Min, exp.Max) and node.parent:
            node.replace(exp.Literal.number(1))
            rest = tree.find(exp.Min, exp.Max) or tree.find(exp.Limit)
            if not (rest):
                yield tree


@_mutation("wrong_set_operation")
def another_set_operation(tree, schema):
    other = {exp.Union: exp.Except, exp.Intersect: exp.Union, exp.Except: exp.Intersect}
    if isinstance(tree, exp.SetOperation):
        yield other[type(tree)](this=tree.this, expression=tree.expression, distinct=True)


@_mutation("wrong_set_operation")
def one_side(tree, schema):
    if isinstance(tree, exp.SetOperation):
        yield tree.this


@_mutation("wrong_set_operation")
def added_set_operation(tree, schema):
    if isinstance(tree, exp.Select) and not tree.args.get("order"):
        yield exp.Union(this=tree.copy(), expression=tree.copy(), distinct=True)


@_mutation("wrong_nesting")
def dropped_subquery(tree, schema):
    where = _first(tree).args.get("where")
    if where and where.find(exp.Select):
        where.parent.set("where", None)
        yield tree


@_mutation("wrong_nesting")
def added_subquery(tree, schema):
    select = _first(tree)
    for node, table in _real_tables(select, schema):
        column = exp.column(table.columns[0].name, node.alias_or_name, quoted=True)
        inner = exp.select(exp.column(table.columns[0].name, quoted=True)).from_(table.name)
        select.where(exp.In(this=column, query=exp.Subquery(this=inner)), copy=False)
        yield tree


@_mutation("wrong_nesting")
def counted_in_from(tree, schema):
    """Something is computed over what gold returns."""
    inner = exp.Subquery(this=tree.copy(), alias=exp.TableAlias(this=exp.to_identifier("x")))
    if isinstance(tree, exp.Select) and (tree.args.get("distinct") or tree.args.get("limit")):
        yield exp.select("COUNT(*)").from_(inner)
