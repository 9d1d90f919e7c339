"""Where an answer ends: at an end token, or at a configured stop string.

The end and forbidden ids are those of `gm.text.Sampler` (gemma 4.0.1): `<eos>`,
`<end_of_turn>` and the begin-of-tool-response id end a text; the two image tokens
are never chosen.
"""

import dataclasses
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from t2sql.runtime import statuses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
    """One answer.

    Attributes:
      text: up to, and without, the end token or stop string.
      tokens: the sampled ids up to and with the one that ended the text.
      status: one of `statuses.STATUSES`.
      logprobs: of the tokens, by the model's own distribution; empty where they are not scored.
      masked_logprobs: the same by what the constraint allows of it; empty without one.
      others: further answers to the prompt.
    """

    text: str
    tokens: tuple[int, ...]
    status: str
    logprobs: tuple[float, ...] = ()
    masked_logprobs: tuple[float, ...] = ()
    others: "tuple[Generation, ...]" = ()

    @property
    def token_count(self) -> int:
        """Tokens of all answers to the prompt."""
        return len(self.tokens) + sum(len(other.tokens) for other in self.others)


# The answer to a prompt that is longer than any that is answered.
TOO_LONG = Generation(text="", tokens=(), status=statuses.PROMPT_TOO_LONG)


class Stops:
    """The end ids and stop strings of a run, for one tokenizer.

    Args:
      tokenizer: gemma's tokenizer.
      strings: stop strings; the first to appear ends a text.
    """

    def __init__(self, tokenizer: Any, strings: Sequence[str] = ()):
        special = tokenizer.special_tokens
        self.tokenizer = tokenizer
        self.strings = tuple(strings)
        self.end_ids = frozenset(
            int(token)
            for token in (special.EOS, special.END_OF_TURN, special.BEGIN_OF_TOOL_RESPONSE)
        )
        self.forbidden = tuple(int(token) for token in tokenizer.FORBIDDEN_TOKENS)

    def table(self, vocab_size: int) -> np.ndarray:
        """Token ids that end an answer at once, [V] bool: end ids, and pieces with a stop string.

        The device knows these. A stop string spread over several tokens is found on the host, by
        `generation`.
        """
        ends = self._end_ids_table(vocab_size)
        # Decoding all 262,144 tokens of Gemma 3 one by one would take two seconds.
        for token in self._tokens_with(self.strings, vocab_size):
            ends[token] |= self._first_stop(self._decode([token])) is not None
        return ends

    def last_tokens(self, vocab_size: int) -> np.ndarray:
        """Token ids that an ended answer may end with, [V] bool: `table` and more.

        A stop string is complete with a token that holds its last character.
        """
        ends = self._end_ids_table(vocab_size)
        ends[list(self._tokens_with({text[-1] for text in self.strings}, vocab_size))] = True
        return ends

    def _end_ids_table(self, vocab_size: int) -> np.ndarray:
        ends = np.zeros(vocab_size, bool)
        ends[[token for token in self.end_ids if token < vocab_size]] = True
        return ends

    def _tokens_with(self, strings: Collection[str], vocab_size: int) -> Iterator[int]:
        """Tokens whose piece holds one of the strings, or stands for another text ("<0x3B>")."""
        if strings:
            # In pieces a space is U+2581.
            spelt = {text.replace(" ", space) for text in strings for space in " \u2581"}
            pattern = re.compile("|".join([*map(re.escape, spelt), "^<.*>$"]))
            pieces = enumerate(self.tokenizer.tokens[:vocab_size])
            yield from (token for token, piece in pieces if pattern.search(piece))

    def generation(self, tokens: Sequence[int], *, max_new_tokens: int) -> Generation | None:
        """The finished answer within `tokens`, or None if they do not end yet."""
        tokens = [int(token) for token in tokens]
        end = next((i for i, token in enumerate(tokens) if token in self.end_ids), None)
        body = tokens if end is None else tokens[:end]
        text = self._decode(body)
        stop = self._first_stop(text)
        if stop is not None:
            used = self._tokens_until_stop(body)
            return Generation(text=text[:stop], tokens=tuple(body[:used]), status=statuses.OK)
        if end is not None:
            return Generation(text=text, tokens=tuple(tokens[: end + 1]), status=statuses.OK)
        if len(tokens) >= max_new_tokens:
            return Generation(text=text, tokens=tuple(tokens), status=statuses.MAX_TOKENS)
        return None

    def _decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens))

    def _first_stop(self, text: str) -> int | None:
        positions = (text.find(string) for string in self.strings)
        return min((position for position in positions if position >= 0), default=None)

    def _tokens_until_stop(self, tokens: Sequence[int]) -> int:
        """The fewest leading tokens whose text holds a stop string (binary search)."""
        low, high = 1, len(tokens)
        while low < high:
            middle = (low + high) // 2
            if self._first_stop(self._decode(tokens[:middle])) is None:
                low = middle + 1
            else:
                high = middle
        return low
