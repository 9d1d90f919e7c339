"""Reads a syntax tree, against a schema, into the description of the query."""

import dataclasses
from collections.abc import Iterable

from sqlglot import exp

from t2sql.data.schema import Schema, Table
from t2sql.diagnosis import anti_joins, conditions, flatten_subqueries
from t2sql.diagnosis.closest_name import closest_name
from t2sql.diagnosis.conditions import ALWAYS, Atom, Condition, has_aggregate, split
from t2sql.diagnosis.description import Core, Query, SetOperation, TableSource, cores
from t2sql.diagnosis.expressions import ExpressionReader
from t2sql.diagnosis.parsing import TooComplexError
from t2sql.diagnosis.scope import Entry, NameProblem, NameScope, table_entry
from t2sql.diagnosis.terms import ColumnTerm, Nested, Term, aggregates_of
from t2sql.sql.names import fold

# A chain of CTEs, each used twice by the next, doubles with every link.
MAX_CORES = 100
# Names that are this much alike differ by a slip.
_SLIP = 0.85

# Folded name -> its definition; None while the definition itself is read.
Ctes = dict[str, exp.CTE | None]


class QueryReader:
    """Reads one statement.

    Attributes:
      schema: the schema that names are looked up in.
      sql: the statement's text, for how a name is quoted.
      likely: tables that it is expected to read: an invented one may stand for one of them.
      problems: the names that do not resolve.
    """

    def __init__(self, schema: Schema, sql: str, likely: tuple[str, ...] = ()):
        self.schema = schema
        self.sql = sql
        self.likely = likely
        self.problems: list[NameProblem] = []
        self._cores = 0

    def read(
        self, node: exp.Expression, parent: NameScope | None = None, ctes: Ctes | None = None
    ) -> Query:
        """Describes a query.

        Args:
          node: the query's syntax tree.
          parent: the names that the SELECT around it sees.
          ctes: the common table expressions that it may read.

        Raises:
          TooComplexError: it expands into more SELECTs than are compared.
        """
        while isinstance(node, exp.Subquery | exp.Paren):
            node = node.this
        ctes = dict(ctes or {})
        if with_ := node.args.get("with_"):
            ctes |= {fold(cte.alias): cte for cte in with_.expressions}
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, parent, ctes)
        self._cores += 1
        if self._cores > MAX_CORES:
            raise TooComplexError(f"it expands into more than {MAX_CORES} SELECTs")
        core = anti_joins.without_anti_join(_SelectReader(self, parent, ctes).read(node))
        return flatten_subqueries.flatten(core, node)

    def expressions(self, scope: NameScope, ctes: Ctes) -> ExpressionReader:
        """A reader for the expressions of a SELECT that sees `scope` and `ctes`."""
        return ExpressionReader(
            scope,
            self.problems,
            self.sql,
            self.schema,
            lambda node, scope: self.read(node, scope, ctes),
            self.likely,
        )

    def _set_operation(
        self, node: exp.SetOperation, parent: NameScope | None, ctes: Ctes
    ) -> SetOperation:
        operator = type(node).__name__.upper()
        if operator == "UNION" and not node.args.get("distinct"):
            operator = "UNION ALL"
        left, right = (self.read(side, parent, ctes) for side in (node.this, node.expression))
        first = cores(left)[0]
        scope = NameScope(parent)
        scope.aliases = dict(zip(map(fold, first.names), first.items, strict=True))
        sorting = self.expressions(scope, ctes).sorting(node, first.items)
        return SetOperation(operator=operator, left=left, right=right, sorting=sorting)


