"""Where a gold query's own ORDER BY or LIMIT leaves open which rows it returns, or their order.

`ORDER BY age LIMIT 1` with two youngest singers may return either one. To see such ties the
query runs once more, without its LIMIT and with what it sorts by as further columns.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

from t2sql.evaluation.sandbox.results import ExecutionResult, Row
from t2sql.sql.names import fold
from t2sql.sql.tokens import Token, tokenize

_SET_OPERATIONS = frozenset(("UNION", "INTERSECT", "EXCEPT"))
_DIRECTIONS = frozenset(("ASC", "DESC", "NULLS", "FIRST", "LAST"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ties:
    """All rows of a gold query in its order, and which of them it returns.

    Attributes:
      rows: each row with what it is sorted by (nothing without an ORDER BY), also the rows
        that LIMIT cuts off.
      start: the first row that is returned.
      stop: the row after the last one that is.
    """

    rows: tuple[tuple[Row, Row], ...]
    start: int
    stop: int

    def note(self) -> str | None:
        """What is left open, in a sentence; None if nothing is."""
        returned = self.stop - self.start
        for edge in (self.stop, self.start):
            if 0 < edge < len(self.rows) and self._key(edge - 1) == self._key(edge):
                tied = [row for row, key in self.rows if key == self._key(edge)]
                if len(set(tied)) > 1:
                    why = "are equal in its ORDER BY" if self._key(edge) else "no ORDER BY sorts"
                    return (
                        f"gold's LIMIT keeps {returned:,} of {len(self.rows):,} rows and cuts "
                        f"among {len(tied):,} that {why}: a tie decides which ones"
                    )
        groups = itertools.groupby(self.rows[self.start : self.stop], lambda keyed: keyed[1])
        tied_rows = [[row for row, _ in group] for key, group in groups if key]
        left_open = sum(len(rows) for rows in tied_rows if len(set(rows)) > 1)
        if not left_open:
            return None
        return (
            f"gold's ORDER BY leaves the order of {left_open:,} of {returned:,} rows open: a tie "
            "decides it"
        )

    def allow_rows(self, rows: Sequence[Row]) -> bool:
        """Whether gold's LIMIT could as well keep these rows, as they tie.

        They may come in any order, but behind an OFFSET in gold's.
        """
        if not self.start < self.stop < len(self.rows) or len(rows) != self.stop - self.start:
            return False
        if self.start:
            return self.allow_order(rows)
        last = self._key(self.stop - 1)
        certain = collections.Counter(row for row, key in self.rows[: self.stop] if key != last)
        tied = collections.Counter(row for row, key in self.rows if key == last)
        given = collections.Counter(rows)
        return certain <= given and given - certain <= tied

    def allow_order(self, rows: Sequence[Row]) -> bool:
        """Whether gold's ORDER BY could as well return these rows in this order."""
        if len(rows) != self.stop - self.start:
            return False
        tied: dict[Row, collections.Counter[Row]] = collections.defaultdict(collections.Counter)
        for row, key in self.rows:
            tied[key][row] += 1
        for (_, key), row in zip(self.rows[self.start : self.stop], rows, strict=True):
            if not tied[key][row]:
                return False
            tied[key][row] -= 1
        return True

    def _key(self, index: int) -> Row:
        return self.rows[index][1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TieProbe:
    """A query that shows ties.

    Attributes:
      sql: the gold query without its LIMIT, with added columns at the end of its SELECT.
      terms: the column that each term of ORDER BY is: its index, its name, or None for the
        next one that was added.
      offset: how many rows OFFSET skips.
      limit: how many rows LIMIT keeps; None without one.
    """

    sql: str
    terms: tuple[int | str | None, ...]
    offset: int
    limit: int | None

    def read(self, result: ExecutionResult) -> Ties | None:
        """The ties in the result of `sql`; None where it lacks a column that it is sorted by."""
        names = [fold(name) for name in result.columns]
        width = len(names) - self.terms.count(None)
        added = itertools.count(width)
        columns = [
            next(added) if term is None else names.index(term) if term in names else term
            for term in self.terms
        ]
        if not all(isinstance(column, int) and column < len(names) for column in columns):
            return None
        rows = tuple((row[:width], tuple(row[column] for column in columns)) for row in result.rows)
        start = min(self.offset, len(rows))
        stop = len(rows) if self.limit is None else min(start + self.limit, len(rows))
        return Ties(rows=rows, start=start, stop=stop)


def tie_probe(sql: str) -> TieProbe | None:
    """The query that shows the ties of `sql`.

    None where `sql` neither orders nor limits its rows, or does so in a way that this simple
    reading does not understand.
    """
    top = list(_top_level(sql))
    words = [token.upper for token in top]
    limit_at = _last("LIMIT", words)
    order_at = _last("ORDER", words[:limit_at])
    select_at = _last("SELECT", words[:order_at])
    kept = _offset_and_limit([token.text for token in top[limit_at + 1 :]])
    if order_at == len(top) or kept is None or "FROM" not in words[select_at:order_at]:
        return None

    # Each term is a column of the result, or becomes one.
    from_at = words.index("FROM", select_at)
    items = _split_at_commas(top[select_at + 1 : from_at])
    compound = not _SET_OPERATIONS.isdisjoint(words)
    terms: list[int | str | None] = []
    added = ""
    for term in _split_at_commas(top[order_at + 2 : limit_at]):
        while term and term[-1].upper in _DIRECTIONS:
            term.pop()
        column = _result_column(term, items, compound=compound)
        if column is None and (compound or not term):
            return None
        if column is None:
            added += f", {sql[term[0].start : term[-1].end]}"
        terms.append(column)

    end = top[limit_at].start if limit_at < len(top) else top[-1].end
    select, rest = sql[: top[from_at].start], sql[top[from_at].start : end]
    return TieProbe(
        sql=f"{select}{added} {rest}",
        terms=tuple(terms),
        offset=kept[0],
        limit=kept[1],
    )


def _top_level(sql: str) -> Iterator[Token]:
    """The first statement's tokens that stand in no brackets, and the outermost brackets."""
    depth = 0
    for token in tokenize(sql):
        if token.text == ";":
            return
        depth -= token.text == ")"
        if depth == 0 and token.kind not in ("space", "comment"):
            yield token
        depth += token.text == "("


def _last(word: str, words: Sequence[str]) -> int:
    """The index of the last such word; past the end if there is none."""
    return next((i for i in reversed(range(len(words))) if words[i] == word), len(words))


def _split_at_commas(tokens: Iterable[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.text == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts if parts != [[]] else []


def _offset_and_limit(words: Sequence[str]) -> tuple[int, int | None] | None:
    """OFFSET and LIMIT from what follows LIMIT; None where they are no plain numbers."""
    match [word.upper() for word in words]:
        case []:
            return 0, None
        case [limit] if limit.isdecimal():
            return 0, int(limit)
        case [limit, "OFFSET", offset] | [offset, ",", limit] if (limit + offset).isdecimal():
            return int(offset), int(limit)
    return None


def _result_column(
    term: Sequence[Token], items: Sequence[Sequence[Token]], *, compound: bool
) -> int | str | None:
    """The column of the result that a term of ORDER BY names by number or alias, if it does."""
    if len(term) != 1:
        return None
    (token,) = term
    if token.kind == "number" and token.text.isdecimal():
        return int(token.text) - 1
    aliases = {fold(item[-1].text) for item in items if len(item) > 2 and item[-2].upper == "AS"}
    if token.kind in ("word", "name") and (compound or fold(token.text) in aliases):
        return fold(token.text.strip('"`[]'))
    return None
