"""The SQLite SELECT that an answer may be, as rules that `parser.py` runs, and their stacks.

The language is a subset of https://www.sqlite.org/lang_select.html: no WITH, VALUES, window
functions or NATURAL joins.

In a rule, WORD is a keyword, ";" punctuation, <name> a class of lexemes, !name an action of
`scope.py`, and anything else another rule.
"""

import re
from typing import NamedTuple

Alternatives = tuple[tuple[str, ...], ...]

_RULES = r"""
statement     : !top query end
end           : | ";"

query         : core tail
core          : SELECT distinct item items !listed FROM source joins !joined where grouping
distinct      : | DISTINCT
item          : !star "*" | !whole <qualifier> "." !all "*" | !item value !named label
items         : | !more "," item items
label         : | AS <label>
source        : <table> naming | !derivable !nest "(" !derived query !pop ")" naming
naming        : !plain | !aliasable AS <alias> | <short>
joins         : | !free !joinable "," source joins | !joinable join source on joins
join          : JOIN | INNER JOIN | CROSS JOIN | LEFT JOIN | LEFT OUTER JOIN
on            : !free | !free ON !on condition !off | !along_keys ON !on link links !off
link          : <end> "." <key> "=" <end> "." <key>
links         : | !again AND link links
where         : | WHERE condition
grouping      : | GROUP BY !group key keys !grouped having
keys          : | "," key keys
having        : | HAVING condition
tail          : order limit | !first operation !arm core arms result_order limit
arms          : | operation !arm core arms
operation     : UNION | UNION ALL | INTERSECT | EXCEPT
order         : | ORDER BY !order key direction orderings
orderings     : | "," key direction orderings
result_order  : | !nameable ORDER BY <result> direction result_orders
result_orders : | "," <result> direction result_orders
direction     : | ASC | DESC
limit         : | LIMIT <integer> offset
offset        : | OFFSET <integer> | "," <integer>

condition     : predicate conditions
conditions    : | AND condition | OR condition
predicate     : NOT predicate | value comparison | !nest "(" condition !leave ")"
              | !nest EXISTS "(" !rows query !pop ")"
comparison    : compare operand | !nest not IN "(" in_list ")" | not like operand
              | not BETWEEN operand AND operand | IS not NULL
compare       : "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" | "=="
like          : LIKE | GLOB
not           : | NOT
in_list       : !scalar query !pop | operand operands !leave
operands      : | "," operand operands
operand       : <text> | value

value         : term arithmetic
arithmetic    : | operator value !computed
operator      : "+" | "-" | "*" | "/" | "%" | "||"
term          : head | <number> !computed | "-" <number> !computed | <string> !computed
              | NULL !computed | constant !computed | !nest "(" value !leave ")"
              | !nest "(" !scalar query !pop ")" !computed
constant      : !literal TRUE | !literal FALSE
              | !wide CURRENT_DATE | !wide CURRENT_TIME | !wide CURRENT_TIMESTAMP
head          : column | aggregate !computed | call !computed
key           : head key_rest | !nest "(" key !leave ")" key_rest
key_rest      : | operator value | compare operand
column        : <column> | <qualifier> "." <member>
aggregate     : !aggregate COUNT "(" "*" !aggregated ")"
              | !aggregate set_function "(" distinct value tested !aggregated ")"
tested        : | !wide comparison conditions
set_function  : COUNT | SUM | AVG | MIN | MAX | TOTAL | GROUP_CONCAT
call          : !nest unary "(" value !leave ")"
              | !nest binary "(" operand "," operand !leave ")"
              | !nest ROUND "(" value digits !leave ")"
              | !nest slice "(" value "," value extent !leave ")"
              | !nest STRFTIME "(" operand "," operand !leave ")"
              | !nest CAST "(" value AS type !leave ")"
              | !nest CASE branches otherwise END !leave
              | !wide !nest IIF "(" condition "," operand "," operand !leave ")"
              | !wide !nest REPLACE "(" operand "," operand "," operand !leave ")"
              | !wide !nest moment "(" !leave ")"
unary         : ABS | LENGTH | LOWER | UPPER | TRIM | DATE | JULIANDAY
              | !wide TIME | !wide DATETIME | !wide LTRIM | !wide RTRIM
moment        : DATE | TIME | DATETIME | JULIANDAY
binary        : IFNULL | COALESCE | NULLIF | INSTR
slice         : SUBSTR | SUBSTRING
digits        : | "," <integer>
extent        : | "," value
type          : INTEGER | INT | REAL | FLOAT | NUMERIC | TEXT
branches      : branch more_branches | value case more_cases
branch        : WHEN condition THEN operand
more_branches : | branch more_branches
case          : WHEN operand THEN operand
more_cases    : | case more_cases
otherwise     : | ELSE operand
"""


