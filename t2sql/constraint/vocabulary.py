"""A tokenizer's pieces as bytes, and the sets and tries of them that masks are made from."""

import functools
import itertools
import re
from collections.abc import Callable, Iterable

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


class Vocabulary:
    """The pieces of a SentencePiece model.

    Args:
      model: the serialised model.
      end_ids: tokens that end a text.

    Attributes:
      pieces: the bytes of each token; b"" for one that is no text.
      end_ids: tokens that end a text.
      unusual: those that nobody needs outside of literals; see `_find_unusual`.
      with_quote: those that hold a quote, as a trie.
      marked: which tokens are ever one of `unusual`, [V] bool.
    """

    def __init__(self, model: bytes, end_ids: Iterable[int]):
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.end_ids = tuple(sorted(end_ids))
        self.unusual = functools.cache(self._find_unusual)
        self.with_quote = functools.cache(self._find_with_quote)
        self._matching = functools.cache(self._find_matching)
        self.pieces = [self._bytes(token) for token in range(self._processor.vocab_size())]
        # What a token or a mask may need is made now, so that none waits for it.
        for name in ("in_literals", "outside_literals", "word_lengths", "folded", "with_marks"):
            getattr(self, name)
        for quote in _QUOTES:
            self.with_quote(quote)
        variants = itertools.product((False, True), repeat=3)
        unusual = [
            self.unusual(lone_space=lone, quotes=quotes, text=text)
            for lone, quotes, text in variants
        ]
        self.marked = np.logical_or.reduce(unusual)

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

    def _find_unusual(self, *, lone_space: bool, quotes: bool, text: bool) -> np.ndarray:
        """Which tokens nobody needs outside of literals, [V] bool.

        They hold more white space than a space.

        Args:
          lone_space: or are a space.
          quotes: or open a quoted name.
          text: in brackets or backticks, and not in double quotes, which may be text.
        """
        patterns = [rb"[\t\n]|  "]
        patterns += [rb"^ $"] * lone_space
        patterns += [rb"[`\[]|\.\""] * quotes
        patterns += [rb"^ ?\""] * (quotes and not text)
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
    def word_lengths(self) -> dict[bytes, np.ndarray]:
        """How long the word of each of `words` is, without its space, [V]; of others 255."""
        lengths = np.array([len(piece) for piece in self.pieces])
        return {
            space: np.where(is_word, lengths - len(space), 255).astype(np.uint8)
            for space, is_word in self.words.items()
        }

    def in_text(self, quote: int) -> np.ndarray:
        """Which tokens go on with a text in such quotes and do not end it, [V] bool; a copy."""
        return self._harmless & ~self.quotes[quote]

    @functools.cached_property
    def _harmless(self) -> np.ndarray:
        allowed = frozenset(range(256)) - lexer.NOT_IN_QUOTES
        return np.array([bool(piece) and allowed.issuperset(piece) for piece in self.pieces])

    @functools.cached_property
    def with_marks(self) -> TokenTrie:
        """The tokens that are not only letters and digits, and ASCII where no quote is."""
        return self._trie(lambda piece: piece.isascii() or _ANY_QUOTE.search(piece) is not None)

    @functools.cached_property
    def with_marks_beyond_ascii(self) -> TokenTrie:
        """The others that are not only letters and digits: for names beyond ASCII."""
        return self._trie(lambda piece: not piece.isascii() and _ANY_QUOTE.search(piece) is None)

    def _trie(self, holds: Callable[[bytes], bool]) -> TokenTrie:
        words = self.words[b""] | self.words[b" "]
        return TokenTrie(
            (piece, token)
            for token, piece in enumerate(self.pieces)
            if piece and not words[token] and holds(piece)
        )

    def _find_with_quote(self, quote: int) -> TokenTrie:
        """The tokens that hold a quote."""
        tokens = np.flatnonzero(self.quotes[quote]).tolist()
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
