"""What one answer may be: its state, and what starts one for each schema of a run."""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from t2sql import errors
from t2sql.constraint import completion, identifiers, lexer
from t2sql.constraint.constraint import SchemaConstraint
from t2sql.constraint.lexer import Position
from t2sql.constraint.masks import Mask
from t2sql.constraint.parser import ParserState
from t2sql.constraint.vocabulary import Vocabulary
from t2sql.data.schema import Schema

# Schemas whose masks are kept; a batch seldom spans more.
_MAX_SCHEMAS = 4
# What `completion.bound` may be short of, in tokens.
_MARGIN = 4


class Guide:
    """The state of one answer: how far it has come, and what may come next.

    Args:
      constraint: of the answer's schema.
      max_new_tokens: how many tokens the answer may have, the end token included.

    Attributes:
      left: how many tokens may still come, the end token included.
      ended: whether the end token has come.

    Raises:
      InputError: no query is that short.
    """

    def __init__(self, constraint: SchemaConstraint, max_new_tokens: int):
        self.left = max_new_tokens
        self.ended = False
        self._constraint = constraint
        self._position = constraint.start
        self._roomy_token: int | None = None  # was seen to leave room for an end
        self._planned_end: list[int] = []  # of the query, once it has been begun for want of room
        if not self._fits(self._position, self.left) and len(self._completion()) + 1 > self.left:
            raise errors.InputError(
                f"--config.sampling.max_new_tokens={max_new_tokens} is too little for any query "
                f"over {constraint.db_id!r} (--config.sampling.constrain)"
            )

    def allows(self, token: int) -> bool:
        """Whether the model's own token may be kept. Far quicker than `allowed`.

        It has to go on with a query. Where joins follow keys, which may change an answer
        anyway, it has to be as usual as well: a first letter of a name that is out of place
        ("T" for "T2") would have to become another's ("TReatments").
        """
        if not self.goes_on(token):
            return False
        return not self._constraint.keyed or self._constraint.is_usual(self._position, token)

    def goes_on(self, token: int) -> bool:
        """Whether a token may come next, and the query can still be ended after it."""
        if token in self._constraint.vocabulary.end_ids:
            return lexer.is_complete(self._position)
        after = self._constraint.step(self._position, token)
        if after is None:
            return False
        if self._leaves_room(token, after) or self._is_roomy():
            self._roomy_token = token
            return True
        return self._ends_best(token)

    def accept(self, tokens: Sequence[int]) -> int:
        """Takes the model's own tokens as far as they may be kept.

        A token that was drawn from `allowed` is for `advance`: it may not be as usual.

        Returns:
          How many have been taken: up to the end token, the limit, or the first that is refused.
        """
        for count, token in enumerate(tokens):
            if self.ended or not self.left or not self.allows(token):
                return count
            self.advance(token)
        return len(tokens)

    def copy(self) -> "Guide":
        """A guide that has come as far, and goes on by itself."""
        return copy.copy(self)  # what it holds is replaced, never changed

    def allowed(self) -> Mask:
        """The tokens to choose from where the model's own may not be kept.

        After each of them the query can still be ended.
        """
        mask = self._constraint.usual_mask(self._position)
        return mask if self._is_roomy() else self._narrowed(mask)

    def advance(self, token: int) -> None:
        """Takes the next token.

        Raises:
          ValueError: the token is not one of `allowed`.
        """
        vocabulary = self._constraint.vocabulary
        if token in vocabulary.end_ids and lexer.is_complete(self._position):
            self.left -= 1
            self.ended = True
            return
        position = self._constraint.step(self._position, token)
        if position is None:
            piece = vocabulary.pieces[token]
            raise ValueError(f"token {token} ({piece!r}) does not go on with a query here")
        begun = self._planned_end[:1] == [token]
        leaves_room = token == self._roomy_token or self._leaves_room(token, position)
        if not begun and not (leaves_room or self._is_roomy()):
            self._planned_end = self._completion()
            begun = self._planned_end[:1] == [token]
        self._roomy_token = None
        self._planned_end = self._planned_end[1:] if begun else []
        self.left -= 1
        self._position = position

    def _is_roomy(self) -> bool:
        """Whether any token that goes on with the query leaves room for an end."""
        state = self._position.state
        # The lexeme at hand and the next token.
        return self.left > state.cost + 2 * state.growth + 1

    def _fits(self, position: Position, tokens: int) -> bool:
        """Whether so many tokens end the query from a position, the end token included."""
        return completion.fits(position, self._constraint.count, tokens - 1 - _MARGIN)

    def _words_fit(self, state: ParserState, part: bytes, tokens: int) -> bool:
        """Whether that is so after any token that goes on with a known word."""
        return completion.words_fit(state, part, tokens - 1 - _MARGIN)

    def _narrowed(self, mask: Mask) -> Mask:
        """The tokens that leave room for an end, and the first one of the shortest end."""
        pieces = self._constraint.vocabulary.pieces
        allowed = mask.unpacked(len(pieces))
        within = allowed & self._constraint.sure(self._position)
        if not self._leaves_room_within():
            allowed &= ~within
        doubtful = allowed & ~within
        for state, part, space in lexer.word_states(self._position):
            if self._words_fit(state, part, self.left - 1):
                doubtful &= ~self._constraint.vocabulary.words[space]
        for token in np.flatnonzero(doubtful).tolist():
            after = self._constraint.step(self._position, token)
            allowed[token] = not pieces[token] or self._fits(after, self.left - 1)
        if not lexer.is_complete(self._position):
            allowed[self._ends_with()] = True
        return Mask.of(allowed)

    def _leaves_room(self, token: int, after: Position) -> bool:
        """Whether the query can be ended after a token that goes on with it."""
        if self._constraint.is_sure(self._position, token):
            return self._leaves_room_within()
        return self._fits(after, self.left - 1)

    def _leaves_room_within(self) -> bool:
        """The same of any token within a text or a name of the answer's own choice."""
        if lexer.open_quote(self._position) is not None:
            return self._fits(self._position, self.left - 1)
        states = self._position.state, lexer.settle(self._position)
        after = (state.cost_after_fresh for state in states if state and state.takes_fresh)
        # A word that is taken, or a keyword, needs a letter more.
        return self.left > max(after, default=0) + 2 + _MARGIN

    def _ends_best(self, token: int) -> bool:
        """Whether it is the first one of the shortest end."""
        return not lexer.is_complete(self._position) and token == self._ends_with()

    def _ends_with(self) -> int:
        """The first token of `_completion`."""
        if self._planned_end:
            return self._completion()[0]
        parts = completion.parts(self._position, self._constraint.count)
        return next(token for part in parts for token in self._constraint.encoded(part))

    def _completion(self) -> list[int]:
        """The tokens of the shortest end that is found; one that was begun may be shorter."""
        parts = completion.parts(self._position, self._constraint.count)
        tokens = [token for part in parts for token in self._constraint.encoded(part)]
        planned = self._planned_end
        return planned if 0 < len(planned) <= len(tokens) else tokens


class Guides:
    """Starts the guides of a run's answers; the constraint of a schema is made when first needed.

    Args:
      vocabulary: of the model's tokenizer.
      schemas: by db_id.
      prefix: how every answer begins, where the prompt says it.
      keyed: whether tables are joined along their schema's keys only.

    Raises:
      InputError: a schema has no table with a column.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        schemas: Mapping[str, Schema],
        prefix: str = "",
        *,
        keyed: bool = False,
    ):
        for schema in schemas.values():
            identifiers.tables_of(schema)
        self._vocabulary = vocabulary
        self._schemas = schemas
        self._prefix = prefix
        self._keyed = keyed
        self._constraint = functools.lru_cache(_MAX_SCHEMAS)(self._make)

    def of(self, db_id: str) -> Callable[[int], Guide]:
        """What starts an answer over a schema, given the most tokens it may have."""
        return lambda max_new_tokens: Guide(self._constraint(db_id), max_new_tokens)

    def _make(self, db_id: str) -> SchemaConstraint:
        schema = self._schemas[db_id]
        return SchemaConstraint(self._vocabulary, schema, self._prefix, keyed=self._keyed)