def _read(text: str) -> dict[str, Alternatives]:
    rules = re.findall(r"^(\w+)\s*:(.*(?:\n +\|.*)*)", text, re.MULTILINE)
    return {
        # "||" is an operator, not two empty alternatives.
        name: tuple(tuple(part.split()) for part in re.split(r'(?<!["|])\|(?!["|])', body))
        for name, body in rules
    }


RULES = _read(_RULES)
# No name of the user's own choice is one of these without quotes: the keywords of
# https://www.sqlite.org/lang_keywords.html that a SELECT may hold.
RESERVED = frozenset(
    b"""
    all and as asc between by case cast collate cross current_date current_time
    current_timestamp desc distinct else end escape except exists filter from full glob group
    having if in indexed inner intersect into is isnull join left like limit match natural
    not notnull null nulls offset on or order outer over raise recursive regexp right select
    set table then union using values when where window with
    """.split()
)

# Classes of lexemes that are no names.
CLASSES = ("<number>", "<integer>", "<string>", "<text>")


class Stack:
    """The symbols still to be read, as a linked list; equal stacks are one object.

    All schemas share them, since nothing here depends on names.

    Attributes:
      symbol: the next one.
      rest: those after it; None for nothing.
    """

    __slots__ = ("symbol", "rest", "_next")

    def __init__(self, symbol: str, rest: "Stack | None"):
        self.symbol, self.rest = symbol, rest
        self._next: Next | None = None


# The actions before a lexeme, and what has to follow it.
Step = tuple[tuple[str, ...], Stack | None]


class Next(NamedTuple):
    """The lexemes that may be read next, each with the ways to it.

    Attributes:
      ends: the actions of each way to read nothing more.
      words: by keyword, folded.
      marks: by punctuation.
      classes: by class of lexemes that are no names.
      names: the class of the name, and the way to it.
      keywords: those of `words`, in order.
      actions: before lexemes that are no names, the fewest first.
      is_free: whether some lexeme may follow whatever the scopes are.
      may_be_fresh: whether a name of the answer's own choice may be one of `names`.
    """

    ends: tuple[tuple[str, ...], ...]
    words: dict[bytes, list[Step]]
    marks: dict[bytes, list[Step]]
    classes: dict[str, list[Step]]
    names: list[tuple[str, Step]]
    keywords: list[bytes]
    actions: list[tuple[str, ...]]
    is_free: bool
    may_be_fresh: bool


# More stacks than any run was seen to need (4,500 for all of dev).
_MAX_STACKS = 50_000
_stacks: dict[tuple[str, int], Stack] = {}
_END = Next(((),), {}, {}, {}, [], [], [], is_free=False, may_be_fresh=False)


def push(symbols: tuple[str, ...], stack: Stack | None) -> Stack | None:
    """The stack with `symbols` on top."""
    if len(_stacks) > _MAX_STACKS:
        _stacks.clear()  # equal ones are then two objects for a while, which costs time only
    for symbol in reversed(symbols):
        key = (symbol, id(stack))
        if key not in _stacks or _stacks[key].rest is not stack:
            _stacks[key] = Stack(symbol, stack)
        stack = _stacks[key]
    return stack


def next_of(stack: Stack | None) -> Next:
    """What may be read next, with the rules on top of the stack replaced."""
    if stack is None:
        return _END
    if stack._next is None:
        stack._next = _find_next(stack)
    return stack._next


def _find_next(stack: Stack) -> Next:
    ends: dict[tuple[str, ...], None] = {}
    words, marks, classes = {}, {}, {}
    names: dict[tuple[str, Step], None] = {}
    open_ways: list[Step] = [((), stack)]
    while open_ways:
        actions, top = open_ways.pop()
        symbol = top.symbol if top else ""
        step = (actions, top.rest if top else None)
        if not symbol:
            ends[actions] = None
        elif symbol.startswith("!"):
            open_ways.append(((*actions, symbol[1:]), top.rest))
        elif symbol in RULES:
            open_ways.extend((actions, push(symbols, top.rest)) for symbols in RULES[symbol])
        elif symbol.isupper():
            words.setdefault(symbol.lower().encode(), []).append(step)
        elif symbol[0] == '"':
            marks.setdefault(symbol.strip('"').encode(), []).append(step)
        elif symbol in CLASSES:
            classes.setdefault(symbol, []).append(step)
        else:
            names[symbol.strip("<>"), step] = None
    tables = (words, marks, classes)
    actions = {actions for table in tables for steps in table.values() for actions, _ in steps}
    return Next(
        ends=tuple(ends),
        words=words,
        marks=marks,
        classes=classes,
        names=list(names),
        keywords=sorted(words),
        actions=sorted(actions, key=lambda action: (len(action), action)),
        is_free=() in actions,
        may_be_fresh=any(kind in ("label", "alias") for kind, _ in names),
    )
