"""What one answer may be: its state, and what starts one for each schema of a run."""

import copy
from collections.abc import Callable, Mapping, Sequence

from t2sql import errors
from t2sql.constraint import identifiers
from t2sql.constraint.constraint import SchemaConstraint
from t2sql.constraint.masks import Mask
from t2sql.constraint.node import Node
from t2sql.constraint.vocabulary import Vocabulary
from t2sql.data.schema import Schema

# Schemas whose constraints are kept; a batch of 256 seldom spans more.
_MAX_SCHEMAS = 16


class Guide:
    """The state of one answer: how far it has come, and what may come next.

    Args:
      constraint: of the answer's schema.
      max_new_tokens: how many tokens the answer may have, the end token included.

    Attributes:
      left: how many tokens may still come, the end token included.
      node: where the answer stands.

    Raises:
      InputError: no query is that short.
    """

    def __init__(self, constraint: SchemaConstraint, max_new_tokens: int):
        self.left = max_new_tokens
        self._constraint = constraint
        self.node = constraint.start
        # The rest of the shortest end, while the answer keeps to it for want of room.
        self._closing: list[int] = []
        if not constraint.fits(self.node, self.left) and len(self._shortest_end()) >= self.left:
            raise errors.InputError(
                f"--config.sampling.max_new_tokens={max_new_tokens} is too little for any query "
                f"over {constraint.db_id!r} (--config.sampling.constrain)"
            )

    @property
    def ended(self) -> bool:
        """Whether the end token has come."""
        return self.node is self._constraint.end

    def allows(self, token: int) -> bool:
        """Whether the model's own token may be kept."""
        return self.copy().accept([token]) == 1

    def accept(self, tokens: Sequence[int]) -> int:
        """Takes the model's own tokens as far as they may be kept.

        A token that was drawn from `allowed` is for `advance`: it may not be canonical.

        Returns:
          How many have been taken: up to the end token, the limit, or the first that is refused.
        """
        constraint = self._constraint
        for count, token in enumerate(tokens):
            if self.node is constraint.end or not self.left:
                return count
            if (after := constraint.keep(self.node, token, self.left)) is not None:
                self._take(token, after, has_room=True)
            elif (after := self._begins_end(token)) is not None:
                self._take(token, after, has_room=False)
            else:
                return count
        return len(tokens)

    def check(self, tokens: Sequence[int], *, redrawn: bool = False) -> Callable[[], int]:
        """Takes tokens as far as they may be kept.

        Args:
          tokens: of the model's own.
          redrawn: whether the first of them was drawn from `allowed` instead.

        Returns:
          What says how many have been taken; for guides in other processes it waits.
        """
        first = 1 if redrawn and tokens else 0
        for token in tokens[:first]:
            self.advance(token)
        accepted = first + self.accept(tokens[first:])
        return lambda: accepted

    def copy(self) -> "Guide":
        """A guide that has come as far, and goes on by itself."""
        return copy.copy(self)  # what it holds is replaced, never changed

    def allowed(self) -> Mask:
        """The tokens to choose from where the model's own may not be kept.

        They are canonical, and after each of them the query can still be ended.
        """
        constraint, node = self._constraint, self.node
        tokens = constraint.next_tokens(node)
        ids = set(tokens.after)
        if not constraint.any_token_leaves_room(node, self.left):
            tokens = constraint.with_room(tokens, node, self.left)
            ids = set(tokens.after)
            if not constraint.is_complete(node):
                ids.add(self._first_of_end())
        if tokens.free_text is None:
            return Mask.of_few(ids)
        allowed = tokens.free_text.copy()
        allowed[list(ids)] = True
        return Mask.of(allowed)

    def advance(self, token: int) -> None:
        """Takes a token of `allowed`.

        Raises:
          ValueError: the token does not go on with a query.
        """
        after = self._constraint.after(self.node, token)
        if after is None:
            piece = self._constraint.vocabulary.pieces[token]
            raise ValueError(f"token {token} ({piece!r}) does not go on with a query here")
        has_room = self._constraint.leaves_room(self.node, token, after, self.left)
        self._take(token, after, has_room=has_room)

    def _take(self, token: int, after: Node, *, has_room: bool) -> None:
        if self._closing or not has_room:
            if self._closing[:1] != [token]:
                self._closing = [] if has_room else self._shortest_end()
            self._closing = self._closing[1:] if self._closing[:1] == [token] else []
        self.left -= 1
        self.node = after

    def _begins_end(self, token: int) -> Node | None:
        """The node after the first token of the shortest end, if that is this token."""
        after = self._constraint.own(self.node, token)
        if after is None or self._constraint.is_complete(self.node):
            return None
        return after if token == self._first_of_end() else None

    def _first_of_end(self) -> int:
        if self._closing:
            return self._shortest_end()[0]
        return next(self._constraint.shortest_end(self.node))

    def _shortest_end(self) -> list[int]:
        """The tokens of the shortest end that is found; one that was begun may be shorter."""
        tokens = list(self._constraint.shortest_end(self.node))
        return self._closing if 0 < len(self._closing) <= len(tokens) else tokens


class Guides:
    """Starts the guides of a run's answers; the constraint of a schema is made when first needed.

    Args:
      vocabulary: of the model's tokenizer.
      schemas: by db_id.
      prefix: how every answer begins, where the prompt says it.
      along_keys: whether tables are joined along their schema's keys only.

    Raises:
      InputError: a schema has no table with a column.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        schemas: Mapping[str, Schema],
        prefix: str = "",
        *,
        along_keys: bool = False,
    ):
        for schema in schemas.values():
            identifiers.tables_of(schema)
        self._vocabulary = vocabulary
        self._schemas = schemas
        self._prefix = prefix
        self._along_keys = along_keys
        self._constraints: dict[str, SchemaConstraint] = {}  # used last, last

    def of(self, db_id: str) -> Callable[[int], Guide]:
        """What starts an answer over a schema, given the most tokens it may have."""
        return lambda max_new_tokens: Guide(self._constraint(db_id), max_new_tokens)

    def _constraint(self, db_id: str) -> SchemaConstraint:
        constraint = self._constraints.pop(db_id, None) or self._make(db_id)
        self._constraints[db_id] = constraint
        if len(self._constraints) > _MAX_SCHEMAS:
            self._constraints.pop(next(iter(self._constraints))).forget()
        return constraint

    def _make(self, db_id: str) -> SchemaConstraint:
        schema = self._schemas[db_id]
        return SchemaConstraint(self._vocabulary, schema, self._prefix, along_keys=self._along_keys)
