"""What is read: tables, joins and the columns that join them."""

import itertools
from collections.abc import Iterable, Iterator

from t2sql.diagnosis.align import AlignedPair, leftovers
from t2sql.diagnosis.description import Core, TableSource, tables_of
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.terms import ColumnTerm
from t2sql.sql.names import fold


def compare_tables(pair: AlignedPair) -> Iterator[Finding]:
    """wrong_table, missing_join, extra_join."""
    gold, predicted = (
        [source for source in core.sources if source.table] for core in (pair.gold, pair.predicted)
    )
    missing, extra = leftovers(gold, predicted, lambda source: fold(source.table))
    missing = _without(missing, _joined(pair.predicted))
    extra = _without(extra, _joined(pair.gold))
    missing, extra = _paired(pair, missing, extra)
    for gold_source, predicted_source in zip(missing, extra, strict=False):
        yield Finding(
            "wrong_table", f"reads {predicted_source.table}; gold reads {gold_source.table}"
        )
    for source in missing[len(extra) :]:
        verb = "join" if _is_inside(source, pair.predicted) else "read"
        yield Finding("missing_join", f"does not {verb} {_again(source, predicted)}, as gold does")
    for source in extra[len(missing) :]:
        why = f"reads {_again(source, pair.gold.sources)}, which gold does not need"
        if _is_inside(source, pair.gold):
            why = f"joins {source.table}, which gold reads in a subquery"
        yield Finding("extra_join", why)


def _paired(
    pair: AlignedPair, missing: list[TableSource], extra: list[TableSource]
) -> tuple[list[TableSource], list[TableSource]]:
    """Both lists with the tables first, and at one place, that are most alike in their columns."""
    likeness = {
        (i, j): len(_columns(pair, gold_source) & _columns(pair, predicted_source))
        for i, gold_source in enumerate(missing)
        for j, predicted_source in enumerate(extra)
    }
    firsts, seconds = [], []
    while likeness:
        best = max(likeness, key=likeness.get)
        firsts.append(best[0])
        seconds.append(best[1])
        likeness = {(i, j): n for (i, j), n in likeness.items() if i != best[0] and j != best[1]}
    firsts += [i for i in range(len(missing)) if i not in firsts]
    seconds += [j for j in range(len(extra)) if j not in seconds]
    return [missing[i] for i in firsts], [extra[j] for j in seconds]


def _columns(pair: AlignedPair, source: TableSource) -> set[str]:
    table = pair.schema.table(source.table)
    return {fold(column.name) for column in table.columns} if table else set()


def _without(sources: Iterable[TableSource], tables: set[str]) -> list[TableSource]:
    return [source for source in sources if fold(source.table) not in tables]


def _joined(core: Core) -> set[str]:
    """The tables that joined subqueries read; that these are subqueries is another finding."""
    queries = [source.query for source in core.sources if source.query]
    if len(core.sources) == 1:
        return set()
    return {fold(table) for query in queries for table in tables_of(query)}


def _is_inside(source: TableSource, core: Core) -> bool:
    """Whether a SELECT reads the table in a subquery alone."""
    own = {fold(other.table) for other in core.sources}
    return fold(source.table) in set(map(fold, tables_of(core))) - own


def _again(source: TableSource, others: Iterable[TableSource]) -> str:
    repeated = any(fold(source.table) == fold(other.table) for other in others)
    return f"{source.table} once more" if repeated else source.table


def compare_joins(pair: AlignedPair) -> Iterator[Finding]:
    """wrong_join_condition: gold's tables, joined by other columns or by another kind of join."""
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


def _classes(core: Core) -> list[set[ColumnTerm]]:
    """Sets of columns that the joins make equal, directly or through others."""
    classes: list[set[ColumnTerm]] = []
    for tie in core.ties:
        touching = [columns for columns in classes if columns & tie]
        classes = [columns for columns in classes if not columns & tie]
        classes.append(set(tie).union(*touching))
    return classes


def _restricted(
    classes: Iterable[set[ColumnTerm]], uses: frozenset[tuple[str, int]]
) -> frozenset[frozenset[ColumnTerm]]:
    """The pairs of columns tied, of those tables only."""
    kept = (
        sorted((column for column in columns if column.table_use in uses), key=str)
        for columns in classes
    )
    return frozenset(
        frozenset(tied) for columns in kept for tied in itertools.combinations(columns, 2)
    )


def _tie_message(
    missing: Iterable[frozenset[ColumnTerm]], extra: Iterable[frozenset[ColumnTerm]]
) -> str:
    gold, predicted = (sorted(map(_equality, ties)) for ties in (missing, extra))
    if not predicted:
        return f"joins without {' and '.join(gold)}"
    if not gold:
        return f"joins on {' and '.join(predicted)}, which gold does not"
    return f"joins on {' and '.join(predicted)}; gold joins on {' and '.join(gold)}"


def _equality(tie: Iterable[ColumnTerm]) -> str:
    return " = ".join(sorted(map(str, tie)))


def _outer(core: Core) -> str:
    kinds = {source.outer for source in core.sources} - {""}
    return "/".join(sorted(kinds))


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "io" else f"a {kind}"
