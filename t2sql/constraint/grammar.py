"""The SQLite SELECT that an answer may be, as rules that `parser.py` runs.

The language is a subset of https://www.sqlite.org/lang_select.html: no WITH, VALUES, window
functions or NATURAL joins.

In a rule, WORD is a keyword, ";" punctuation, <name> a class of lexemes, !name an action of
`scope.py`, and anything else another rule.
"""

import re

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
on            : !free | !free ON !on condition !off | !keyed ON !on link links !off
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
              | NULL !computed | !nest "(" value !leave ")"
              | !nest "(" !scalar query !pop ")" !computed
head          : column | aggregate !computed | call !computed
key           : head key_rest | !nest "(" key !leave ")" key_rest
key_rest      : | operator value | compare operand
column        : <column> | <qualifier> "." <member>
aggregate     : !aggregate COUNT "(" "*" !aggregated ")"
              | !aggregate set_function "(" distinct value !aggregated ")"
set_function  : COUNT | SUM | AVG | MIN | MAX | TOTAL | GROUP_CONCAT
call          : !nest unary "(" value !leave ")"
              | !nest binary "(" operand "," operand !leave ")"
              | !nest ROUND "(" value digits !leave ")"
              | !nest slice "(" value "," value extent !leave ")"
              | !nest STRFTIME "(" operand "," operand !leave ")"
              | !nest CAST "(" value AS type !leave ")"
              | !nest CASE branches otherwise END !leave
unary         : ABS | LENGTH | LOWER | UPPER | TRIM | DATE | JULIANDAY
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
    found = re.findall(r"^(\w+)\s*:(.*(?:\n +\|.*)*)", text, re.MULTILINE)
    return {
        # "||" is an operator, not two empty alternatives.
        name: tuple(tuple(part.split()) for part in re.split(r'(?<!["|])\|(?!["|])', body))
        for name, body in found
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