class _SelectReader:
    """Reads one SELECT: first its FROM, then the expressions over that."""

    def __init__(self, queries: QueryReader, parent: NameScope | None, ctes: Ctes):
        self._queries = queries
        self._ctes = ctes
        self._scope = NameScope(parent)
        self._sources: list[TableSource] = []
        self._on: list[Condition] = []
        self._starred: list[str] = []
        self._expressions = queries.expressions(self._scope, ctes)

    def read(self, node: exp.Expression) -> Core:
        node = _without_case(node)
        if from_ := node.args.get("from_"):
            self._add(from_.this)
        for join in node.args.get("joins") or ():
            self._join(join)
        items = tuple(self._items(node.expressions))
        terms = tuple(term for _, term in items)
        where, having = (
            self._expressions.condition(clause.this) if clause else ALWAYS
            for clause in (node.args.get("where"), node.args.get("having"))
        )
        ties, on = split(conditions.junction("AND", self._on), _is_tie)
        more_ties, where = split(where, _is_tie_of_tables)
        on_groups, on_rows = split(having, has_aggregate)
        return Core(
            sources=tuple(self._sources),
            ties=frozenset(frozenset((tie.left, tie.right)) for tie in ties + more_ties),
            items=terms,
            names=tuple(name for name, _ in items),
            starred=tuple(self._starred),
            distinct=bool(node.args.get("distinct")),
            where=conditions.junction("AND", (on, where, on_rows)),
            group=self._expressions.group(node, terms),
            having=conditions.junction("AND", on_groups),
            late=on_rows,
            sorting=self._expressions.sorting(node, terms),
        )

    def _join(self, join: exp.Join) -> None:
        before = list(self._scope.entries)
        self._add(join.this, outer=join.side if join.side in ("LEFT", "RIGHT", "FULL") else "")
        using = [identifier.name for identifier in join.args.get("using") or ()]
        if join.method == "NATURAL" and self._scope.entries:
            columns = self._scope.entries[-1].columns
            using = [name for name in columns if any(name in entry.columns for entry in before)]
        for name in using:
            self._use(before, name)
        if on := join.args.get("on"):
            condition = self._expressions.condition(on, joins=True)
            # A CTE's column is that of the table it reads, which may be joined to it.
            self._on += [part for part in conditions.conjuncts(condition) if not _is_same(part)]

    def _use(self, before: Iterable[Entry], name: str) -> None:
        """Joins by one column of USING or NATURAL."""
        left = next((term for entry in before if (term := entry.get(name))), None)
        right = self._scope.entries[-1].get(name) if self._scope.entries else None
        if left is None or right is None:
            self._queries.problems.append(NameProblem("column", name, self._scope.tables()))
            return
        self._on.append(conditions.compare(left, "=", right))
        self._scope.merged.add(fold(name))

    def _add(self, node: exp.Expression, outer: str = "") -> None:
        """Adds a table, a CTE or a subquery, and what is joined to it within its brackets."""
        if isinstance(node, exp.Table):
            if isinstance(node.this, exp.Func):
                call = node.this
                name = call.name if isinstance(call, exp.Anonymous) else call.sql_name()
                self._add_open(node, name.lower(), outer)
            elif fold(node.name) in self._ctes:
                self._add_cte(node, fold(node.name), outer)
            else:
                self._add_table(node, outer)
        elif isinstance(node.this, exp.Table):
            self._add(node.this, outer)
        elif isinstance(node, exp.Subquery):
            self._add_query(node.this, node.alias, (), outer)
        for join in node.args.get("joins") or ():
            self._join(join)

    def _add_table(self, node: exp.Table, outer: str) -> None:
        table = self._queries.schema.table(node.name)
        if table is None and self._queries.schema.leaves_out(node.name):
            self._add_open(node, node.name, outer)
            return
        if table is None:
            table = self._meant(node.name)
            meant = table.name if table else ""
            self._queries.problems.append(NameProblem("table", node.name, meant=meant))
        if table is None:
            self._add_open(node, node.name, outer)
            return
        instance = sum(source.table == table.name for source in self._sources)
        self._sources.append(TableSource(table.name, outer))
        self._scope.entries.append(table_entry(table, node.alias or node.name, instance))

    def _add_open(self, node: exp.Table, name: str, outer: str) -> None:
        """Adds a table whose columns are not known: any name may be one."""
        alias = fold(node.alias or name)
        self._sources.append(TableSource(name, outer))
        self._scope.entries.append(Entry(alias=alias, name=name, columns={}, is_open=True))

    def _meant(self, name: str) -> Table | None:
        """The table that an invented name stands for, so that the rest can be compared."""
        schema, likely = self._queries.schema, self._queries.likely
        read = {source.table for source in self._sources}
        names = [table.name for table in schema.tables if table.name not in read]
        likely = [table for table in likely if table not in read]
        guess = (
            closest_name(name, names, cutoff=_SLIP, parts=False)
            or closest_name(name, likely)
            or closest_name(name, names, cutoff=_SLIP)
            or (likely[0] if len(likely) == 1 and not read else None)
        )
        return schema.table(guess) if guess else None

    def _add_cte(self, node: exp.Table, key: str, outer: str) -> None:
        cte = self._ctes[key]
        if cte is None:
            self._add_open(node, node.name, outer)
            return
        names = tuple(column.name for column in cte.args["alias"].columns)
        inner = self._ctes | {key: None}
        self._add_query(cte.this, node.alias or node.name, names, outer, ctes=inner)

    def _add_query(
        self,
        node: exp.Expression,
        alias: str,
        names: tuple[str, ...],
        outer: str,
        ctes: Ctes | None = None,
    ) -> None:
        query = self._queries.read(node, None, ctes or self._ctes)
        first = cores(query)[0]
        columns: dict[str, Term] = {}
        for name, item in zip(names or first.names, first.items, strict=False):
            # SQLite calls a second column of one name `name:1`.
            columns[fold(f"{name}:{len(columns)}" if fold(name) in columns else name)] = item
        if self._sources and _is_one_row(query):
            # Joined to every row, it is a value: `FROM singer, (SELECT AVG(age) AS mean ...)`.
            for name, item in columns.items():
                columns[name] = Nested(dataclasses.replace(query, items=(item,)))
        else:
            self._sources.append(TableSource("", outer, query))
        self._scope.entries.append(
            Entry(alias=fold(alias), name=alias or "the subquery", columns=columns)
        )

    def _items(self, nodes: Iterable[exp.Expression]) -> Iterable[tuple[str, Term]]:
        """Yields the name and the term of all that the SELECT returns, `*` spelled out."""
        for node in nodes:
            star = node.this if isinstance(node, exp.Column) else node
            if isinstance(star, exp.Star):
                qualifier = fold(node.table) if isinstance(node, exp.Column) else ""
                yield from self._all_columns(qualifier)
                continue
            term = self._expressions.term(node)
            if node.alias:
                self._scope.aliases[fold(node.alias)] = term
            yield node.alias_or_name or str(term), term

    def _all_columns(self, qualifier: str) -> Iterable[tuple[str, Term]]:
        entries = [entry for entry in self._scope.entries if qualifier in ("", entry.alias)]
        if not entries and qualifier:
            self._queries.problems.append(NameProblem("table", qualifier))
        for entry in entries:
            if self._queries.schema.table(entry.name):
                self._starred.append(entry.name)
            if not entry.is_open:
                yield from entry.columns.items()


