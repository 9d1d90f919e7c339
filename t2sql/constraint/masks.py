"""Sets of tokens: packed as the device wants them, small where they are few."""

import dataclasses
from collections.abc import Collection

import numpy as np
from jaxtyping import Bool, Int32, UInt32

_BITS = 32


@dataclasses.dataclass(frozen=True)
class Mask:
    """A set of tokens as the words of a bit mask that are not zero.

    Attributes:
      places: which words, ascending.
      words: their bits, the lowest for the first of 32 tokens.
    """

    places: Int32[np.ndarray, "n"]
    words: UInt32[np.ndarray, "n"]

    @classmethod
    def of(cls, allowed: Bool[np.ndarray, "V"]) -> "Mask":
        """The mask with the tokens that are True."""
        padded = np.pad(allowed, (0, -len(allowed) % _BITS))
        packed = np.packbits(padded, bitorder="little").view("<u4")
        places = np.flatnonzero(packed).astype(np.int32)
        return cls(places, packed[places])

    @classmethod
    def of_few(cls, tokens: Collection[int]) -> "Mask":
        """The mask with these tokens, far quicker where they are few."""
        ids = np.fromiter(tokens, np.int64, len(tokens))
        places, word = np.unique(ids // _BITS, return_inverse=True)
        words = np.zeros(len(places), "<u4")
        np.bitwise_or.at(words, word, np.uint32(1) << (ids % _BITS).astype(np.uint32))
        return cls(places.astype(np.int32), words)

    def __contains__(self, token: int) -> bool:
        place = np.searchsorted(self.places, token // _BITS)
        if place == len(self.places) or self.places[place] != token // _BITS:
            return False
        return bool(self.words[place] >> np.uint32(token % _BITS) & 1)

    def unpacked(self, size: int) -> Bool[np.ndarray, "V"]:
        """Whether each of `size` tokens is in the mask."""
        packed = np.zeros(-(-size // _BITS), "<u4")
        self.write(packed)
        return np.unpackbits(packed.view(np.uint8), bitorder="little")[:size].astype(bool)

    def write(self, packed: UInt32[np.ndarray, "W"]) -> None:
        """Writes the whole mask into `packed`."""
        packed.fill(0)
        packed[self.places] = self.words
