"""The plan of a run: which examples form which work unit, and who does it.

A unit is both the unit of work and the unit of output: it becomes one object with a fixed
name. The plan is a pure function of the examples, `unit_size` and `length`; the number of
hosts plays no part in it, so any number of hosts can finish what another number began.
"""

import collections
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

PREFIX = "predictions/"
_PAGE_DIGITS = 3
_NAME = re.compile(re.escape(PREFIX) + r"unit-\d{5,}-of-\d{5,}\.jsonl")


class HasSchema(Protocol):
    """What the planner has to know of an example."""

    @property
    def example_id(self) -> str: ...
    @property
    def db_id(self) -> str: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unit[E: HasSchema]:
    """Examples about one database, of similar length, computed and written together.

    Attributes:
      index: number of the unit; also its place in the plan, most expensive first.
      count: number of units in the plan.
      examples: the examples, shortest first; rows are written in this order.
      estimated_tokens: the sum of `length` over the examples, which the plan balances.
    """

    index: int
    count: int
    examples: tuple[E, ...]
    estimated_tokens: int

    @property
    def name(self) -> str:
        """The name of the unit's object inside the run."""
        return unit_name(self.index, self.count)


def unit_name(index: int, count: int) -> str:
    """Returns such as `predictions/unit-00012-of-00040.jsonl`; names sort as numbers do."""
    width = _width(count)
    return f"{PREFIX}unit-{index:0{width}d}-of-{count:0{width}d}.jsonl"


def listing_prefixes(count: int) -> list[str]:
    """Returns prefixes that together cover the names of a plan, at most 1,000 each.

    That is one page of a listing of Google Cloud Storage, so all pages can be asked for at
    the same time; page after page, 160,000 units take half a minute.
    """
    if count <= 10**_PAGE_DIGITS:
        return [PREFIX]
    pages = -(-count // 10**_PAGE_DIGITS)
    return [f"{PREFIX}unit-{page:0{_width(count) - _PAGE_DIGITS}d}" for page in range(pages)]


def is_unit_name(name: str) -> bool:
    """Whether an object of this name is a unit of some plan."""
    return _NAME.fullmatch(name) is not None


def plan_units[E: HasSchema](
    examples: Sequence[E], *, unit_size: int, length: Callable[[E], int]
) -> list[Unit[E]]:
    """Cuts the examples into numbered units, most expensive first.

    A unit holds examples of one database. A database with more than `unit_size` examples is
    sorted by length and cut into the fewest units possible, whose sizes differ by one at
    most. Takes O(n log n) time.

    Host i of k takes `plan[i::k]`. As costs fall along the plan, the totals of any two hosts
    differ by no more than the cost of the first unit.

    Args:
      examples: the examples of the run, in the order of the data.
      unit_size: the most examples that a unit may hold; at least 1.
      length: the estimated cost of an example in tokens; a pure function.
    """
    if unit_size < 1:
        raise ValueError(f"unit_size is {unit_size}; it must be at least 1")
    lengths = [length(example) for example in examples]
    groups = [
        (sum(lengths[i] for i in part), part)
        for members in _by_database(examples)
        for part in _cut(sorted(members, key=lengths.__getitem__), unit_size)
    ]
    groups.sort(key=lambda group: (-group[0], group[1][0]))
    return [
        Unit(
            index=index,
            count=len(groups),
            examples=tuple(examples[i] for i in part),
            estimated_tokens=cost,
        )
        for index, (cost, part) in enumerate(groups)
    ]


def plan_digest(units: Iterable[Unit]) -> str:
    """Returns a sha256 over which example lies where in the plan."""
    digest = hashlib.sha256()
    for unit in units:
        ids = "\n".join(example.example_id for example in unit.examples)
        digest.update(f"{unit.name}\n{ids}\n\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _width(count: int) -> int:
    return max(5, len(str(count)))


def _by_database(examples: Sequence[HasSchema]) -> Iterable[list[int]]:
    members = collections.defaultdict(list)
    for i, example in enumerate(examples):
        members[example.db_id].append(i)
    return members.values()


def _cut(members: list[int], unit_size: int) -> list[list[int]]:
    """Cuts into the fewest parts of at most `unit_size`, sizes differing by one at most."""
    parts = -(-len(members) // unit_size)
    bounds = [len(members) * part // parts for part in range(parts + 1)]
    return [members[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]
