"""Layer one: the tokens that go on with a text of the grammar, from llguidance.

The grammar is wider than `grammar.py` where that makes it small, as in one kind of
expression for conditions and values; it holds all that `grammar.py` does. What it is for
is speed: it looks through the vocabulary's 262,144 tokens in well under a millisecond.
"""

import functools
import re
from collections.abc import Iterable, Sequence

import llguidance
import numpy as np
from jaxtyping import Bool

from t2sql.constraint.identifiers import patterns as patterns_of
from t2sql.constraint.vocabulary import Vocabulary

_GRAMMAR = r"""
start: query ";"?
query: core (("UNION"i "ALL"i? | "INTERSECT"i | "EXCEPT"i) core)* ("ORDER"i "BY"i ordering ("," ordering)*)? limit?
core: "SELECT"i "DISTINCT"i? item ("," item)* "FROM"i source join* where? group?
item: "*" | expr ("AS"i name)?
source: (NAME | "(" query ")") (NAME | "AS"i name)?
join: ("," | JOIN) source ("ON"i expr)?
where: "WHERE"i expr
group: "GROUP"i "BY"i expr ("," expr)* ("HAVING"i expr)?
ordering: expr DIRECTION?
limit: "LIMIT"i NUMBER (("OFFSET"i | ",") NUMBER)?
name: FRESH | NAME
expr: unit more*
more: OPERATOR unit | "IS"i "NOT"i? unit | COMPARISON (TEXT | unit) | IN "(" (query | operands) ")"
operand: TEXT | expr
operands: operand ("," operand)*
unit: PREFIX unit | LITERAL | NAME ("." (NAME | "*"))? | call | case | "(" (query | expr) ")"
call: FUNCTION "(" ("*" | "DISTINCT"i? expr ("," expr)* | expr "AS"i TYPE) ")"
    | BINARY "(" operand "," operand ")"
case: "CASE"i expr? ("WHEN"i operand "THEN"i operand)+ ("ELSE"i operand)? "END"i
JOIN: /(?i:((inner|cross|left([ \t\n]+outer)?)[ \t\n]+)?join)/
DIRECTION: /(?i:asc|desc)/
OPERATOR: /(?i:or)|[-+*\/%]|\|\|/
COMPARISON: /(?i:and|(not[ \t\n]+)?(like|glob|between))|[<>=]|<=|>=|<>|!=|==/
IN: /(?i:(not[ \t\n]+)?in)/
PREFIX: /(?i:not|exists)|-/
FUNCTION: /(?i:count|sum|avg|min|max|total|group_concat|abs|length|lower|upper|trim|date|julianday|substr|substring|round|cast)/
BINARY: /(?i:ifnull|coalesce|nullif|instr|strftime)/
TYPE: /(?i:integer|int|real|float|numeric|text)/
LITERAL: NUMBER | /'([^'\x00-\x08\x0A-\x1F;\x7F]|'')*'|(?i:null)/
TEXT: /"([^"\x00-\x08\x0A-\x1F;\x7F]|"")*"/
NUMBER: /[0-9]{1,15}(\.[0-9]{0,10})?/
FRESH: /[A-Za-z_][A-Za-z0-9_]{0,47}/
NAME: /(?i:@NAMES@)/
%ignore /[ \t\n]+/
"""  # noqa: E501
# A name that the text itself has introduced, with what ends it.
_INTRODUCED = re.compile(rb"\bas\s+([A-Za-z_][A-Za-z0-9_]*)(?=[^A-Za-z0-9_])", re.IGNORECASE)
_LIMITS = llguidance.LLParserLimits(step_max_items=2_000_000, step_lexer_fuel=5_000_000)
_MAX_GRAMMARS = 64


class Engine:
    """The grammar engine for one schema.

    Args:
      vocabulary: of the model's tokenizer.
      patterns: regular expressions for the schema's names, and for the usual aliases.
      prefix: how every text begins.
    """

    def __init__(self, vocabulary: Vocabulary, patterns: Iterable[str], prefix: bytes):
        self._vocabulary = vocabulary
        self._patterns = tuple(patterns)
        self._prefix = prefix
        self._matcher = functools.lru_cache(_MAX_GRAMMARS)(self._make_matcher)

    def allowed(self, tokens: Sequence[int]) -> Bool[np.ndarray, "V"]:
        """The tokens that may follow `tokens`, or more."""
        pieces = self._vocabulary.pieces
        text = self._prefix + b"".join(pieces[token] for token in tokens)
        names = dict.fromkeys(name.lower() for name in _INTRODUCED.findall(text))
        matcher = self._matcher(tuple(names)).deep_copy()
        matcher.consume_tokens(list(tokens))
        packed = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        _check(matcher)
        bits = np.unpackbits(packed, bitorder="little")
        return bits[: self._vocabulary.size].astype(bool)

    def _make_matcher(self, names: tuple[bytes, ...]) -> llguidance.LLMatcher:
        """A matcher behind the prefix; `names` are those of the text's own choice."""
        patterns = "|".join((*self._patterns, *patterns_of(names, frozenset(names))))
        grammar = _GRAMMAR.replace("@NAMES@", patterns)
        matcher = llguidance.LLMatcher(
            self._vocabulary.engine,
            llguidance.LLMatcher.grammar_from_lark(grammar),
            limits=_LIMITS,
        )
        matcher.consume_tokens(self._vocabulary.encode(self._prefix))
        _check(matcher)
        return matcher


def _check(matcher: llguidance.LLMatcher) -> None:
    if matcher.is_error():
        raise RuntimeError(f"llguidance: {matcher.get_error()}")
