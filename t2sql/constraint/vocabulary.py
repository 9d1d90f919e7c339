"""A tokenizer's pieces as bytes, and the sets and tries of them that masks are made from."""

import functools
import itertools
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import sentencepiece

from t2sql.constraint import lexer
from t2sql.constraint.token_trie import TokenTrie
from t2sql.data.prompts import without_control

# Long white space, an empty line, and control characters.
_NEVER = re.compile(rb"[ \t\n]{13}|\n[ \t]*\n|[\x00-\x08\x0b-\x1f\x7f]")
_WORD = rb"[A-Za-z_][A-Za-z0-9_]{,23}"
_QUOTES = b"'\"`]"
_ANY_QUOTE = re.compile(rb"['\"`\[]")


class Needless(NamedTuple):
    """A kind of tokens outside of literals: those that hold more white space than a space.

    Attributes:
      lone_space: or are a space.
      quotes: or open a quoted name.
      text: in brackets or backticks, and not in double quotes, which may be text.
    """

    lone_space: bool
    quotes: bool
    text: bool


class Vocabulary:
    """The pieces of a SentencePiece model.

    Args:
      model: the serialised model.
      end_ids: tokens that end a text.

    Attributes:
      pieces: the bytes of each token; b"" for one that is no text.
      end_ids: tokens that end a text.
      needless: which tokens are of that kind, [V] bool.
      is_ever_needless: which tokens are of one of these kinds, [V] bool.
      short_words: which of `words` after a space, or nothing, are of so many letters, [V] bool.
      in_text: which tokens go on with a text in such quotes and do not end it, [V] bool.
      with_quote: a trie of the tokens that may stand in text and hold its quote.
      with_marks: a trie of the tokens that are not only letters and digits and may stand outside
        of literals, without needless ones; those with other bytes than ASCII's, where no quote is
        among them, are a trie of their own: for names beyond ASCII.
    """

    def __init__(self, model: bytes, end_ids: Iterable[int]):
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.end_ids = tuple(sorted(end_ids))
        self.needless = functools.cache(self._find_needless)
        self.short_words = functools.lru_cache(maxsize=8)(self._find_short_words)
        self.in_text = functools.cache(self._find_in_text)
        self.with_quote = functools.cache(self._find_with_quote)
        self.with_marks = functools.cache(self._find_with_marks)
        self._matching = functools.cache(self._find_matching)
        self.pieces = [self._bytes(token) for token in range(self._processor.vocab_size())]
        # What a token or a mask may need is made now, so that none waits for it.
        for name in ("in_literals", "outside_literals", "_word_lengths", "folded"):
            getattr(self, name)
        for quote in _QUOTES:
            self.with_quote(quote)
            self.in_text(quote)
        variants = [Needless(*flags) for flags in itertools.product((False, True), repeat=3)]
        self.is_ever_needless = np.logical_or.reduce(list(map(self.needless, variants)))

    @property
    def size(self) -> int:
        return len(self.pieces)

    def encode(self, text: bytes) -> list[int]:
        """The tokens of a text, or of a part that begins or ends within a character."""
        if _is_text(text):
            return self._processor.encode(text.decode())
        return [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in text]

    @functools.cached_property
    def quotes(self) -> dict[int, np.ndarray]:
        """Which tokens hold each of the bytes that end quoted text, [V] bool."""
        return {byte: np.array([byte in piece for piece in self.pieces]) for byte in _QUOTES}

    @functools.cached_property
    def outside_literals(self) -> np.ndarray:
        """Which tokens may stand outside of literals at all, [V] bool."""
        return np.array([_NEVER.search(piece) is None for piece in self.pieces])

    def _find_needless(self, needless: Needless) -> np.ndarray:
        patterns = [rb"[\t\n]|  "]
        patterns += [rb"^ $"] * needless.lone_space
        patterns += [rb"[`\[]|\.\""] * needless.quotes
        patterns += [rb"^ ?\""] * (needless.quotes and not needless.text)
        return np.logical_or.reduce([self._matching(pattern) for pattern in patterns])

    def _find_matching(self, pattern: bytes) -> np.ndarray:
        search = re.compile(pattern).search
        return np.array([search(piece) is not None for piece in self.pieces])

    @functools.cached_property
    def in_literals(self) -> np.ndarray:
        """Which tokens may stand in literals, [V] bool: no part of a character."""
        return np.array([_is_text(piece) for piece in self.pieces])

    @functools.cached_property
    def folded(self) -> dict[bytes, tuple[int, ...]]:
        """The tokens of each piece in lower case."""
        folded: dict[bytes, tuple[int, ...]] = {}
        for token, piece in enumerate(self.pieces):
            if piece:
                key = piece.lower()
                folded[key] = (*folded.get(key, ()), token)
        return folded

    @functools.cached_property
    def words(self) -> dict[bytes, np.ndarray]:
        """Which tokens are (the beginning of) a word after b"", and after b" ", [V] bool."""
        words = {space: re.compile(space + _WORD) for space in (b"", b" ")}
        return {
            space: np.array([word.fullmatch(piece) is not None for piece in self.pieces])
            for space, word in words.items()
        }

    @functools.cached_property
    def _word_lengths(self) -> dict[bytes, np.ndarray]:
        lengths = np.array([len(piece) for piece in self.pieces])
        return {
            space: np.where(is_word, lengths - len(space), 255).astype(np.uint8)
            for space, is_word in self.words.items()
        }

    def _find_short_words(self, space: bytes, longest: int) -> np.ndarray:
        return self._word_lengths[space] <= longest

    def _find_in_text(self, quote: int) -> np.ndarray:
        return self._harmless & ~self.quotes[quote] & self.in_literals

    @functools.cached_property
    def _harmless(self) -> np.ndarray:
        allowed = frozenset(range(256)) - lexer.NOT_IN_QUOTES
        return np.array([bool(piece) and allowed.issuperset(piece) for piece in self.pieces])

    def _find_with_marks(self, needless: Needless | None, *, ascii: bool = True) -> TokenTrie:
        words = self.words[b""] | self.words[b" "]
        fitting = self.outside_literals & ~words
        if needless is not None:
            fitting &= ~self.needless(needless)
        fitting[list(self.end_ids)] = False
        tokens = ((self.pieces[token], token) for token in np.flatnonzero(fitting).tolist())
        return TokenTrie(
            (piece, token)
            for piece, token in tokens
            if piece and ascii == (piece.isascii() or _ANY_QUOTE.search(piece) is not None)
        )

    def _find_with_quote(self, quote: int) -> TokenTrie:
        tokens = np.flatnonzero(self.quotes[quote] & self.in_literals).tolist()
        return TokenTrie((self.pieces[token], token) for token in tokens)

    def _bytes(self, token: int) -> bytes:
        processor = self._processor
        piece = processor.id_to_piece(token)
        if processor.is_byte(token):
            return bytes((int(piece[3:5], 16),))
        if processor.is_control(token) or processor.is_unknown(token):
            return b""
        if token in self.end_ids or without_control(piece) != piece:
            return b""
        return piece.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True
