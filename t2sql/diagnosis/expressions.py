"""From sqlglot's expressions to terms and conditions, with every name resolved."""

import re
from collections.abc import Callable, Sequence

from sqlglot import exp

from t2sql.data.schema import Schema
from t2sql.diagnosis import anti_joins, conditions, terms
from t2sql.diagnosis.closest_name import closest_name
from t2sql.diagnosis.conditions import Atom, Condition
from t2sql.diagnosis.description import Core, OrderKey, Query, Sorting
from t2sql.diagnosis.scope import NameProblem, NameScope, outside
from t2sql.diagnosis.terms import Call, ColumnTerm, Literal, Nested, Star, Term
from t2sql.sql.names import fold

# What a column may be called; other text in double quotes is never meant as a name.
_NAME = re.compile(r"[^\W\d]\w*(?: \w+)*")

_COMPARISONS = {
    exp.EQ: "=",
    exp.NEQ: "!=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.Like: "LIKE",
    exp.ILike: "LIKE",
    exp.Glob: "GLOB",
    exp.Is: "IS",
    exp.NullSafeEQ: "IS",
    exp.NullSafeNEQ: "IS NOT",
}
_ARITHMETIC = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.Mod: "%",
    exp.DPipe: "||",
}
_AGGREGATES = {
    exp.Count: "COUNT",
    exp.Sum: "SUM",
    exp.Avg: "AVG",
    exp.Min: "MIN",
    exp.Max: "MAX",
    exp.GroupConcat: "GROUP_CONCAT",
}


