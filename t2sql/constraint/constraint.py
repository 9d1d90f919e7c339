"""Which tokens keep an answer a SQLite SELECT over a schema.

`lexer`, `parser` and `scope` say, byte by byte, whether a query goes on: they refuse a column
whose table is not, and can no longer be, in FROM, and all else that SQLite would refuse. Here
that is asked of tokens: of one, or, for a mask, of the whole vocabulary. What a position and a
token lead to is kept for all answers over the schema (`node.py`), so that most tokens of an
answer take one look-up.
"""

import functools
from collections.abc import Iterator

from t2sql.constraint import completion, identifiers, lexer, tokens
from t2sql.constraint.canonical import CanonicalTokens
from t2sql.constraint.foreign_keys import Links
from t2sql.constraint.lexer import Position
from t2sql.constraint.next_tokens import NextTokens, TokenFinder
from t2sql.constraint.node import NEVER, Node
from t2sql.constraint.parser import Parser
from t2sql.constraint.scope import ScopeCheck
from t2sql.constraint.vocabulary import Vocabulary
from t2sql.data.schema import Schema

# Kept for a schema: masks, of some 2 kB, or 64 kB within quotes; nodes, of 0.7 kB; and states
# of the parser, of 2 to 3 kB with their names. Fifty answers of dev have about 600 states.
_MAX_NEXT = 64
_MAX_NODES = 20_000
_MAX_STATES = 3_000
# Tokens by which `completion.bound` may be too low.
_BOUND_ERROR = 4


