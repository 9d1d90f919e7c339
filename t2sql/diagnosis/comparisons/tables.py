"""What is read: tables, joins and the columns that join them."""

import itertools
from collections.abc import Iterable, Iterator

from t2sql.diagnosis.align import Pair, leftovers
from t2sql.diagnosis.description import Core, Source, tables_of
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.terms import Column
from t2sql.sql.names import fold


def compare_tables(pair: Pair) -> Iterator[Finding]:
    """wrong_table, missing_join, extra_join."""
    gold, predicted = (
        [source for source in core.sources if source.table] for core in (pair.gold, pair.predicted)
    )
    missing, extra = leftovers(gold, predicted, lambda source: fold(source.table))
    missing = _without(missing, _joined(pair.predicted))
    extra = _without(extra, _joined(pair.gold))
    for wanted, found in zip(missing, extra, strict=False):
        yield Finding("wrong_table", f"reads {found.table}; gold reads {wanted.table}")
    for source in missing[len(extra) :]:
        verb = "join" if _is_inside(source, pair.predicted) else "read"
        yield Finding("missing_join", f"does not {verb} {_again(source, predicted)}, as gold does")
    for source in extra[len(missing) :]:
        yield Finding("extra_join", _in_excess(source, pair.gold))


def _without(sources: Iterable[Source], tables: set[str]) -> list[Source]:
    return [source for source in sources if fold(source.table) not in tables]


def _joined(core: Core) -> set[str]:
    """The tables that joined subqueries read; that these are subqueries is another finding."""
    queries = [source.query for source in core.sources if source.query]
    if len(core.sources) == 1:
        return set()
    return {fold(table) for query in queries for table in tables_of(query)}


def _in_excess(source: Source, gold: Core) -> str:
    if _is_inside(source, gold):
        return f"joins {source.table}, which gold reads in a subquery"
    return f"reads {_again(source, gold.sources)}, which gold does not need"


def _is_inside(source: Source, core: Core) -> bool:
    """Whether a SELECT reads the table in a subquery alone."""
    own = {fold(each.table) for each in core.sources}
    return fold(source.table) in set(map(fold, tables_of(core))) - own


def _again(source: Source, others: Iterable[Source]) -> str:
    repeated = any(fold(source.table) == fold(other.table) for other in others)
    return f"{source.table} once more" if repeated else source.table


def compare_joins(pair: Pair) -> Iterator[Finding]:
    """wrong_join_condition: the same tables, tied by other columns or joined in another way."""
    common = _uses(pair.gold) & _uses(pair.predicted)
    gold, predicted = (_restricted(_classes(core), common) for core in (pair.gold, pair.predicted))
    if gold != predicted:
        yield Finding("wrong_join_condition", _tie_message(gold - predicted, predicted - gold))
    kinds = _outer(pair.gold), _outer(pair.predicted)
    if kinds[0] != kinds[1] and (
        pair.strict or len(pair.gold.sources) > 1 < len(pair.predicted.sources)
    ):
        names = [kind or "inner" for kind in kinds]
        yield Finding(
            "wrong_join_condition",
            f"uses {_article(names[1])} JOIN; gold uses {_article(names[0])} JOIN",
        )


def _uses(core: Core) -> frozenset[tuple[str, int]]:
    """The tables that it reads, each with its instance."""
    seen = [fold(source.table) for source in core.sources if source.table]
    return frozenset((table, seen[:i].count(table)) for i, table in enumerate(seen))


def _classes(core: Core) -> list[set[Column]]:
    """Sets of columns that the joins make equal, directly or through others."""
    classes: list[set[Column]] = []
    for tie in core.ties:
        touching = [found for found in classes if found & tie]
        classes = [found for found in classes if not found & tie]
        classes.append(set(tie).union(*touching))
    return classes


def _restricted(
    classes: Iterable[set[Column]], uses: frozenset[tuple[str, int]]
) -> frozenset[frozenset[Column]]:
    """The pairs of columns tied, of those tables only."""
    kept = (
        sorted(
            (column for column in found if (fold(column.table), column.instance) in uses), key=str
        )
        for found in classes
    )
    return frozenset(frozenset(tied) for found in kept for tied in itertools.combinations(found, 2))


def _tie_message(missing: Iterable[frozenset[Column]], extra: Iterable[frozenset[Column]]) -> str:
    wanted, found = (sorted(map(_equality, ties)) for ties in (missing, extra))
    if not found:
        return f"joins without {' and '.join(wanted)}"
    if not wanted:
        return f"joins on {' and '.join(found)}, which gold does not"
    return f"joins on {' and '.join(found)}; gold joins on {' and '.join(wanted)}"


def _equality(tie: Iterable[Column]) -> str:
    return " = ".join(sorted(map(str, tie)))


def _outer(core: Core) -> str:
    kinds = {source.outer for source in core.sources} - {""}
    return "/".join(sorted(kinds))


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "io" else f"a {kind}"
