"""Which rows and groups are kept: the conditions of WHERE and HAVING."""

import collections
import dataclasses
from collections.abc import Callable, Iterator

from t2sql.diagnosis import conditions
from t2sql.diagnosis.align import AlignedPair
from t2sql.diagnosis.comparisons.grouping import determined
from t2sql.diagnosis.conditions import Atom, Condition
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.terms import ColumnTerm, Literal, Nested, Term, aggregates_of
from t2sql.sql.names import fold

# How much alike two atoms are that differ; at least `_ENOUGH` makes one the other's mistake.
_SAME_LEFT, _SAME_RIGHT, _LIKE_RIGHT, _SAME_OPERATOR, _ENOUGH = 8, 5, 3, 1, 5

CompareNested = Callable[[Nested, Nested], list[Finding]]


@dataclasses.dataclass(frozen=True)
class Matching:
    """The atoms of two conditions, matched.

    Attributes:
      equal: pairs (gold, predicted) that say the same.
      changed: pairs of which one is meant to be the other.
      missing: gold's atoms without a partner.
      extra: predicted atoms without a partner.
    """

    equal: list[tuple[Atom, Atom]]
    changed: list[tuple[Atom, Atom]]
    missing: list[Atom]
    extra: list[Atom]


def compare_filters(pair: AlignedPair, nested: CompareNested) -> Iterator[Finding]:
    """The classes of conditions on rows."""
    sides = pair.gold.where, _with_quotes(pair.gold.where, pair.predicted.where)
    yield from _compare(pair, *sides, nested, missing="missing_filter", what="the condition")
    yield from _compare_late(pair)


def _with_quotes(gold: Condition, predicted: Condition) -> Condition:
    """The predicted condition with a text of gold's that lacks its quotes as this text.

    SQLite takes it for a column, and another finding says so.
    """
    texts = {
        fold(side.value): side
        for atom in conditions.atoms(gold)
        for side in (atom.left, atom.right)
        if isinstance(side, Literal) and side.is_text
    }

    def meant(column: ColumnTerm) -> Term:
        return column if column.table else texts.get(fold(column.name), column)

    return conditions.replace_columns(predicted, meant)


def _compare_late(pair: AlignedPair) -> Iterator[Finding]:
    """A condition of WHERE that stands in HAVING tests one row of each group, if these differ."""
    late, gold_late = (
        {_meaning(pair, atom): atom for atom in conditions.atoms(core.late)}
        for core in (pair.predicted, pair.gold)
    )
    shared = determined(pair, pair.predicted)
    if pair.strict:
        # Spider lists one column of a composite key: trusted only as long as other things differ.
        shared = set(map(pair.key, pair.predicted.group))
    tested = {
        pair.key(atom.left)
        for atom in conditions.atoms(pair.gold.where)
        if _meaning(pair, atom) not in gold_late
    }
    for atom in late.values():
        of_groups = set(map(pair.key, conditions.columns_of(atom))) <= shared
        if pair.key(atom.left) in tested and not of_groups:
            message = f"tests {atom} in HAVING, on one row of each group; gold on all rows"
            yield Finding("missing_filter", message)
    if pair.strict:
        own = {_meaning(pair, atom) for atom in conditions.atoms(pair.predicted.where)}
        for meaning in own & gold_late.keys() - late.keys():
            message = (
                f"tests {gold_late[meaning]} on all rows; gold in HAVING, on one of each group"
            )
            yield Finding("missing_having", message)


def compare_having(pair: AlignedPair, nested: CompareNested) -> Iterator[Finding]:
    """The classes of conditions on groups; one that gold lacks is an `extra_filter`."""
    sides = pair.gold.having, pair.predicted.having
    yield from _compare(pair, *sides, nested, missing="missing_having", what="HAVING")


