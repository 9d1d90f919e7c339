"""Which tokens keep an answer a SQLite SELECT over a schema.

Two layers. llguidance holds the grammar with the schema's names and gives the tokens that
may follow a text, out of the whole vocabulary. `lexer`, `parser` and `scope` know what the
names mean: they take out the tokens whose table is not, and can no longer be, in FROM, and
all else that SQLite would refuse. A mask depends only on where a query stands, so rows of
a schema share masks.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from t2sql import errors
from t2sql.constraint import completion, identifiers, lexer
from t2sql.constraint.foreign_keys import Links
from t2sql.constraint.lexer import Position
from t2sql.constraint.masks import Mask
from t2sql.constraint.parser import Parser, State
from t2sql.constraint.scope import EARLY_ALIASES, ScopeCheck
from t2sql.constraint.token_grammar import Engine
from t2sql.constraint.vocabulary import Vocabulary
from t2sql.data.schema import Schema

# Masks kept for a schema: some 2 kB each, 32 kB within quotes.
_MAX_MASKS = 4096
# What `completion.bound` may be short of, in tokens.
_MARGIN = 4


class SchemaConstraint:
    """The queries over one schema, token by token. Build it once a schema, and share it.

    Args:
      vocabulary: of the model's tokenizer.
      schema: tables and columns.
      prefix: how every answer begins, where the prompt says it: "SELECT" or nothing.
      keyed: whether tables are joined along the schema's keys only.

    Attributes:
      vocabulary: of the model's tokenizer.
      db_id: the schema's.
      keyed: whether tables are joined along the schema's keys only.
      begin: where an answer stands before its prefix.
      encoded: the tokens of a text.
      bound: how many tokens it takes to end the query from a position, about, at most.

    Raises:
      InputError: the schema has no table with a column.
    """

    def __init__(
        self, vocabulary: Vocabulary, schema: Schema, prefix: str = "", *, keyed: bool = False
    ):
        tables = identifiers.tables_of(schema)
        self._spellings = identifiers.spellings(schema)
        columns = sorted({column for columns in tables.values() for column in columns})
        known = {*tables, *columns}
        plain = identifiers.plain_names(known)
        self.vocabulary = vocabulary
        self.encoded = functools.cache(vocabulary.encode)
        self.bound = functools.cache(lambda position: completion.bound(position, self.count))
        self._usual = functools.cache(self._find_usual)
        self.db_id = schema.db_id
        self.keyed = keyed
        self._needs_quotes = bool(known - plain)
        links = Links(tables, identifiers.keys_of(schema)) if keyed else None
        self._parser = Parser(ScopeCheck(tables, links), plain, self.count)
        self._prefix = prefix.encode()
        self.begin = Position(self._parser.start, lexer.GAP, b"")
        self._start = lexer.steps(self.begin, self._prefix)
        if self._start is None:
            raise ValueError(f"no query begins with {prefix!r}")
        self._engine = Engine(
            vocabulary,
            identifiers.patterns({*known, *EARLY_ALIASES}, plain | frozenset(EARLY_ALIASES)),
            self._prefix,
        )
        self._masks: dict[Position, Mask] = {}
        self._usual_masks: dict[Position, Mask] = {}

    def start(self, max_new_tokens: int) -> "RowState":
        """A new answer of at most so many tokens, the end token included.

        Raises:
          InputError: no query is that short.
        """
        return RowState(self, self._start, max_new_tokens)

    def mask(self, position: Position, tokens: Sequence[int]) -> Mask:
        """The tokens that may follow, the end tokens among them where the query is whole.

        Args:
          position: where the answer stands.
          tokens: the answer's tokens, for the engine.
        """
        return _kept(self._masks, position, lambda: Mask.of(self._allowed(position, tokens)))

    def usual_mask(self, position: Position, tokens: Sequence[int]) -> Mask:
        """Of `mask`, keywords and names only as the tokenizer cuts them, spelt as usual.

        Quotes are for names that need them, and a space is one space. A model knows a name
        as these tokens. Made to spell it by others ("S", "InGer_ID" for "Singer_ID"), it is
        soon lost. Where no name goes on so, nothing is taken out.
        """

        def narrow() -> Mask:
            allowed = self.mask(position, tokens).unpacked(self.vocabulary.size)
            for state, part, space in lexer.word_states(position):
                words = allowed & self.vocabulary.words[space]
                usual = [each for each in self._usual(state).get((part, space), ()) if words[each]]
                if usual:
                    allowed &= ~words
                    allowed[usual] = True
            if lexer.open_quote(position) is None:
                usual = allowed & ~self._unusual_marks(position)
                allowed = usual if usual.any() else allowed
            return Mask.of(allowed)

        return _kept(self._usual_masks, position, narrow)

    def is_usual(self, position: Position, token: int) -> bool:
        """Whether a token that may follow is one of `usual_mask`; quicker, and not as strict."""
        if lexer.open_quote(position) is not None or token in self.vocabulary.end_ids:
            return True
        if self._unusual_marks(position)[token]:
            return False
        state, mode, part = lexer.steps(position, self.vocabulary.pieces[token])
        begun = mode == lexer.WORD and not state.takes_fresh and part not in state.words
        return not begun or (part, b"") in self._usual(state)

    def _unusual_marks(self, position: Position) -> Bool[np.ndarray, "V"]:
        """Tokens with needless quotes or white space."""
        state = lexer.settle(position)
        # The tokenizer sets a space apart before a number only.
        lone = state is not None and not state.classes.keys() & {"<number>", "<integer>"}
        text = state is None or "<text>" in state.classes
        return self.vocabulary.unusual(lone_space=lone, quotes=not self._needs_quotes, text=text)

    def _find_usual(self, state: State) -> dict[tuple[bytes, bytes], set[int]]:
        """The tokens that the words of a state are cut into.

        Returns:
          By the beginning of the word, folded, and what comes before it: b" " or nothing.
        """
        found: dict[tuple[bytes, bytes], set[int]] = {}
        for word in state.words:
            for spelling in self._spellings.get(word, (word.upper(), word)):
                for space in (b"", b" "):
                    self._add_tokens(found, spelling, space)
        return found

    def _add_tokens(self, found, spelling: bytes, space: bytes) -> None:
        begun = 0
        for token in self.encoded(space + spelling):
            key = spelling[:begun].lower(), b"" if begun else space
            found.setdefault(key, set()).add(token)
            begun += len(self.vocabulary.pieces[token]) - (0 if begun else len(space))

    def _allowed(self, position: Position, tokens: Sequence[int]) -> Bool[np.ndarray, "V"]:
        allowed = self._engine.allowed(tokens)
        if lexer.is_long_enough(position):
            allowed &= ~self.vocabulary.words[b""]
        literal = lexer.open_quote(position) is not None
        allowed &= self.vocabulary.in_literals if literal else self.vocabulary.outside_literals
        doubtful = allowed & ~self.sure(position)
        for state, part, space in lexer.word_states(position):
            words = doubtful & self.vocabulary.words[space]
            doubtful &= ~words
            allowed[self._wrong_words(words, state, part)] = False
        pieces = self.vocabulary.pieces
        allowed[
            [
                token
                for token in np.flatnonzero(doubtful).tolist()
                if lexer.steps(position, pieces[token]) is None
            ]
        ] = False
        allowed[list(self.vocabulary.end_ids)] = lexer.is_complete(position)
        return allowed

    def _wrong_words(self, words: Bool[np.ndarray, "V"], state: State, part: bytes) -> list[int]:
        """Those of `words` that begin, after `part`, no word that may follow."""
        stems, known = self.vocabulary.stems, state.word_prefixes
        return [
            token for token in np.flatnonzero(words).tolist() if part + stems[token] not in known
        ]

    def count(self, text: bytes) -> int:
        """How many tokens a text takes."""
        return len(self.encoded(text))

    def sure(self, position: Position) -> Bool[np.ndarray, "V"]:
        """Tokens that need no closer look: most of the vocabulary, where a text is free."""
        if (quote := lexer.open_quote(position)) is not None:
            return ~self.vocabulary.quotes[quote]
        sure = np.zeros(self.vocabulary.size, bool)
        if lexer.takes_any_word(position):
            sure |= self.vocabulary.words[b""]
        if lexer.takes_any_word_after_space(position):
            sure |= self.vocabulary.words[b" "]
        return sure

    def is_sure(self, position: Position, token: int) -> bool:
        """Whether a token is one of `sure`."""
        if (quote := lexer.open_quote(position)) is not None:
            return not self.vocabulary.quotes[quote][token]
        words = self.vocabulary.words
        if lexer.takes_any_word(position) and words[b""][token]:
            return True
        return bool(lexer.takes_any_word_after_space(position) and words[b" "][token])


class RowState:
    """How far one answer has come.

    Attributes:
      left: how many tokens may still come, the end token included.
      ended: whether the end token has come.
    """

    def __init__(self, constraint: SchemaConstraint, position: Position, max_new_tokens: int):
        self.left = max_new_tokens
        self.ended = False
        self._constraint = constraint
        self._position = position
        self._tokens: list[int] = []
        self._planned_end: list[int] = []  # of the query, once it has been begun for want of room
        if self._need(position) > self.left and len(self._completion()) + 1 > self.left:
            raise errors.InputError(
                f"--config.sampling.max_new_tokens={max_new_tokens} is too little for any query "
                f"over {constraint.db_id!r} (--config.sampling.constrain)"
            )

    def allows(self, token: int) -> bool:
        """Whether the token that the answer would have stands. Far quicker than `allowed`.

        It has to go on with a query. Where joins follow keys, which may change an answer
        anyway, it has to be as usual as well: a first letter of a name that is out of place
        ("T" for "T2") would have to become another's ("TReatments").
        """
        if not self.goes_on(token):
            return False
        return not self._constraint.keyed or self._constraint.is_usual(self._position, token)

    def goes_on(self, token: int) -> bool:
        """Whether a token may come next, and the query can still be ended after it."""
        vocabulary, position = self._constraint.vocabulary, self._position
        if token in vocabulary.end_ids:
            return lexer.is_complete(position)
        literal = lexer.open_quote(position) is not None
        fits = (vocabulary.in_literals if literal else vocabulary.outside_literals)[token]
        if lexer.is_long_enough(position):
            fits = fits and not vocabulary.words[b""][token]
        piece = vocabulary.pieces[token]
        after = lexer.steps(position, piece) if piece and fits else None
        if after is None:
            return False
        return self._is_roomy() or self._leaves_room(token, after) or self._ends_best(token)

    def allowed(self) -> Mask:
        """The tokens to choose from where an answer cannot have the one it would have.

        After each of them the query can still be ended.
        """
        mask = self._constraint.usual_mask(self._position, self._tokens)
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
        piece = vocabulary.pieces[token]
        position = lexer.steps(self._position, piece) if piece else None
        if position is None:
            raise ValueError(f"token {token} ({piece!r}) does not go on with a query here")
        begun = self._planned_end[:1] == [token]
        if not begun and not self._is_roomy() and not self._leaves_room(token, position):
            self._planned_end = self._completion()
            begun = self._planned_end[:1] == [token]
        self._planned_end = self._planned_end[1:] if begun else []
        self.left -= 1
        self._tokens.append(int(token))
        self._position = position

    def _is_roomy(self) -> bool:
        """Whether any token that goes on with the query leaves room for an end."""
        state = self._position.state
        # The lexeme at hand and the next token.
        return self.left > state.cost + 2 * state.growth + 1

    def _need(self, position: Position) -> int:
        """Tokens to end the query from here, the end token included."""
        return self._constraint.bound(position) + 1 + _MARGIN

    def _narrowed(self, mask: Mask) -> Mask:
        """The tokens that leave room for an end, and the first one of the shortest end."""
        pieces = self._constraint.vocabulary.pieces
        allowed = mask.unpacked(len(pieces))
        within = allowed & self._constraint.sure(self._position)
        if not self._leaves_room_within():
            allowed &= ~within
        for token in np.flatnonzero(allowed & ~within):
            after = lexer.steps(self._position, pieces[token])
            allowed[token] = not pieces[token] or self._need(after) < self.left
        if not lexer.is_complete(self._position):
            allowed[self._completion()[0]] = True
        return Mask.of(allowed)

    def _leaves_room(self, token: int, after: Position) -> bool:
        """Whether the query can be ended after a token that goes on with it."""
        if self._constraint.is_sure(self._position, token):
            return self._leaves_room_within()
        return self._need(after) < self.left

    def _leaves_room_within(self) -> bool:
        """The same of any token within a text or a name of the answer's own choice."""
        if lexer.open_quote(self._position) is not None:
            return self.left > self._need(self._position)
        states = self._position.state, lexer.settle(self._position)
        after = (each.cost_after_fresh for each in states if each and each.takes_fresh)
        # A word that is taken, or a keyword, needs a letter more.
        return self.left > max(after, default=0) + 2 + _MARGIN

    def _ends_best(self, token: int) -> bool:
        """Whether it is the first one of the shortest end."""
        return not lexer.is_complete(self._position) and token == self._completion()[0]

    def _completion(self) -> list[int]:
        """The tokens of the shortest end that is found; one that was begun may be shorter."""
        parts = completion.parts(self._position, self._constraint.count)
        found = [token for part in parts for token in self._constraint.encoded(part)]
        planned = self._planned_end
        return planned if 0 < len(planned) <= len(found) else found


def _kept(masks: dict[Position, Mask], position: Position, make: Callable[[], Mask]) -> Mask:
    """The mask of a position, made if need be; those that were asked for last are kept."""
    mask = masks.pop(position, None) or make()
    masks[position] = mask
    if len(masks) > _MAX_MASKS:
        del masks[next(iter(masks))]
    return mask
