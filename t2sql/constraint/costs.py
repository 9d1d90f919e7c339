"""How many tokens it takes to finish a query: what a row's last tokens are kept for."""

from collections.abc import Callable, Iterable

from t2sql.constraint import grammar
from t2sql.constraint.from_clause import MAX_MORE, Name
from t2sql.constraint.scope import MAX_LEAP, ScopeCheck, Scopes

# More tokens than any answer has.
_NEVER = 10**6


class Costs:
    """Upper bounds, in tokens, of the shortest text for what a query still needs.

    Args:
      check: knows the names.
      count: how many tokens a text takes.
    """

    def __init__(self, check: ScopeCheck, count: Callable[[bytes], int]):
        alias = count(b" AS T1")
        name, key = _largest(check.tables, count), _largest(check.columns, count)
        table = name + alias
        # A column that several tables have needs its table's alias.
        column = key + count(b" T1.")
        end = max(name, count(b" T1"))
        link = count(b" ON") + 2 * (end + count(b".") + key) + count(b" =")
        self._count = count
        self._missing = check.missing
        # What one token asks for may come with tables that link it.
        self._leap = MAX_LEAP + (MAX_MORE if check.links else 0)
        # Without "!literal" too the shortest text of a value is as short.
        self._closed = ("!literal", *(("!free", "!wide") if check.links else ("!along_keys",)))
        self._table = table + count(b" JOIN") + (link if check.links else 0)
        self._column = column + count(b",")
        self._classes = {
            "<table>": table,
            "<column>": column,
            "<member>": column,
            "<qualifier>": name,
            "<end>": end,
            "<key>": key,
            "<alias>": alias,
            "<short>": alias,
            "<label>": alias,
            "<result>": column,
            "<number>": count(b" 1"),
            "<integer>": count(b" 1"),
            "<string>": count(b" ''"),
            "<text>": count(b' ""'),
        }
        self._rules = dict.fromkeys(grammar.RULES, _NEVER)
        self._relax()

    def of_symbol(self, symbol: str) -> int:
        """Tokens of the shortest text for a symbol of the grammar."""
        if symbol in self._rules:
            return self._rules[symbol]
        if symbol.startswith("!"):
            return _NEVER if symbol in self._closed else 0
        if symbol.startswith("<"):
            return self._classes[symbol]
        return self._count(b" " + symbol.strip('"').encode())

    def of_scopes(self, scopes: Scopes) -> int:
        """Tokens of the tables and columns that the names so far ask for."""
        tables, columns = self._missing(scopes)
        return tables * self._table + columns * self._column

    def of_one_token(self, scopes: Scopes) -> int:
        """What one token can add to what a query needs.

        That is two more cores as wide as this one, and the tables of an alias with those that
        have to stand before it.
        """
        items = max((scope.items for scope in scopes), default=1)
        return 2 * self.of_symbol("core") + items * self._column + self._leap * self._table

    def _relax(self) -> None:
        """The shortest text of each rule, lowered until nothing changes."""
        while True:
            lower = {
                name: min(sum(map(self.of_symbol, symbols)) for symbols in alternatives)
                for name, alternatives in grammar.RULES.items()
            }
            if lower == self._rules:
                return
            self._rules = lower


def _largest(names: Iterable[Name], count: Callable[[bytes], int]) -> int:
    return max(count(b' "' + name + b'"') for name in names)
