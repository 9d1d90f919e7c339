"""How an answer came about: the `status` of a generation and of its prediction row."""

OK = "ok"  # the text ended by itself
MAX_TOKENS = "max_tokens"  # it was cut
PROMPT_TOO_LONG = "prompt_too_long"  # nothing was sampled
STATUSES = (OK, MAX_TOKENS, PROMPT_TOO_LONG)
