"""A tokenizer's pieces as bytes, and as the grammar engine wants them."""

import functools
import re
from collections.abc import Iterable
from typing import Any

import llguidance
import numpy as np
import sentencepiece

from t2sql.data.prompts import without_control

# Tokens inside a literal are most of the vocabulary: the engine takes them at a stroke.
# Long white space, an empty line, and control characters.
_NEVER = re.compile(rb"[ \t\n]{13}|\n[ \t]*\n|[\x00-\x08\x0b-\x1f\x7f]")
_WORD = rb"[A-Za-z_][A-Za-z0-9_]{,23}"
_SLICES = [r"[^'\"\x00-\x1F;\x7F]{1,30}"]


class Vocabulary:
    """The pieces of a SentencePiece model.

    Args:
      model: the serialised model.
      end_ids: tokens that end a text.

    Attributes:
      pieces: the bytes of each token; b"" for one that is no text.
      end_ids: tokens that end a text.
      unusual: those that nobody needs outside of literals; see `_find_unusual`.
    """

    def __init__(self, model: bytes, end_ids: Iterable[int]):
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.end_ids = tuple(sorted(end_ids))
        self.unusual = functools.cache(self._find_unusual)
        self._matching = functools.cache(self._find_matching)
        self.pieces = [self._bytes(token) for token in range(self._processor.vocab_size())]

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
        return {byte: np.array([byte in piece for piece in self.pieces]) for byte in b"'\"`]"}

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
        return np.any([self._matching(pattern) for pattern in patterns], axis=0)

    def _find_matching(self, pattern: bytes) -> np.ndarray:
        search = re.compile(pattern).search
        return np.array([search(piece) is not None for piece in self.pieces])

    @functools.cached_property
    def in_literals(self) -> np.ndarray:
        """Which tokens may stand in literals, [V] bool: no part of a character."""
        return np.array([_is_text(piece) for piece in self.pieces])

    @functools.cached_property
    def stems(self) -> list[bytes]:
        """The pieces without a space before them, in lower case."""
        return [piece.removeprefix(b" ").lower() for piece in self.pieces]

    @functools.cached_property
    def words(self) -> dict[bytes, np.ndarray]:
        """Which tokens are (the beginning of) a word after b"", and after b" ", [V] bool."""
        words = {space: re.compile(space + _WORD) for space in (b"", b" ")}
        return {
            space: np.array([word.fullmatch(piece) is not None for piece in self.pieces])
            for space, word in words.items()
        }

    @functools.cached_property
    def engine(self) -> llguidance.LLTokenizer:
        """The pieces for llguidance."""
        return llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(_Pieces(self)),
            n_vocab=self.size,
            eos_token=list(self.end_ids),
            slices=_SLICES,
        )

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


class _Pieces:
    """What llguidance asks of a tokenizer."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self.eos_token_id = vocabulary.end_ids[0]
        self.tokens = [
            piece or f"<special{token}>".encode() for token, piece in enumerate(vocabulary.pieces)
        ]
        self.special_token_ids = [
            token for token, piece in enumerate(vocabulary.pieces) if not piece
        ]

    def __call__(self, text: Any) -> list[int]:
        return self._vocabulary.encode(text if isinstance(text, bytes) else text.encode())