class ExpressionReader:
    """Reads the expressions of one SELECT.

    Attributes:
      scope: the names that the SELECT sees.
      problems: names that do not resolve are added to it.
    """

    def __init__(
        self,
        scope: NameScope,
        problems: list[NameProblem],
        sql: str,
        schema: Schema,
        read_query: Callable[[exp.Expression, NameScope], Query],
        likely: tuple[str, ...] = (),
    ):
        self.scope = scope
        self.problems = problems
        self._sql = sql
        self._schema = schema
        self._read_query = read_query
        self._likely = likely

    def term(self, node: exp.Expression | None) -> Term:
        """Reads a value; sqlglot gives None where the text leaves out what SQL asks for."""
        if node is None:
            return Literal("")
        if isinstance(node, exp.Paren | exp.Alias | exp.Ordered):
            return self.term(node.this)
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, exp.Literal):
            return terms.literal(node.this, is_text=node.is_string)
        if isinstance(node, exp.Star):
            return Star()
        if isinstance(node, exp.Subquery | exp.Query):
            return Nested(self._read_query(node, self.scope))
        return self._constant(node) or self._call(node)

    def _constant(self, node: exp.Expression) -> Literal | None:
        if isinstance(node, exp.Null):
            return Literal("NULL")
        if isinstance(node, exp.Boolean):
            return Literal("1" if node.this else "0")
        if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal):
            return terms.literal("-" + node.this.this, is_text=False)
        return None

    def _call(self, node: exp.Expression) -> Call:
        if isinstance(node, exp.Window) and (rank := self._rank(node)):
            return rank
        if type(node) in _ARITHMETIC:
            sides = self._operand(node.this), self._operand(node.expression)
            return terms.call(_ARITHMETIC[type(node)], *sides)
        if type(node) in _AGGREGATES:
            return self._aggregate(node, _AGGREGATES[type(node)])
        if isinstance(node, exp.Anonymous):
            name, arguments = str(node.this).upper(), node.expressions
        else:
            name, arguments = type(node).__name__.upper(), list(node.iter_expressions())
        if name == "TOTAL":
            return self._aggregate(node, name)
        read = [self._argument(argument) for argument in arguments]
        return terms.call(name, *read, text=self._written(node))

    def _rank(self, node: exp.Window) -> Call | None:
        """The place of a row among all, by one key."""
        name = node.this.sql_name() if isinstance(node.this, exp.Func) else ""
        order = node.args.get("order")
        if name not in terms.RANKS or node.args.get("partition_by") or not order:
            return None
        first = order.expressions[0]
        direction = "DESC" if first.args.get("desc") else "ASC"
        text = self._written(node)
        return terms.call(f"{name} {direction}", self.term(first.this), text=text)

    def _written(self, node: exp.Expression) -> str:
        """How SQL writes a value, with the names of its columns as in other messages."""
        copied = node.copy()
        for column, shown in zip(_columns(node), _columns(copied), strict=True):
            shown.replace(exp.Var(this=str(self.value(column))))
        return copied.sql(dialect="sqlite")

    def _argument(self, node: exp.Expression) -> Term:
        if isinstance(node, exp.DataType | exp.Identifier | exp.Var):
            return Literal(node.sql(dialect="sqlite"))
        return self.value(node)

    def _aggregate(self, node: exp.Expression, name: str) -> Call:
        # SQLite reads `count()` as `count(*)`.
        argument = (node.this if name != "TOTAL" else node.find(exp.Column)) or exp.Star()
        distinct = isinstance(argument, exp.Distinct)
        arguments = argument.expressions if distinct else [argument]
        read = [self.term(node) for node in arguments]
        if name == "COUNT" and not distinct and isinstance(read[0], Literal):
            read = [Star()]
        return terms.call(name, *read, distinct=distinct)

    def _column(self, node: exp.Column) -> Term:
        if node.table:
            return self._qualified(node)
        term, owners = self.scope.find(node.name)
        if len(owners) > 1:
            self.problems.append(NameProblem("ambiguous", node.name, tuple(owners)))
        if term is not None:
            return term
        as_text = self._is_double_quoted(node.this)
        if as_text and not _NAME.fullmatch(node.name):
            return terms.literal(node.name, is_text=True)
        self.problems.append(NameProblem("column", node.name, self.scope.tables(), as_text))
        return self._elsewhere(node.name) or ColumnTerm("", node.name)

    def _qualified(self, node: exp.Column) -> Term:
        entry, inside = self.scope.entry(node.table)
        if entry is None:
            return self._unread(node)
        term = entry.get(node.name)
        if term is None:
            self.problems.append(NameProblem("column", node.name, (entry.name,)))
            return self._elsewhere(node.name) or ColumnTerm(entry.name, node.name)
        return term if inside else outside(term)

    def _elsewhere(self, name: str) -> ColumnTerm | None:
        """The column of that name of the one likely table that has one: what it lacks is a join.

        None where that table is read: the join is there, and the name is wrong.
        """
        owners = [table for table in self._schema.tables_with(name) if table.name in self._likely]
        if len(owners) != 1 or owners[0].name in self.scope.tables():
            return None
        return ColumnTerm(owners[0].name, owners[0].column(name).name)

    def _unread(self, node: exp.Column) -> Term:
        """A column of something that FROM does not name: a missing join, or an invention."""
        column = self._schema.column(node.table, node.name)
        if column is not None:
            return ColumnTerm(self._schema.table(node.table).name, column.name)
        self.problems.append(NameProblem("qualifier", node.table, self.scope.tables()))
        term = self.scope.find(node.name)[0] or self._elsewhere(node.name)
        return term or ColumnTerm("", node.name)

    def value(self, node: exp.Expression) -> Term:
        """Reads what a column is compared with: an unknown name in double quotes is text."""
        text = self._as_text(node)
        return self.term(node) if text is None else text

    def _operand(self, node: exp.Expression) -> Term:
        """Reads a side of `||`, `+` ...: what is in double quotes is text unless like a column."""
        text = self._as_text(node)
        if text is None:
            return self.term(node)
        known = [name for entry in self.scope.entries for name in entry.columns]
        return self.term(node) if closest_name(node.name, known, self.scope.tables()) else text

    def _as_text(self, node: exp.Expression) -> Literal | None:
        node = node.unnest()
        if not isinstance(node, exp.Column) or node.table:
            return None
        if not self._is_double_quoted(node.this) or self.scope.find(node.name)[0] is not None:
            return None
        return terms.literal(node.name, is_text=True)

    def _is_double_quoted(self, node: exp.Expression) -> bool:
        start = node.meta.get("start", -1)
        return bool(node.args.get("quoted")) and self._sql[start : start + 1] == '"'

    def condition(self, node: exp.Expression, *, joins: bool = False) -> Condition:
        """Reads a condition; in ON (`joins`) even a name on the right has to be a column."""
        if isinstance(node, exp.Paren):
            return self.condition(node.this, joins=joins)
        if isinstance(node, exp.And | exp.Or):
            operator = "AND" if isinstance(node, exp.And) else "OR"
            parts = (self.condition(part, joins=joins) for part in _operands(node))
            return conditions.junction(operator, parts)
        if isinstance(node, exp.Not):
            return conditions.negate(self.condition(node.this, joins=joins))
        if type(node) in _COMPARISONS:
            return self._comparison(node, joins=joins)
        if isinstance(node, exp.Between):
            return self._between(node)
        if isinstance(node, exp.In):
            return self._in(node)
        if isinstance(node, exp.Exists):
            subquery = self.term(node.this)
            if isinstance(subquery, Nested):
                return anti_joins.exists(subquery.query)
            return Atom(Star(), "EXISTS", subquery)
        if isinstance(node, exp.Boolean) and node.this:
            return conditions.ALWAYS
        return Atom(self.term(node), "TRUE")

    def _comparison(self, node: exp.Expression, *, joins: bool) -> Condition:
        left, right = node.this, node.expression
        # A left side in double quotes that is no column is text if the right side has one.
        is_value = not self._as_text(right) and right.find(exp.Column) is not None
        if not joins and is_value and self._as_text(left):
            sides = self.value(left), self.term(right)
        else:
            sides = self.term(left), self.term(right) if joins else self.value(right)
        atom = conditions.compare(sides[0], _COMPARISONS[type(node)], sides[1])
        atom = anti_joins.counting_matches(atom)
        return conditions.negate(atom) if node.args.get("negate") else atom

    def _between(self, node: exp.Between) -> Condition:
        left = self.term(node.this)
        bounds = ((">=", node.args["low"]), ("<=", node.args["high"]))
        return conditions.junction(
            "AND", (conditions.compare(left, sign, self.value(bound)) for sign, bound in bounds)
        )

    def _in(self, node: exp.In) -> Condition:
        is_value = any(value.find(exp.Column) for value in node.expressions)
        left = self.value(node.this) if is_value else self.term(node.this)
        query = node.args.get("query") or node.args.get("field")
        if query is not None:
            inner = self._read_query(query, self.scope) if isinstance(query, exp.Query) else None
            return (
                _membership(left, inner)
                if inner
                else Atom(left, "IN", Literal(query.sql("sqlite")))
            )
        values = [self.value(value) for value in node.expressions]
        if len(values) == 1 and isinstance(values[0], Nested):
            return _membership(left, values[0].query)
        if not values:
            return Atom(left, "IN", Literal("()"))
        return conditions.junction("OR", (conditions.compare(left, "=", v) for v in values))

    def group(self, node: exp.Expression, items: Sequence[Term]) -> tuple[Term, ...]:
        """Reads GROUP BY; `items` are what the SELECT returns, for `GROUP BY 1`."""
        clause = node.args.get("group")
        return tuple(self._key(key, items) for key in clause.expressions) if clause else ()

    def sorting(self, node: exp.Expression, items: Sequence[Term]) -> Sorting:
        """Reads ORDER BY, LIMIT and OFFSET."""
        order, limit, offset = (node.args.get(name) for name in ("order", "limit", "offset"))
        keys = order.expressions if order else ()
        return Sorting(
            order=tuple(self._order_key(key, items) for key in keys),
            limit=self.term(limit.args.get("expression", limit.args.get("count")))
            if limit
            else None,
            offset=self.term(offset.expression) if offset else None,
        )

    def _order_key(self, node: exp.Ordered, items: Sequence[Term]) -> OrderKey:
        descending = bool(node.args.get("desc"))
        nulls_first = bool(node.args.get("nulls_first"))
        # To SQLite a NULL is less than any value.
        nulls = "" if nulls_first != descending else "FIRST" if nulls_first else "LAST"
        term = None
        # In ORDER BY, an alias of the SELECT comes before a column of that name.
        if isinstance(node.this, exp.Column) and not node.this.table:
            term = self.scope.aliases.get(fold(node.this.name))
        return OrderKey(term or self._key(node.this, items), descending, nulls)

    def _key(self, node: exp.Expression, items: Sequence[Term]) -> Term:
        if isinstance(node, exp.Literal) and not node.is_string and node.this.isdigit():
            position = int(node.this) if len(node.this) < 6 else 0
            return items[position - 1] if 0 < position <= len(items) else self.term(node)
        return self.term(node)


def _membership(left: Term, query: Query) -> Condition:
    """`left IN (query)`; in each side of a UNION, INTERSECT or EXCEPT by itself."""
    if isinstance(query, Core) or query.sorting != Sorting():
        return Atom(left, "IN", Nested(query))
    sides = [_membership(left, side) for side in (query.left, query.right)]
    if query.operator == "EXCEPT":
        sides[1] = conditions.negate(sides[1])
    return conditions.junction("OR" if query.operator.startswith("UNION") else "AND", sides)


def _columns(node: exp.Expression) -> list[exp.Column]:
    """The columns in a value, those of subqueries left out."""
    nodes = node.walk(prune=lambda inner: isinstance(inner, exp.Query))
    return [inner for inner in nodes if isinstance(inner, exp.Column)]


def _operands(node: exp.Expression) -> list[exp.Expression]:
    """All that a chain of ANDs, or of ORs, combines; a long one is too deep to recurse into."""
    operands, pending = [], [node]
    while pending:
        operand = pending.pop()
        if type(operand) is type(node):
            pending += [operand.expression, operand.this]
        else:
            operands.append(operand)
    return operands
