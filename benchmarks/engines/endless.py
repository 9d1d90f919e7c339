"""A tokenizer whose end ids never come, so that every answer is as long as it is made to be."""

from typing import Any


class Endless:
    """gemma's tokenizer, with end ids that no text holds."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        unused = int(tokenizer.special_tokens.CUSTOM) + 90
        names = tokenizer.special_tokens.__members__
        never = dict.fromkeys(("EOS", "END_OF_TURN", "BEGIN_OF_TOOL_RESPONSE"), unused)
        ids = {name: int(value) for name, value in names.items()}
        self.special_tokens = type("NoEnd", (), ids | never)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)
