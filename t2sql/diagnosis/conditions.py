"""Conditions of WHERE, ON and HAVING in a normal form.

A condition is an atom (one comparison) or a junction (AND, OR) of conditions. NOT is pushed
down to the atoms; `BETWEEN`, `IN (list)` and flipped comparisons are spelled out, so that two
spellings of one condition give equal trees.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from t2sql.diagnosis import terms
from t2sql.diagnosis.terms import Call, ColumnTerm, Literal, Nested, Term

_NEGATED = {
    "=": "!=",
    "<": ">=",
    ">": "<=",
    "LIKE": "NOT LIKE",
    "GLOB": "NOT GLOB",
    "IN": "NOT IN",
    "IS": "IS NOT",
    "EXISTS": "NOT EXISTS",
    "TRUE": "FALSE",
}
_NEGATED |= {after: before for before, after in _NEGATED.items()}
_FLIPPED = {"=": "=", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<=", "IS": "IS"}
_FLIPPED["IS NOT"] = "IS NOT"


@dataclasses.dataclass(frozen=True)
class Atom:
    """One comparison: `left operator right`; a lone value is `left TRUE None`."""

    left: Term
    operator: str
    right: Term | None = None

    def __str__(self) -> str:
        if self.operator in ("TRUE", "FALSE"):
            return f"{'NOT ' if self.operator == 'FALSE' else ''}{self.left}"
        if self.operator.endswith("EXISTS"):
            return f"{self.operator} {self.right}"
        return f"{self.left} {self.operator} {self.right}"

    @property
    def meaning(self) -> tuple:
        """Equal for comparisons that say the same: counts above 1 are counts from 2 up."""
        if isinstance(self.left, Call) and self.left.name == "COUNT":
            step = {">": (">=", 1), "<": ("<=", -1)}.get(self.operator)
            if step and isinstance(self.right, Literal) and self.right.value.isdigit():
                return self.left, step[0], Literal(str(int(self.right.value) + step[1]))
        return self.left, self.operator, self.right


@dataclasses.dataclass(frozen=True)
class Junction:
    """Conditions that must all hold (`AND`) or of which one must (`OR`), in any order.

    Attributes:
      operator: `AND` or `OR`.
      parts: the conditions in the order of the query, each once; two junctions are equal
        whatever theirs.
    """

    operator: str
    parts: tuple["Condition", ...] = dataclasses.field(compare=False)
    _unordered: frozenset["Condition"] = dataclasses.field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_unordered", frozenset(self.parts))

    def __str__(self) -> str:
        return "(" + f" {self.operator} ".join(sorted(map(str, self.parts))) + ")"


Condition = Atom | Junction
ALWAYS = Junction("AND", ())


def junction(operator: str, parts: Iterable[Condition]) -> Condition:
    """AND or OR of conditions, with junctions of the same operator merged."""
    flat: dict[Condition, None] = {}
    for part in parts:
        same = isinstance(part, Junction) and (part.operator == operator or len(part.parts) == 1)
        flat |= dict.fromkeys(part.parts if same else (part,))
    flat.pop(ALWAYS, None)
    if len(flat) == 1:
        return next(iter(flat))
    return Junction(operator, tuple(flat)) if flat else ALWAYS


def compare(left: Term, operator: str, right: Term) -> Atom:
    """The comparison with the constant or subquery on its right and columns in one order."""
    if operator in _FLIPPED and (_weight(right), str(right)) < (_weight(left), str(left)):
        return Atom(right, _FLIPPED[operator], left)
    return Atom(left, operator, right)


def _weight(term: Term) -> int:
    kinds = (ColumnTerm, Call, Nested, Literal)
    return kinds.index(type(term)) if isinstance(term, kinds) else len(kinds)


def negate(condition: Condition) -> Condition:
    """NOT, pushed down to the atoms."""
    if isinstance(condition, Junction):
        operator = "OR" if condition.operator == "AND" else "AND"
        return junction(operator, map(negate, condition.parts))
    return dataclasses.replace(condition, operator=_NEGATED[condition.operator])


def atoms(condition: Condition) -> Iterator[Atom]:
    """Yields all comparisons, in the order of the query."""
    if isinstance(condition, Atom):
        yield condition
    else:
        for part in condition.parts:
            yield from atoms(part)


def conjuncts(condition: Condition) -> tuple[Condition, ...]:
    """What must all hold."""
    if isinstance(condition, Junction) and condition.operator == "AND":
        return condition.parts
    return (condition,)


def map_atoms(condition: Condition, change: Callable[[Atom], Atom | None]) -> Condition:
    """The condition with each atom changed, or dropped where `change` gives None."""
    if isinstance(condition, Atom):
        return change(condition) or ALWAYS
    return junction(condition.operator, (map_atoms(part, change) for part in condition.parts))


def replace_columns(condition: Condition, change: Callable[[ColumnTerm], ColumnTerm]) -> Condition:
    """The condition with every column outside of subqueries changed."""

    def changed(atom: Atom) -> Atom:
        right = atom.right and terms.replace_columns(atom.right, change)
        return compare(terms.replace_columns(atom.left, change), atom.operator, right)

    return map_atoms(condition, changed)


def columns_of(condition: Condition) -> list[ColumnTerm]:
    """The columns in its comparisons, those of subqueries left out."""
    sides = (side for atom in atoms(condition) for side in (atom.left, atom.right) if side)
    return [column for side in sides for column in terms.columns_of(side)]


def split(
    condition: Condition, belongs: Callable[[Condition], bool]
) -> tuple[list[Condition], Condition]:
    """The conjuncts that belong, and the rest."""
    chosen, rest = [], []
    for part in conjuncts(condition):
        (chosen if belongs(part) else rest).append(part)
    return chosen, junction("AND", rest)


def has_aggregate(condition: Condition) -> bool:
    """Whether it is on groups."""
    return any(terms.aggregates_of(atom.left) for atom in atoms(condition))