def _without_case(node: exp.Expression) -> exp.Expression:
    """`SELECT COUNT(CASE WHEN x THEN 1 END)` as `SELECT COUNT(*) ... WHERE x`, and SUM so."""
    count = node.expressions[0].unalias() if len(node.expressions) == 1 else None
    case = count.this if isinstance(count, exp.Count | exp.Sum) else None
    if not isinstance(case, exp.Case) or case.this or node.args.get("group"):
        return node
    nothing = [exp.Null(), exp.Literal.number(0)][: 1 + isinstance(count, exp.Sum)]
    (branch, *others) = case.args["ifs"]
    counts = isinstance(count, exp.Count) or branch.args["true"] == exp.Literal.number(1)
    if others or not counts or (case.args.get("default") or exp.Null()) not in nothing:
        return node
    return node.select(exp.Count(this=exp.Star()), append=False).where(branch.this.copy())


def _is_one_row(query: Query) -> bool:
    """Whether it computes over all rows, without groups."""
    if not isinstance(query, Core) or query.group or query.having != ALWAYS:
        return False
    return bool(query.items) and all(map(aggregates_of, query.items))


def _is_same(part: Condition) -> bool:
    """Whether it says that a column equals itself."""
    return isinstance(part, Atom) and part.operator == "=" and part.left == part.right


def _is_tie(part: Condition) -> bool:
    """Whether it joins: columns of two of this SELECT's own sources must be equal."""
    if not isinstance(part, Atom) or part.operator != "=":
        return False
    sides = part.left, part.right
    if not all(isinstance(side, ColumnTerm) and side.instance >= 0 for side in sides):
        return False
    return part.left.table_use != part.right.table_use


def _is_tie_of_tables(part: Condition) -> bool:
    """Whether it joins, in WHERE, where a name that no table has may be a text without quotes."""
    return _is_tie(part) and bool(part.left.table and part.right.table)