class SchemaConstraint:
    """The queries over one schema, token by token. Build it once a schema, and share it.

    Tokens left are those that an answer may still have, the end token included.

    Args:
      vocabulary: of the model's tokenizer.
      schema: tables and columns.
      prefix: how every answer begins, where the prompt says it: "SELECT" or nothing.
      along_keys: whether tables are joined along the schema's foreign keys only.

    Attributes:
      vocabulary: of the model's tokenizer.
      db_id: the schema's.
      along_keys: whether tables are joined along the schema's foreign keys only.
      before_prefix: the position before the prefix.
      start: where an answer begins, behind the prefix.
      end: behind the end token.
      encode: the tokens of a text.
      finder: finds the tokens that may follow a position.

    Raises:
      InputError: the schema has no table with a column.
    """

    def __init__(
        self, vocabulary: Vocabulary, schema: Schema, prefix: str = "", *, along_keys: bool = False
    ):
        tables = identifiers.tables_of(schema)
        names = frozenset(tables).union(*tables.values())
        plain = identifiers.plain_names(names)
        links = Links(tables, identifiers.keys_of(schema)) if along_keys else None
        self.vocabulary = vocabulary
        self.encode = functools.cache(vocabulary.encode)
        self.db_id = schema.db_id
        self.along_keys = along_keys
        self._canonical = CanonicalTokens(
            vocabulary,
            self.encode,
            identifiers.spellings(schema),
            needs_quotes=bool(names - plain),
        )
        is_ascii = all(name.isascii() for name in names)
        self.finder = TokenFinder(vocabulary, self._canonical, is_ascii=is_ascii)
        self._parser = Parser(ScopeCheck(tables, links), plain, self.count)
        self._nodes: dict[Position, Node] = {}
        self._next: dict[Position, NextTokens] = {}
        self.before_prefix = Position(self._parser.start, lexer.GAP, b"")
        position = lexer.steps(self.before_prefix, prefix.encode())
        if position is None:
            raise ValueError(f"no query begins with {prefix!r}")
        self.start, self.end = Node(position), Node(None)

    def count(self, text: bytes) -> int:
        """How many tokens a text takes."""
        return len(self.encode(text))

    def forget(self) -> None:
        """Drops what is kept. Answers that are on their way can go on."""
        for node in (self.start, *self._nodes.values()):
            node.forget()
        self._nodes.clear()
        self._next.clear()
        self._parser.forget()

    def after(self, node: Node, token: int) -> Node | None:
        """The node after a token; None where it is no text or does not go on with a query."""
        try:
            return node.after[token]
        except KeyError:
            after = node.after[token] = self._find_after(node.position, token)
            return after

    def own(self, node: Node, token: int) -> Node | None:
        """As `after`, for a token of the model's own.

        Where joins follow keys, which may change an answer anyway, it has to be canonical: a first
        letter of a name that is out of place ("T" for "T2") would have to become another's
        ("TReatments").
        """
        after = self.after(node, token)
        if after is None or after is self.end or not self.along_keys:
            return after
        return after if self._canonical.may_hold(node.position, token, after.position) else None

    def keep(self, node: Node, token: int, left: int) -> Node | None:
        """As `own`; None too where the query could not be ended after the token.

        Args:
          node: where the answer stands.
          token: that the model has drawn.
          left: tokens left before it.
        """
        try:
            after, least = node.kept[token]
        except KeyError:
            after, least = node.kept[token] = self.own(node, token), NEVER
        if left >= least:
            return after
        if after is None or not self.leaves_room(node, token, after, left):
            return None
        node.kept[token] = after, left
        return after

    def leaves_room(self, node: Node, token: int, after: Node, left: int) -> bool:
        """Whether the query can be ended after a token that goes on with it.

        Args:
          node: where the answer stands.
          token: comes next.
          after: the node that it leads to.
          left: tokens left before it.
        """
        if after is self.end:
            return left > 0
        if tokens.is_free_text(self.vocabulary, node.position, token):
            if self._free_text_leaves_room(node, left):
                return True
        elif self.fits(after, left - 1):
            return True
        return self.any_token_leaves_room(node, left)

    def any_token_leaves_room(self, node: Node, left: int) -> bool:
        """Whether the query can be ended after any token that goes on with it."""
        state = node.position.state
        # The lexeme at hand and the next token.
        return left > state.cost + 2 * state.growth + 1

    def fits(self, node: Node, left: int) -> bool:
        """Whether so many tokens end the query from here."""
        return completion.fits(node.position, self.count, left - 1 - _BOUND_ERROR)

    def is_complete(self, node: Node) -> bool:
        """Whether the query may end here."""
        return lexer.is_complete(node.position)

    def shortest_end(self, node: Node) -> Iterator[int]:
        """The tokens of the shortest end of the query that is found, without the end token."""
        for text in completion.parts(node.position, self.count):
            yield from self.encode(text)

    def next_tokens(self, node: Node) -> NextTokens:
        """The canonical tokens that may follow; all that may, where none of these does."""
        tokens = self._next.pop(node.position, None) or self.finder.canonical(node.position)
        self._next[node.position] = tokens  # those that were asked for last are kept
        if len(self._next) > _MAX_NEXT:
            del self._next[next(iter(self._next))]
        return tokens

    def with_room(self, tokens: NextTokens, node: Node, left: int) -> NextTokens:
        """Of the tokens that may follow a node those after which the query can still be ended."""
        has_room = functools.cache(
            lambda position: completion.fits(position, self.count, left - 2 - _BOUND_ERROR)
        )
        free_text_fits = self._free_text_leaves_room(node, left)
        after = {
            token: position
            for token, position in tokens.after.items()
            if position is None or has_room(position)
        }
        return NextTokens(after, tokens.free_text if free_text_fits else None)

    def _free_text_leaves_room(self, node: Node, left: int) -> bool:
        """As `leaves_room`, of any token within a text or a name of the answer's own choice."""
        if lexer.open_quote(node.position) is not None:
            return self.fits(node, left - 1)
        states = node.position.state, lexer.settle(node.position)
        costs = (state.cost_after_fresh for state in states if state and state.takes_fresh)
        # A word that is taken, or a keyword, needs a letter more.
        return left > max(costs, default=0) + 2 + _BOUND_ERROR

    def _find_after(self, position: Position, token: int) -> Node | None:
        if token in self.vocabulary.end_ids:
            return self.end if lexer.is_complete(position) else None
        after = tokens.step(self.vocabulary, position, token)
        if after is None:
            return None
        node = self._nodes.get(after)
        if node is None:
            if len(self._nodes) >= _MAX_NODES or len(self._parser) >= _MAX_STATES:
                self.forget()
            node = self._nodes[after] = Node(after)
        return node
