"""Guides that are simpler than a schema's."""

import zlib

import numpy as np

from t2sql import constraint
from t2sql.model import dummy


class InProcess:
    """Checks tokens by `advance` and `accept`."""

    def check(self, tokens, *, redrawn):
        if redrawn and tokens:
            self.advance(tokens[0])
            accepted = 1 + self.accept(tokens[1:])
        else:
            accepted = self.accept(tokens)
        return lambda: accepted


class Everything(InProcess):
    """Allows every token."""

    def allows(self, token):
        return True

    def copy(self):
        return self

    def accept(self, tokens):
        return len(tokens)


class Single(InProcess):
    """Allows one letter, again and again."""

    def __init__(self, letter: str, tokenizer):
        (self._token,) = tokenizer.encode(letter)

    def allows(self, token):
        return token == self._token

    def copy(self):
        return self

    def accept(self, tokens):
        return next((n for n, token in enumerate(tokens) if token != self._token), len(tokens))

    def allowed(self):
        return constraint.Mask.of(np.arange(dummy.VOCAB_SIZE) == self._token)

    def advance(self, token):
        assert token == self._token


class Arbitrary(InProcess):
    """Allows tokens by a hash of the answer so far: a tenth of them is refused, or `share`.

    Attributes:
      tokens: the answer so far.
    """

    def __init__(self, share: float = 0.1):
        self.tokens: list[int] = []
        self._share = share

    def allows(self, token):
        return self.mask()[token]

    def copy(self):
        other = Arbitrary(self._share)
        other.tokens = self.tokens.copy()
        return other

    def mask(self) -> np.ndarray:
        """Whether each token of the vocabulary may come next."""
        seed = zlib.crc32(np.array(self.tokens, np.int64).tobytes())
        return np.random.default_rng(seed).random(dummy.VOCAB_SIZE) >= self._share

    def accept(self, tokens):
        for count, token in enumerate(tokens):
            if not self.allows(token):
                return count
            self.tokens.append(token)
        return len(tokens)

    def allowed(self):
        return constraint.Mask.of(self.mask())

    def advance(self, token):
        assert self.allows(token)
        self.tokens.append(token)
