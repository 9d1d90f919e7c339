"""The tokens that may follow a position, and where each of them leads."""

import dataclasses
from collections.abc import Collection, Iterable

import numpy as np
from jaxtyping import Bool

from t2sql.constraint import lexer
from t2sql.constraint.canonical import CanonicalTokens
from t2sql.constraint.lexer import Position
from t2sql.constraint.vocabulary import Needless, Vocabulary


@dataclasses.dataclass(frozen=True)
class NextTokens:
    """Tokens that may follow a position.

    Attributes:
      after: the position after each token; None behind end tokens.
      free_text: besides those of `after`, the tokens that go on with a text or a name of the
        answer's own choice, where any of a hundred thousand does; None elsewhere.
    """

    after: dict[int, Position | None]
    free_text: Bool[np.ndarray, "V"] | None = None


class TokenFinder:
    """Finds them for the positions of one schema.

    Args:
      vocabulary: of the model's tokenizer.
      canonical: how the tokenizer writes the schema's names.
      is_ascii: whether all of these are ASCII.
    """

    def __init__(self, vocabulary: Vocabulary, canonical: CanonicalTokens, *, is_ascii: bool):
        self._vocabulary = vocabulary
        self._canonical = canonical
        self._is_ascii = is_ascii

    def canonical(self, position: Position) -> NextTokens:
        """The canonical tokens that may follow; all that may, where none of these does."""
        tokens = self._find(position, canonical=True)
        if tokens.after or tokens.free_text is not None:
            return tokens
        return self.all(position)

    def all(self, position: Position) -> NextTokens:
        """The tokens that may follow, the end tokens where the query is whole."""
        return self._find(position, canonical=False)

    def _find(self, position: Position, *, canonical: bool) -> NextTokens:
        after: dict[int, Position | None] = {}
        if lexer.is_complete(position):
            after |= dict.fromkeys(self._vocabulary.end_ids)
        if (quote := lexer.open_quote(position)) is not None:
            after |= self._vocabulary.with_quote(quote).walk(position)
            return NextTokens(after, self._vocabulary.in_text(quote))
        free_text = None
        for space in (b"", b" "):
            word = _word_after(position, space)
            if word is not None and word.state.takes_fresh:
                names = self._vocabulary.short_words(space, lexer.MAX_FRESH - len(word.part))
                if names.any():
                    free_text = names if free_text is None else free_text | names
            elif word is not None:
                # After a name of 12 letters or more, words are of any spelling: to write them as
                # after short ones would change answers of earlier versions.
                is_narrow = canonical and not (space and len(position.part) >= lexer.MAX_SPACE)
                after |= self._words(word, space, canonical=is_narrow)
        needless = self._canonical.needless(position) if canonical else None
        if lexer.name_quote(position) is not None:
            return NextTokens(after | self._quoted(position, needless), free_text)
        after |= self._vocabulary.with_marks(needless).walk(position)
        if not self._is_ascii:
            after |= self._vocabulary.with_marks(needless, ascii=False).walk(position)
        return NextTokens(after, free_text)

    def _words(self, word: Position, space: bytes, *, canonical: bool) -> dict[int, Position]:
        """The tokens after `space` that go on with a keyword or a name."""
        state, mode, part = word
        tokens: Collection[int] = ()
        if canonical:
            is_word = self._vocabulary.words[space]
            tokens = [token for token in self._canonical.words(word, space) if is_word[token]]
        if not tokens:
            rests = (name[len(part) :] for name in state.beginning("word", part))
            tokens = self._beginnings(rests, space)
        pieces = self._vocabulary.pieces
        return {
            token: Position(state, mode, part + pieces[token][len(space) :].lower())
            for token in tokens
        }

    def _quoted(self, position: Position, needless: Needless | None) -> dict[int, Position]:
        """The tokens that go on with a quoted name, or end it."""
        pieces = self._vocabulary.pieces
        after = {
            token: lexer.steps(position, pieces[token])
            for token in self._beginnings(lexer.quoted_rests(position), b"")
        }
        after |= self._vocabulary.with_quote(lexer.name_quote(position)).walk(position)
        may_stand = self._vocabulary.outside_literals
        if needless is not None:
            may_stand = may_stand & ~self._vocabulary.needless(needless)
        return {token: its for token, its in after.items() if may_stand[token]}

    def _beginnings(self, texts: Iterable[bytes], space: bytes) -> set[int]:
        """The tokens that some of `texts` begin with, after `space`."""
        beginnings = {text[:length] for text in texts for length in range(1, len(text) + 1)}
        folded = self._vocabulary.folded
        return {token for text in beginnings for token in folded.get(space + text, ())}


def _word_after(position: Position, space: bytes) -> Position | None:
    """Where a word goes on, or begins, after `space`: its letters so far."""
    apart = lexer.steps(position, space)
    if apart is None or lexer.is_long_enough(apart):
        return None
    word = lexer.word_at(apart)
    return None if word is None else Position(word[0], lexer.WORD, word[1])
