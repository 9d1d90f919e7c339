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

from t2sql.constraint import completion, identifiers, lexer
from t2sql.constraint.foreign_keys import Links
from t2sql.constraint.lexer import Position
from t2sql.constraint.masks import Mask
from t2sql.constraint.parser import Parser, ParserState
from t2sql.constraint.scope import EARLY_ALIASES, ScopeCheck
from t2sql.constraint.token_grammar import Engine
from t2sql.constraint.vocabulary import Vocabulary
from t2sql.data.schema import Schema

# Masks kept for a schema: some 2 kB each, 32 kB within quotes.
_MAX_MASKS = 4096


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
        self.start = lexer.steps(self.begin, self._prefix)
        if self.start is None:
            raise ValueError(f"no query begins with {prefix!r}")
        self._engine = Engine(
            vocabulary,
            identifiers.patterns({*known, *EARLY_ALIASES}, plain | frozenset(EARLY_ALIASES)),
            self._prefix,
        )
        self._masks: dict[Position, Mask] = {}
        self._usual_masks: dict[Position, Mask] = {}

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

    def _find_usual(self, state: ParserState) -> dict[tuple[bytes, bytes], set[int]]:
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

    def _wrong_words(
        self, words: Bool[np.ndarray, "V"], state: ParserState, part: bytes
    ) -> list[int]:
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


def _kept(masks: dict[Position, Mask], position: Position, make: Callable[[], Mask]) -> Mask:
    """The mask of a position, made if need be; those that were asked for last are kept."""
    mask = masks.pop(position, None) or make()
    masks[position] = mask
    if len(masks) > _MAX_MASKS:
        del masks[next(iter(masks))]
    return mask
