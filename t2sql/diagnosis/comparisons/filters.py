"""Which rows and groups are kept: the conditions of WHERE and HAVING."""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator

from t2sql.diagnosis import conditions
from t2sql.diagnosis.align import Pair
from t2sql.diagnosis.conditions import Atom, Condition
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.terms import Literal, Nested, Term, aggregates_of
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


def compare_filters(pair: Pair, nested: CompareNested) -> Iterator[Finding]:
    """The classes of conditions on rows."""
    gold, predicted = pair.gold.where, pair.predicted.where
    matching = _match(pair, gold, predicted, nested)
    yield from _compare_matched(pair, matching, gold, predicted, nested)
    for atom in matching.missing:
        yield Finding("missing_filter", f"lacks the condition {atom}")
    yield from _compare_unmatched(matching, "rows")


def compare_having(pair: Pair, nested: CompareNested) -> Iterator[Finding]:
    """The classes of conditions on groups; one that gold lacks is an `extra_filter`."""
    gold, predicted = pair.gold.having, pair.predicted.having
    matching = _match(pair, gold, predicted, nested)
    yield from _compare_matched(pair, matching, gold, predicted, nested)
    for atom in matching.missing:
        yield Finding("missing_having", f"lacks HAVING {atom}")
    yield from _compare_unmatched(matching, "groups")


def _compare_unmatched(matching: Matching, kept: str) -> Iterator[Finding]:
    """extra_filter, and wrong_nesting for conditions without a partner that hold a subquery."""
    for atom in matching.extra:
        yield Finding("extra_filter", f"keeps only {kept} with {atom}, which gold does not ask")
    for atom in matching.missing:
        if isinstance(atom.right, Nested):
            yield Finding("wrong_nesting", f"lacks the subquery {atom.right}")
    for atom in matching.extra:
        if isinstance(atom.right, Nested):
            yield Finding("wrong_nesting", f"uses the subquery {atom.right}, which gold does not")


def _match(pair: Pair, gold: Condition, predicted: Condition, nested: CompareNested) -> Matching:
    missing, extra = list(conditions.atoms(gold)), list(conditions.atoms(predicted))
    equal = list(_take_equal(pair, missing, extra, nested))
    changed = list(_take_alike(pair, missing, extra))
    return Matching(equal, changed, missing, extra)


def _take_equal(
    pair: Pair, missing: list[Atom], extra: list[Atom], nested: CompareNested
) -> Iterator[tuple[Atom, Atom]]:
    """Takes out of both lists, and yields, the atoms that say the same."""
    wanted_by_meaning = collections.defaultdict(list)
    for atom in missing:
        wanted_by_meaning[_meaning(pair, atom)].append(atom)
    for found in list(extra):
        for wanted in wanted_by_meaning[_meaning(pair, found)]:
            queries = _queries(wanted, found)
            if not queries or not nested(*queries):
                wanted_by_meaning[_meaning(pair, found)].remove(wanted)
                missing.remove(wanted)
                extra.remove(found)
                yield wanted, found
                break


def _take_alike(pair: Pair, missing: list[Atom], extra: list[Atom]) -> Iterator[tuple[Atom, Atom]]:
    """Takes out of both lists, and yields, atoms of which one is meant to be the other."""
    scored = sorted(
        (-_likeness(pair, wanted, found), i, j)
        for (i, wanted), (j, found) in itertools.product(enumerate(missing), enumerate(extra))
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


def _meaning(pair: Pair, atom: Atom) -> tuple:
    right = atom.right and pair.key(atom.right)
    return conditions.compare(pair.key(atom.left), atom.operator, right).meaning


def _queries(wanted: Atom, found: Atom) -> tuple[Nested, Nested] | None:
    both = wanted.right, found.right
    return both if all(isinstance(side, Nested) and side.query for side in both) else None


def _likeness(pair: Pair, wanted: Atom, found: Atom) -> int:
    score = _SAME_OPERATOR * (wanted.operator == found.operator)
    score += _SAME_LEFT * (pair.key(wanted.left) == pair.key(found.left))
    if wanted.right is None or found.right is None:
        return score
    if pair.key(wanted.right) == pair.key(found.right):
        return score + _SAME_RIGHT
    return score + _LIKE_RIGHT * (_bare(wanted.right) == _bare(found.right))


def _bare(term: Term) -> str:
    return fold(term.value).strip("% ") if isinstance(term, Literal) else str(term)


def _compare_matched(
    pair: Pair, matching: Matching, gold: Condition, predicted: Condition, nested: CompareNested
) -> Iterator[Finding]:
    for wanted, found in matching.changed:
        yield from _compare_atoms(pair, wanted, found, nested)
    if pair.strict:
        yield from _compare_spelling(matching.equal)
    partner = {id(found): wanted for wanted, found in (*matching.equal, *matching.changed)}
    kept = {id(wanted) for wanted in partner.values()}
    wanted_tree = conditions.map_atoms(gold, lambda atom: atom if id(atom) in kept else None)
    found_tree = conditions.map_atoms(predicted, lambda atom: partner.get(id(atom)))
    if wanted_tree != found_tree:
        own = conditions.map_atoms(predicted, lambda atom: atom if id(atom) in partner else None)
        message = f"combines its conditions as {own}; gold as {wanted_tree}"
        yield Finding("wrong_operator", message)


def _compare_spelling(equal: list[tuple[Atom, Atom]]) -> Iterator[Finding]:
    for wanted, found in equal:
        if queries := _queries(wanted, found):
            names = [each.spelling or found.operator for each in queries]
            if names[0] != names[1]:
                instead = f"asks by {names[1]} what gold asks by {names[0]}: {found}"
                yield Finding("wrong_nesting", f"{instead}; they differ where there is a NULL")


def _compare_atoms(
    pair: Pair, wanted: Atom, found: Atom, nested: CompareNested
) -> Iterator[Finding]:
    instead = f"tests {found}; gold tests {wanted}"
    if pair.key(wanted.left) != pair.key(found.left):
        yield Finding(_left_class(wanted.left, found.left), instead)
    if wanted.operator != found.operator:
        operators = f"compares {found.left} by {found.operator}; gold by {wanted.operator}"
        yield Finding("wrong_operator", operators)
    if queries := _queries(wanted, found):
        yield from nested(*queries)
    elif isinstance(wanted.right, Nested) or isinstance(found.right, Nested):
        yield Finding("wrong_nesting", instead)
    elif wanted.right and found.right and pair.key(wanted.right) != pair.key(found.right):
        yield Finding("wrong_value", _value_message(wanted, found))


def _left_class(wanted: Term, found: Term) -> str:
    functions = [[call.name for call in aggregates_of(term)] for term in (wanted, found)]
    return "wrong_filter_column" if functions[0] == functions[1] else "wrong_aggregate"


def _value_message(wanted: Atom, found: Atom) -> str:
    message = f"compares {found.left} with {found.right}; gold with {wanted.right}"
    if fold(str(wanted.right)) == fold(str(found.right)):
        return message + " (they differ in upper and lower case)"
    return message
