"""Which tokens keep an answer a SQLite SELECT over a schema.

`lexer`, `parser` and `scope` say, byte by byte, whether a query goes on: they refuse a column
whose table is not, and can no longer be, in FROM, and all else that SQLite would refuse. Here
that is asked of tokens: of one, or, for a mask, of the whole vocabulary. What a position and
a token lead to, and a position's masks, are kept for all answers over the schema.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool

from t2sql.constraint import identifiers, lexer
from t2sql.constraint.foreign_keys import Links
from t2sql.constraint.lexer import Position
from t2sql.constraint.masks import Mask
from t2sql.constraint.parser import Parser, ParserState
from t2sql.constraint.scope import ScopeCheck
from t2sql.constraint.vocabulary import Vocabulary
from t2sql.data.schema import Schema

# Kept for a schema: masks, of some 2 kB, or 64 kB within quotes; steps, of 0.3 kB; and states,
# of 2 to 3 kB with their names. Fifty answers of dev have about 600 states.
_MAX_MASKS = 64
_MAX_STEPS = 20_000
_MAX_STATES = 3_000


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
      begin: the position before the prefix.
      start: the position where an answer begins, behind the prefix.
      encoded: the tokens of a text.

    Raises:
      InputError: the schema has no table with a column.
    """

    def __init__(
        self, vocabulary: Vocabulary, schema: Schema, prefix: str = "", *, keyed: bool = False
    ):
        tables = identifiers.tables_of(schema)
        names = frozenset(tables).union(*tables.values())
        plain = identifiers.plain_names(names)
        self.vocabulary = vocabulary
        self.encoded = functools.cache(vocabulary.encode)
        self.db_id = schema.db_id
        self.keyed = keyed
        self._spellings = identifiers.spellings(schema)
        self._needs_quotes = bool(names - plain)
        self._is_ascii = all(name.isascii() for name in names)
        links = Links(tables, identifiers.keys_of(schema)) if keyed else None
        self._parser = Parser(ScopeCheck(tables, links), plain, self.count)
        self.begin = Position(self._parser.start, lexer.GAP, b"")
        self.start = lexer.steps(self.begin, prefix.encode())
        if self.start is None:
            raise ValueError(f"no query begins with {prefix!r}")
        self._cuts = functools.cache(self._find_cuts)
        for name in names:
            self._cuts(name)  # now, so that no mask waits for all of them
        self._steps: dict[tuple[Position, int], Position | None] = {}
        self._masks: dict[Position, Mask] = {}
        self._usual_masks: dict[Position, Mask] = {}

    def count(self, text: bytes) -> int:
        """How many tokens a text takes."""
        return len(self.encoded(text))

    def step(self, position: Position, token: int) -> Position | None:
        """The position after a token; None where it is no text or does not go on with a query."""
        key = (position, token)
        try:
            return self._steps[key]
        except KeyError:
            if len(self._steps) >= _MAX_STEPS or len(self._parser) >= _MAX_STATES:
                self._forget()
            after = self._steps[key] = self._find_step(position, token)
            return after

    def _forget(self) -> None:
        for kept in (self._steps, self._masks, self._usual_masks):
            kept.clear()
        self._parser.forget()

    def _find_step(self, position: Position, token: int) -> Position | None:
        vocabulary = self.vocabulary
        literal = lexer.open_quote(position) is not None
        if not (vocabulary.in_literals if literal else vocabulary.outside_literals)[token]:
            return None
        if lexer.is_long_enough(position) and vocabulary.words[b""][token]:
            return None
        piece = vocabulary.pieces[token]
        if vocabulary.words[b""][token]:
            return lexer.add_word(position, piece.lower())
        if vocabulary.words[b" "][token]:
            apart = lexer.step(position, ord(" "))
            return None if apart is None else lexer.add_word(apart, piece[1:].lower())
        return lexer.steps(position, piece) if piece else None

    def mask(self, position: Position) -> Mask:
        """The tokens that may follow, the end tokens among them where the query is whole."""
        return _kept(self._masks, position, lambda: Mask.of(self._allowed(position)))

    def usual_mask(self, position: Position) -> Mask:
        """Of `mask`, keywords and names only as the tokenizer cuts them, spelt as usual.

        Quotes are for names that need them, and a space is one space. A model knows a name
        as these tokens. Made to spell it by others ("S", "InGer_ID" for "Singer_ID"), it is
        soon lost. Where no name goes on so, nothing is taken out.
        """

        def narrow() -> Mask:
            allowed = self._allowed(position)
            for state, part, space in lexer.word_states(position):
                words = allowed & self.vocabulary.words[space]
                usual = self._usual(state, part, space)
                usual = [token for token in usual if words[token]]
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
        if token in self.vocabulary.end_ids or lexer.open_quote(position) is not None:
            return True
        if self.vocabulary.marked[token] and self._unusual_marks(position)[token]:
            return False
        state, mode, part = self.step(position, token)
        if mode != lexer.WORD or state.takes_fresh or state.may_be("word", part):
            return True
        key = (part, b"")
        return any(
            key in self._cuts(word) and state.may_be("word", word)
            for word in state.candidates("word", part)
        )

    def _unusual_marks(self, position: Position) -> Bool[np.ndarray, "V"]:
        """Tokens with needless quotes or white space."""
        state = lexer.settle(position)
        # The tokenizer sets a space apart before a number only.
        lone = state is not None and not (state.may_be("<number>") or state.may_be("<integer>"))
        text = state is None or state.may_be("<text>")
        return self.vocabulary.unusual(lone_space=lone, quotes=not self._needs_quotes, text=text)

    def _usual(self, state: ParserState, part: bytes, space: bytes) -> set[int]:
        """The tokens that words are cut into which may follow: those that come after `part`."""
        key = (part, space)
        return set().union(
            *(self._cuts(word).get(key, ()) for word in state.beginning("word", part))
        )

    def _find_cuts(self, word: bytes) -> dict[tuple[bytes, bytes], set[int]]:
        """The tokens that a word is cut into.

        Returns:
          By the beginning of the word, folded, and what comes before it: b" " or nothing.
        """
        cuts: dict[tuple[bytes, bytes], set[int]] = {}
        for spelling in self._spellings.get(word, (word.upper(), word)):
            for space in (b"", b" "):
                begun = 0
                for token in self.encoded(space + spelling):
                    key = spelling[:begun].lower(), b"" if begun else space
                    cuts.setdefault(key, set()).add(token)
                    begun += len(self.vocabulary.pieces[token]) - (0 if begun else len(space))
        return cuts

    def _allowed(self, position: Position) -> Bool[np.ndarray, "V"]:
        """Whether each token may follow."""
        vocabulary = self.vocabulary
        if (quote := lexer.open_quote(position)) is not None:
            allowed = vocabulary.in_text(quote)
            allowed[vocabulary.with_quote(quote).walk(position)] = True
            allowed &= vocabulary.in_literals
        else:
            allowed = np.zeros(vocabulary.size, bool)
            for space in (b"", b" "):
                self._add_words(allowed, position, space)
            if (quote := lexer.name_quote(position)) is not None:
                self._add_quoted(allowed, position)
                allowed[vocabulary.with_quote(quote).walk(position)] = True
            else:
                allowed[vocabulary.with_marks.walk(position)] = True
                if not self._is_ascii:
                    allowed[vocabulary.with_marks_beyond_ascii.walk(position)] = True
            allowed &= vocabulary.outside_literals
            if lexer.is_long_enough(position):
                allowed &= ~vocabulary.words[b""]
        allowed[list(vocabulary.end_ids)] = lexer.is_complete(position)
        return allowed

    def _add_words(self, allowed: Bool[np.ndarray, "V"], position: Position, space: bytes) -> None:
        """Adds the tokens that are a word, or a part of one, after `space`."""
        begun = lexer.steps(position, space)
        word = None if begun is None else lexer.word_at(begun)
        if word is None:
            return
        state, part = word
        if state.takes_fresh:
            fits = self.vocabulary.word_lengths[space] <= lexer.MAX_FRESH - len(part)
            allowed |= fits
        rests = (known[len(part) :] for known in state.beginning("word", part))
        self._add_beginnings(allowed, rests, space)

    def _add_quoted(self, allowed: Bool[np.ndarray, "V"], position: Position) -> None:
        """Adds the tokens that go on with a quoted name and do not end it."""
        self._add_beginnings(allowed, lexer.quoted_rests(position), b"")

    def _add_beginnings(
        self, allowed: Bool[np.ndarray, "V"], texts: Iterator[bytes], space: bytes
    ) -> None:
        folded = self.vocabulary.folded
        beginnings = {text[:length] for text in texts for length in range(1, len(text) + 1)}
        tokens = [token for text in beginnings for token in folded.get(space + text, ())]
        allowed[tokens] = True

    def sure(self, position: Position) -> Bool[np.ndarray, "V"]:
        """Tokens that leave as much room as the position itself: within a text or a free name."""
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


def _kept(masks: dict[Position, Mask], position: Position, make: Callable[[], Mask]) -> Mask:
    """The mask of a position, made if need be; those that were asked for last are kept."""
    mask = masks.pop(position, None) or make()
    masks[position] = mask
    if len(masks) > _MAX_MASKS:
        del masks[next(iter(masks))]
    return mask
