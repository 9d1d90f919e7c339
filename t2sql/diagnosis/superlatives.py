"""How a query takes an extreme: the oldest, the cheapest, the one with the most.

SQL has several spellings:

    SELECT name FROM singer ORDER BY age DESC LIMIT 1                          -- "first row"
    SELECT name FROM singer WHERE age = (SELECT MAX(age) FROM singer)          -- "value"
    SELECT name FROM singer
      WHERE id = (SELECT id FROM singer ORDER BY age DESC LIMIT 1)             -- "key"
    SELECT name FROM singer AS a
      WHERE NOT EXISTS (SELECT 1 FROM singer AS b WHERE b.age > a.age)         -- "value"
    SELECT MAX(age) FROM singer                                                -- "aggregate"
    SELECT name FROM (SELECT name, ROW_NUMBER() OVER (ORDER BY age DESC) AS n FROM singer)
      WHERE n = 1                                                              -- "place"

They differ only where rows tie or hold NULL.
"""

import dataclasses
from collections.abc import Callable, Iterator

from t2sql.data.schema import Schema
from t2sql.diagnosis import conditions, terms
from t2sql.diagnosis.conditions import ALWAYS, Atom, Condition, conjuncts
from t2sql.diagnosis.description import Core, Query, Sorting, all_cores, cores
from t2sql.diagnosis.terms import Call, ColumnTerm, Literal, Nested, Star, Term