def _compare(
    pair: AlignedPair,
    gold: Condition,
    predicted: Condition,
    nested: CompareNested,
    *,
    missing: str,
    what: str,
) -> Iterator[Finding]:
    matching = _match(pair, gold, predicted, nested)
    yield from _compare_matched(pair, matching, gold, predicted, nested)
    for atom in matching.missing:
        yield Finding(missing, f"lacks {what} {atom}")
    kept = "groups" if what == "HAVING" else "rows"
    for atom in matching.extra:
        yield Finding("extra_filter", f"keeps only {kept} with {atom}, which gold does not ask")
    for atom in matching.missing:
        if isinstance(atom.right, Nested):
            yield Finding("wrong_nesting", f"lacks the subquery {atom.right}")
    for atom in matching.extra:
        if isinstance(atom.right, Nested):
            yield Finding("wrong_nesting", f"uses the subquery {atom.right}, which gold does not")


def _match(
    pair: AlignedPair, gold: Condition, predicted: Condition, nested: CompareNested
) -> Matching:
    missing, extra = list(conditions.atoms(gold)), list(conditions.atoms(predicted))
    equal = list(_take_equal(pair, missing, extra, nested))
    changed = list(_take_alike(pair, missing, extra))
    return Matching(equal, changed, missing, extra)


def _take_equal(
    pair: AlignedPair, missing: list[Atom], extra: list[Atom], nested: CompareNested
) -> Iterator[tuple[Atom, Atom]]:
    """Takes out of both lists, and yields, the atoms that say the same."""
    unmatched = collections.defaultdict(list)
    for atom in missing:
        unmatched[_meaning(pair, atom)].append(atom)
    for predicted_atom in list(extra):
        for gold_atom in unmatched[_meaning(pair, predicted_atom)]:
            queries = _queries(gold_atom, predicted_atom)
            if not queries or not nested(*queries):
                unmatched[_meaning(pair, predicted_atom)].remove(gold_atom)
                missing.remove(gold_atom)
                extra.remove(predicted_atom)
                yield gold_atom, predicted_atom
                break


def _take_alike(
    pair: AlignedPair, missing: list[Atom], extra: list[Atom]
) -> Iterator[tuple[Atom, Atom]]:
    """Takes out of both lists, and yields, atoms of which one is meant to be the other."""
    scored = sorted(
        (-_likeness(pair, gold_atom, predicted_atom), i, j)
        for i, gold_atom in enumerate(missing)
        for j, predicted_atom in enumerate(extra)
    )
    atoms = list(missing), list(extra)
    taken: tuple[set[int], set[int]] = set(), set()
    for negative, i, j in scored:
        if -negative >= _ENOUGH and i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            yield atoms[0][i], atoms[1][j]
    missing[:] = [atom for i, atom in enumerate(atoms[0]) if i not in taken[0]]
    extra[:] = [atom for j, atom in enumerate(atoms[1]) if j not in taken[1]]


def _meaning(pair: AlignedPair, atom: Atom) -> tuple:
    return conditions.compare(pair.key(atom.left), atom.operator, _right(pair, atom)).meaning


def _right(pair: AlignedPair, atom: Atom) -> Term | None:
    if not isinstance(atom.right, Literal):
        return atom.right and pair.key(atom.right)
    if atom.operator.endswith("LIKE") and not pair.strict:
        return Literal(fold(atom.right.value))  # LIKE looks at no upper and lower case.
    if not isinstance(atom.left, ColumnTerm):
        return atom.right.exact if pair.strict else atom.right.typed
    # A column turns what it is compared with into its own type.
    column = pair.schema.column(atom.left.table, atom.left.name)
    if column is not None and not column.has_affinity:
        return atom.right.typed
    is_text = pair.strict and column is not None and column.type == "text"
    return Literal(atom.right.written or atom.right.value) if is_text else atom.right


def _queries(gold: Atom, predicted: Atom) -> tuple[Nested, Nested] | None:
    both = gold.right, predicted.right
    return both if all(isinstance(side, Nested) and side.query for side in both) else None


