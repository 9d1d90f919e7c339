"""Chooses among the answers of several runs by what they return when they run.

    python -m t2sql.choose --candidates=runs/greedy,runs/seed1,runs/seed2 --data=SPIDER_DIR \\
        --output=runs/chosen

The runs answer the same questions, say one greedily and others with
--config.sampling.temperature=0.8 and seeds of their own. Of a question's answers that run those
are kept whose values are where they look for them, of these those that return rows, and the
result that most of the rest share wins; at a tie the run that is named first. Gold is not looked
at. OUTPUT/predict.txt is for --predictions of t2sql.report; OUTPUT/choices.jsonl says which run
won each question, and by how many votes.

OUTPUT/doubtful.txt lists the questions whose answer fails, returns no row, or looks for a value
where it is not. A run with --config.data.only=OUTPUT/doubtful.txt answers these alone again; all
runs but the first may be such, and none may have --config.data.limit.

Exit codes: 0 done, 2 bad input, 3 a run is incomplete.
"""

import signal
import sys

from absl import flags

from t2sql.runtime import cli, signals

_CANDIDATES = flags.DEFINE_list(
    "candidates", None, "Run directories, local or gs://, the most trusted first.", required=True
)
_DATA = flags.DEFINE_string(
    "data", None, "Spider directory, gs://..., kaggle:HANDLE, or 'sample'.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "Directory for what is chosen.", required=True)
_TIMEOUT = flags.DEFINE_float("timeout", 10.0, "Seconds that one query may run, 0.1 to 86400.")
# Not as bounds of the flag: NaN lies within any.
flags.register_validator(
    "timeout", lambda seconds: 0.1 <= seconds <= 86_400, "has to lie between 0.1 and 86400"
)


def main(argv: list[str]) -> None:
    """Chooses, writes, and says what came of it."""
    del argv
    # As an exception, so that unfinished files and worker processes go too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(signals.EXIT_TERMINATED))
    # Imported here so that --help and wrong flags answer at once.
    from t2sql.choose import command

    command.choose(
        _CANDIDATES.value, data=_DATA.value, output=_OUTPUT.value, timeout=_TIMEOUT.value
    )


if __name__ == "__main__":
    cli.run(main)