FIRST_ROW, VALUE, KEY, AGGREGATE, PLACE = "first row", "value", "key", "aggregate", "place"
_ONE = Literal("1")
# `>=` the largest is `=` the largest.
_REACHING = {"=": ("MIN", "MAX"), "IN": ("MIN", "MAX"), ">=": ("MAX",), "<=": ("MIN",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extreme:
    """The extreme that one SELECT takes.

    Attributes:
      function: `MAX` or `MIN`.
      term: of what.
      shown: how the query writes it.
      form: its spelling, one of the five above.
      rest: the SELECT without it.
      inner: the subquery that finds it; None where there is none.
    """

    function: str
    term: Term
    shown: str
    form: str
    rest: Core
    inner: Core | None = None

    def meaning(self, schema: Schema) -> tuple[str, Term]:
        """Equal for one extreme in all its spellings."""
        return self.function, terms.replace_columns(bare(self.term), foreign_keys_as_one(schema))


def bare(term: Term) -> Term:
    """The term whichever use of its tables it is of, whatever COUNT counts, without CAST."""
    if isinstance(term, Call) and term.name == "CAST":
        return bare(term.args[0])
    if isinstance(term, Call) and term.name == "COUNT" and not term.distinct:
        return terms.call("COUNT", Star())
    if isinstance(term, Call):
        args = map(bare, term.args)
        return terms.call(term.name, *args, distinct=term.distinct)
    return ColumnTerm(term.table, term.name) if isinstance(term, ColumnTerm) else term


def spelled_alike(one: Extreme, other: Extreme) -> bool:
    """Whether two are of one form; RANK() = 1 and = MAX are both of "value"."""
    return one.form == other.form and one.form != VALUE


def is_of_one(extreme: Extreme, other: Extreme) -> bool:
    """Whether both are the same extreme of one column."""
    return extreme.function == other.function and bare(extreme.term) == bare(other.term)


def foreign_keys_as_one(schema: Schema) -> Callable[[ColumnTerm], ColumnTerm]:
    """A function that gives one column for all that foreign keys tie to it."""
    roots: dict[ColumnTerm, ColumnTerm] = {}
    for key in schema.foreign_keys:
        ends = [ColumnTerm(end.table, end.column) for end in key]
        first, other = (roots.get(end, end) for end in ends)
        roots |= {column: first for column, root in roots.items() if root == other}
        roots |= dict.fromkeys((*ends, other), first)
    return lambda column: roots.get(column, column)


def taken(core: Core) -> Extreme | None:
    """The extreme that the SELECT itself takes, one row or value of it; None where it does not."""
    computes = any(map(terms.aggregates_of, core.items)) and not core.group
    extreme = None if computes else _of_sorting(core)
    if extreme is not None:
        return extreme if core.sorting.limit == _ONE and not core.sorting.offset else None
    return next(_of_conditions(core), None) or _of_items(core)


def _of_sorting(core: Core) -> Extreme | None:
    if not (core.sorting.order and core.sorting.limit):
        return None
    first = core.sorting.order[0]
    return Extreme(
        function="MAX" if first.descending else "MIN",
        term=first.term,
        shown=" ".join(core.sorting.clauses()),
        form=FIRST_ROW,
        rest=dataclasses.replace(core, sorting=Sorting()),
    )


def _of_conditions(core: Core) -> Iterator[Extreme]:
    for clause in ("where", "having"):
        condition = getattr(core, clause)
        for part in conjuncts(condition):
            extreme = _of_rank(part, core) or _of_absence(part, core) or _of_condition(part, core)
            if extreme is not None:
                rest = conditions.junction("AND", (p for p in conjuncts(condition) if p != part))
                yield dataclasses.replace(extreme, rest=dataclasses.replace(core, **{clause: rest}))


def _of_rank(part: Condition, core: Core) -> Extreme | None:
    if not isinstance(part, Atom) or part.right != _ONE or not isinstance(part.left, Call):
        return None
    rank, _, direction = part.left.name.partition(" ")
    if rank not in terms.RANKS or part.operator not in ("=", "<="):
        return None
    return Extreme(
        function="MAX" if direction == "DESC" else "MIN",
        term=part.left.args[0],
        shown=str(part),
        form=PLACE if rank == "ROW_NUMBER" else VALUE,
        rest=core,
    )


def _of_absence(part: Condition, core: Core) -> Extreme | None:
    """`NOT EXISTS (SELECT 1 FROM singer AS b WHERE b.age > a.age)`: nobody is older."""
    inner = part.right.query if isinstance(part, Atom) and isinstance(part.right, Nested) else None
    if not isinstance(inner, Core) or part.operator != "NOT EXISTS" or inner.group:
        return None
    beyond = inner.where
    if not isinstance(beyond, Atom) or beyond.operator not in ("<", ">"):
        return None
    sides = beyond.left, beyond.right
    if not all(isinstance(side, ColumnTerm) for side in sides) or len(inner.sources) != 1:
        return None
    outer, own = sorted(sides, key=lambda column: column.instance)
    if outer.instance >= 0 or own.instance < 0 or bare(outer) != bare(own):
        return None
    is_above = (beyond.operator == ">") == (own == beyond.left)
    return Extreme(
        function="MAX" if is_above else "MIN",
        term=bare(own),
        shown=str(part),
        form=VALUE,
        rest=core,
        inner=Core(sources=inner.sources),
    )


def _of_condition(part: Condition, core: Core) -> Extreme | None:
    inner = part.right.query if isinstance(part, Atom) and isinstance(part.right, Nested) else None
    if not isinstance(inner, Core) or len(inner.items) != 1 or part.operator not in _REACHING:
        return None
    extreme = _of_items(inner) or _of_sorting(inner)
    if extreme is None or extreme.function not in _REACHING[part.operator]:
        return None
    if extreme.form == AGGREGATE or bare(inner.items[0]) == bare(extreme.term):
        is_same, form = bare(part.left) == bare(extreme.term), VALUE
    else:
        is_same, form = bare(part.left) == bare(inner.items[0]), KEY
    if not is_same or (form == KEY and inner.sorting.limit != _ONE):
        return None
    term = part.left if form == VALUE else extreme.term
    return dataclasses.replace(extreme, term=term, form=form, inner=extreme.rest, shown=str(part))


def _of_items(core: Core) -> Extreme | None:
    if core.group or core.sorting.limit:
        return None
    for item in core.items:
        if is_min_or_max(item):
            items = tuple(item.args[0] if other is item else other for other in core.items)
            rest = dataclasses.replace(core, items=items)
            return Extreme(
                function=item.name, term=item.args[0], shown=str(item), form=AGGREGATE, rest=rest
            )
    return None


def is_min_or_max(term: Term) -> bool:
    """Whether it is MIN or MAX as an aggregate, of one argument."""
    return isinstance(term, Call) and term.name in ("MIN", "MAX") and len(term.args) == 1


def everywhere(query: Query) -> list[Extreme]:
    """All extremes that a query takes, in its subqueries and groups too."""
    return [extreme for core in all_cores(query) for extreme in _all_of(core)]


def _all_of(core: Core) -> Iterator[Extreme]:
    if sorting := _of_sorting(core):
        yield sorting
    for part in (*conjuncts(core.where), *conjuncts(core.having)):
        if extreme := _of_rank(part, core) or _of_absence(part, core):
            yield extreme
    for item in filter(is_min_or_max, core.items):
        yield Extreme(
            function=item.name, term=item.args[0], shown=str(item), form=AGGREGATE, rest=core
        )


def rows_taken_from(extreme: Extreme) -> Iterator[Core]:
    """What a subquery for this extreme may read: all that the SELECT does, or the term's table."""
    rest = extreme.rest
    everything = Core(sources=rest.sources, ties=rest.ties, where=rest.where)
    yield everything
    own = {column.table for column in terms.columns_of(extreme.term)}
    sources = tuple(source for source in rest.sources if source.table in own)
    parts = [
        part
        for part in conjuncts(rest.where)
        if {column.table for column in conditions.columns_of(part)} <= own
    ]
    if sources and len(sources) < len(rest.sources):
        yield Core(sources=sources, where=conditions.junction("AND", parts))


def with_conditions_of(core: Core, inner: Core | None) -> Iterator[Core]:
    """The SELECT, and the SELECT with the conditions of its subquery, which its rows fulfil too."""
    yield core
    if inner is not None and inner.where != ALWAYS:
        yield dataclasses.replace(core, where=conditions.junction("AND", (core.where, inner.where)))


def order_is_shared(gold: Query, predicted: Query) -> bool:
    """Whether the prediction sorts by what gold takes the extreme of, and only keeps all rows."""
    terms_taken = {bare(extreme.term) for extreme in everywhere(gold)}
    sortings = [core.sorting for core in cores(predicted)] + [predicted.sorting]
    return any(bare(key.term) in terms_taken for sorting in sortings for key in sorting.order)
