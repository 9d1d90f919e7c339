"""How the tokenizer itself writes a query: the tokens that a model has seen names cut into.

Made to spell a name by other tokens ("S", "InGer_ID" for "Singer_ID"), a model is soon lost.
"""

import functools
import itertools
from collections.abc import Callable, Collection

from t2sql.constraint import lexer
from t2sql.constraint.from_clause import Name
from t2sql.constraint.lexer import Position
from t2sql.constraint.vocabulary import Needless, Vocabulary


class CanonicalTokens:
    """Keywords and names spelt as usual and cut as the tokenizer cuts them.

    Quotes are for names that need them, and a space is one space.

    Args:
      vocabulary: of the model's tokenizer.
      encode: the tokens of a text.
      spellings: how the schema writes its names, by the folded name.
      needs_quotes: whether one of these names can only be written in quotes.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        encode: Callable[[bytes], list[int]],
        spellings: dict[Name, Collection[bytes]],
        *,
        needs_quotes: bool,
    ):
        self._vocabulary = vocabulary
        self._encode = encode
        self._spellings = spellings
        self._needs_quotes = needs_quotes
        self._cuts = functools.cache(self._find_cuts)
        # Made now, so that no mask waits for all of them.
        for name in spellings:
            self._cuts(name)
        for lone_space, text in itertools.product((False, True), repeat=2):
            vocabulary.with_marks(Needless(lone_space, not needs_quotes, text))

    def may_hold(self, position: Position, token: int, after: Position) -> bool:
        """Whether a token is canonical, as far as that is quickly seen.

        Args:
          position: before the token.
          token: goes on with the query.
          after: the position after it.
        """
        if lexer.open_quote(position) is not None:
            return True
        if self._vocabulary.is_ever_needless[token] and self._is_needless(position, token):
            return False
        state, mode, part = after
        if mode != lexer.WORD or state.takes_fresh or state.may_be("word", part):
            return True
        key = (part, b"")
        return any(
            key in self._cuts(word) and state.may_be("word", word)
            for word in state.candidates("word", part)
        )

    def _is_needless(self, position: Position, token: int) -> bool:
        return self._vocabulary.needless(self.needless(position))[token]

    def needless(self, position: Position) -> Needless:
        """Which tokens with quotes or white space nobody needs there, outside of literals."""
        state = lexer.settle(position)
        # The tokenizer sets a space apart before a number only.
        lone = state is not None and not (state.may_be("<number>") or state.may_be("<integer>"))
        text = state is None or state.may_be("<text>")
        return Needless(lone_space=lone, quotes=not self._needs_quotes, text=text)

    def words(self, word: Position, space: bytes) -> set[int]:
        """The tokens that come next, after `space`, of the words which may follow.

        Args:
          word: what has come of the word.
          space: b" " or nothing.
        """
        key = (word.part, space)
        return set().union(
            *(self._cuts(name).get(key, ()) for name in word.state.beginning("word", word.part))
        )

    def _find_cuts(self, word: Name) -> dict[tuple[bytes, bytes], set[int]]:
        """The tokens that a word is cut into.

        Returns:
          By the part of the word before them, folded, and what stands before that: b" " or b"".
        """
        cuts: dict[tuple[bytes, bytes], set[int]] = {}
        for spelling in self._spellings.get(word, (word.upper(), word)):
            for space in (b"", b" "):
                length = 0
                for token in self._encode(space + spelling):
                    key = spelling[:length].lower(), b"" if length else space
                    cuts.setdefault(key, set()).add(token)
                    length += len(self._vocabulary.pieces[token]) - (0 if length else len(space))
        return cuts
