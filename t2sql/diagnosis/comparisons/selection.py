"""What is returned: columns, aggregates and duplicates."""

from collections.abc import Iterator, Sequence

from t2sql.diagnosis.align import AlignedPair, leftovers
from t2sql.diagnosis.description import Core, listed
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.terms import Call, ColumnTerm, Literal, Star, Term, aggregates_of


def compare_items(pair: AlignedPair) -> Iterator[Finding]:
    """wrong_columns, wrong_aggregate, and DISTINCT inside of an aggregate."""

    def key(item: Term) -> Term:
        return item.typed if isinstance(item, Literal) and not pair.strict else pair.key(item)

    missing, extra = leftovers(pair.gold.items, pair.predicted.items, key)
    for gold_item, predicted_item in _matched(pair, missing, extra):
        yield from _compare_item(pair, gold_item, predicted_item)
    if not missing and not extra:
        return
    gold_aggregates, predicted_aggregates = (
        any(map(aggregates_of, missing)),
        any(map(aggregates_of, extra)),
    )
    instead = not predicted_aggregates and len(missing) == len(extra)
    if gold_aggregates and (instead or not any(map(aggregates_of, pair.predicted.items))):
        yield Finding(
            "wrong_aggregate", f"does not compute {listed(filter(aggregates_of, missing))}"
        )
    if predicted_aggregates and not any(map(aggregates_of, pair.gold.items)):
        text = listed(filter(aggregates_of, extra))
        yield Finding("wrong_aggregate", f"computes {text}; gold returns no aggregate")
    yield Finding("wrong_columns", _columns_message(pair, missing, extra))


def _matched(
    pair: AlignedPair, missing: list[Term], extra: list[Term]
) -> Iterator[tuple[Term, Term]]:
    """Takes out of both lists, and yields, what differs by its aggregate alone."""
    for likeness in (_same_argument, _both_aggregate):
        for gold_item in list(missing):
            predicted_item = next((term for term in extra if likeness(pair, gold_item, term)), None)
            if predicted_item is not None:
                missing.remove(gold_item)
                extra.remove(predicted_item)
                yield gold_item, predicted_item


def _same_argument(pair: AlignedPair, gold: Term, predicted: Term) -> bool:
    if not (_is_aggregate(gold) or _is_aggregate(predicted)):
        return False
    arguments = [tuple(map(pair.key, _arguments(term))) for term in (gold, predicted)]
    both_count = all(_is_aggregate(t) and t.name == "COUNT" for t in (gold, predicted))
    return arguments[0] == arguments[1] or (both_count and Star() in arguments[0] + arguments[1])


def _both_aggregate(pair: AlignedPair, gold: Term, predicted: Term) -> bool:
    return _is_aggregate(gold) and _is_aggregate(predicted)


def _is_aggregate(term: Term) -> bool:
    return isinstance(term, Call) and term.is_aggregate


def _arguments(term: Term) -> tuple[Term, ...]:
    return term.args if _is_aggregate(term) else (term,)


def _compare_item(pair: AlignedPair, gold: Term, predicted: Term) -> Iterator[Finding]:
    """What differs between two items that differ by the aggregate or its argument."""
    functions = [term.name if _is_aggregate(term) else "" for term in (gold, predicted)]
    distinct = [getattr(term, "distinct", False) for term in (gold, predicted)]
    instead = f"returns {predicted}; gold returns {gold}"
    if functions[0] != functions[1]:
        yield Finding("wrong_aggregate", instead)
    elif distinct[0] and not distinct[1]:
        yield Finding("missing_distinct", instead)
    elif distinct[1] and not distinct[0]:
        yield Finding("extra_distinct", instead)
    elif Star() in gold.args + predicted.args:
        yield Finding("wrong_aggregate", instead)
    arguments = [tuple(map(pair.key, _arguments(term))) for term in (gold, predicted)]
    if arguments[0] != arguments[1] and (Star(),) not in arguments:
        yield Finding("wrong_columns", instead)


def _columns_message(pair: AlignedPair, missing: Sequence[Term], extra: Sequence[Term]) -> str:
    gold, predicted = pair.gold, pair.predicted
    if predicted.starred:
        predicted_shown, gold_shown = (
            listed(core.items, core.starred) for core in (predicted, gold)
        )
        return f"returns {predicted_shown}; gold returns {gold_shown}"
    if not missing:
        return f"also returns {listed(extra)}"
    if not extra:
        return f"does not return {listed(missing)}"
    return f"returns {listed(extra)}; gold returns {listed(missing)}"


def compare_distinct(pair: AlignedPair) -> Iterator[Finding]:
    """missing_distinct, extra_distinct."""
    if not pair.rows_count:
        return
    gold, predicted = (_drops_duplicates(pair, core) for core in (pair.gold, pair.predicted))
    if pair.gold.distinct and not predicted:
        yield Finding("missing_distinct", f"keeps duplicates of {listed(pair.predicted.items)}")
    if pair.predicted.distinct and not gold:
        shown = listed(pair.predicted.items)
        yield Finding("extra_distinct", f"drops duplicates of {shown}, which gold keeps")


def _drops_duplicates(pair: AlignedPair, core: Core) -> bool:
    """Whether no two of its rows can be equal."""
    if core.distinct or (core.group and groups_only(pair, core)):
        return True
    if core.items and all(map(aggregates_of, core.items)) and not core.group:
        return True
    # Spider lists one column of a composite key: trusted only as long as other things differ.
    if pair.strict or len(core.sources) != 1 or core.group:
        return False
    keys = [key for key in pair.schema.primary_keys if key.table == core.sources[0].table]
    returned = {column.name for column in core.items if isinstance(column, ColumnTerm)}
    return bool(keys) and all(key.column in returned for key in keys)


def groups_only(pair: AlignedPair, core: Core) -> bool:
    """Whether its GROUP BY does what DISTINCT does: groups by all that it returns."""
    returned = {pair.key(item) for item in core.items}
    return returned == {pair.key(term) for term in core.group}
