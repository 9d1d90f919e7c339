"""A tokenizer whose tokens are bytes, with Gemma 3's special ids."""

from gemma import gm

OFFSET = 120  # behind the special ids


class ByteTokenizer:
    special_tokens = gm.text.Gemma3Tokenizer.special_tokens
    FORBIDDEN_TOKENS = gm.text.Gemma3Tokenizer.FORBIDDEN_TOKENS
    vocab_size = OFFSET + 256

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        ids = [OFFSET + byte for byte in text.encode()]
        return [self.special_tokens.BOS, *ids] if add_bos else ids

    def decode(self, ids: list[int]) -> str:
        return bytes(i - OFFSET for i in ids if i >= OFFSET).decode("utf-8", "replace")