def _likeness(pair: AlignedPair, gold: Atom, predicted: Atom) -> int:
    score = _SAME_OPERATOR * (gold.operator == predicted.operator)
    if {gold.operator[:1], predicted.operator[:1]} == {"<", ">"}:
        score -= _SAME_RIGHT  # Of two bounds the lower one is meant to be the lower one.
    score += _SAME_LEFT * (pair.key(gold.left) == pair.key(predicted.left))
    if gold.right is None or predicted.right is None:
        return score
    if pair.key(gold.right) == pair.key(predicted.right):
        return score + _SAME_RIGHT
    return score + _LIKE_RIGHT * (_bare(gold.right) == _bare(predicted.right))


def _bare(term: Term) -> str:
    return fold(term.value).strip("% ") if isinstance(term, Literal) else str(term)


def _compare_matched(
    pair: AlignedPair,
    matching: Matching,
    gold: Condition,
    predicted: Condition,
    nested: CompareNested,
) -> Iterator[Finding]:
    for gold_atom, predicted_atom in matching.changed:
        yield from _compare_atoms(pair, gold_atom, predicted_atom, nested)
    if pair.strict:
        yield from _compare_spelling(matching.equal)
    matched = (*matching.equal, *matching.changed)
    partner = {id(predicted_atom): gold_atom for gold_atom, predicted_atom in matched}
    kept = {id(gold_atom) for gold_atom in partner.values()}
    gold_tree = conditions.map_atoms(gold, lambda atom: atom if id(atom) in kept else None)
    # The predicted tree, with gold's atoms in the place of their partners.
    as_gold = conditions.map_atoms(predicted, lambda atom: partner.get(id(atom)))
    if gold_tree != as_gold:
        own = conditions.map_atoms(predicted, lambda atom: atom if id(atom) in partner else None)
        message = f"combines its conditions as {own}; gold as {gold_tree}"
        yield Finding("wrong_operator", message)


def _compare_spelling(equal: list[tuple[Atom, Atom]]) -> Iterator[Finding]:
    """IN against EXISTS or LEFT JOIN, which tell only where there is a NULL."""
    for gold_atom, predicted_atom in equal:
        if queries := _queries(gold_atom, predicted_atom):
            names = [query.spelling or predicted_atom.operator for query in queries]
            if names[0] != names[1]:
                instead = f"asks by {names[1]} what gold asks by {names[0]}: {predicted_atom}"
                yield Finding("wrong_nesting", f"{instead}; they differ where there is a NULL")


def _compare_atoms(
    pair: AlignedPair, gold: Atom, predicted: Atom, nested: CompareNested
) -> Iterator[Finding]:
    instead = f"tests {predicted}; gold tests {gold}"
    if pair.key(gold.left) != pair.key(predicted.left):
        yield Finding(_left_class(gold.left, predicted.left), instead)
    alike = gold.meaning[1] == predicted.meaning[1] and gold.right != predicted.right
    if gold.operator != predicted.operator and alike:
        yield Finding("wrong_value", instead)  # More than 3 are at least 4.
        return
    if gold.operator != predicted.operator:
        operators = f"compares {predicted.left} by {predicted.operator}; gold by {gold.operator}"
        yield Finding("wrong_operator", operators)
    if queries := _queries(gold, predicted):
        yield from nested(*queries)
    elif isinstance(gold.right, Nested) or isinstance(predicted.right, Nested):
        yield Finding("wrong_nesting", instead)
    elif gold.right and predicted.right and _right(pair, gold) != _right(pair, predicted):
        yield Finding("wrong_value", _value_message(gold, predicted))


def _left_class(gold: Term, predicted: Term) -> str:
    functions = [[call.name for call in aggregates_of(term)] for term in (gold, predicted)]
    return "wrong_filter_column" if functions[0] == functions[1] else "wrong_aggregate"


def _value_message(gold: Atom, predicted: Atom) -> str:
    message = f"compares {predicted.left} with {predicted.right}; gold with {gold.right}"
    if gold.right == predicted.right and gold.right.is_text != predicted.right.is_text:
        return message + " (one is a text, the other a number)"
    if fold(str(gold.right)) == fold(str(predicted.right)):
        return message + " (they differ in upper and lower case)"
    return message
