"""Evaluates predictions against Spider's gold SQL and says what went wrong.

    python -m t2sql.report --predictions=runs/quickstart-TIME --data=sample --output=report

Exit codes: 0 done, 2 bad input, 3 the run is incomplete, or a database does not fit its gold
queries (the report is written all the same; --allow_incomplete makes this 0).
"""

import signal
import sys

from absl import flags

from t2sql import errors
from t2sql.runtime import cli, signals

_PREDICTIONS = flags.DEFINE_string(
    "predictions",
    None,
    "Run directory (local or gs://), or a file with one query a line, aligned with the split "
    "or with --gold.",
    required=True,
)
_DATA = flags.DEFINE_string(
    "data", None, "Data directory, gs://..., kaggle:HANDLE, or 'sample'.", required=True
)
_FORMAT = flags.DEFINE_string(
    "format", "", "Data set, such as bird (config.data.format); default: the run's, else by files."
)
_FIELDS = flags.DEFINE_list(
    "fields",
    [],
    "What records call their fields, as query:gold_sql,question:text; default: the run's.",
)
_DATABASES = flags.DEFINE_string(
    "databases", "", "Folder of the data set whose databases are asked about, if not --data."
)
_OUTPUT = flags.DEFINE_string("output", None, "Directory for the report.", required=True)
_GOLD = flags.DEFINE_string(
    "gold", None, "Gold file, SQL<TAB>db_id a line; default: the split's own gold."
)
_SPLIT = flags.DEFINE_string("split", None, "Split to evaluate; default: the run's, else dev.")
_BASELINE = flags.DEFINE_string(
    "baseline", None, "Run directory or file to compare with, over the same examples."
)
_BASELINE_DATA = flags.DEFINE_string(
    "baseline_data",
    "",
    "The data that --baseline answers, if another form of --data: Spider beside Spider-Syn.",
)
_CLEAN = flags.DEFINE_bool(
    "clean", False, "Clean the lines of a predictions file; a run's SQL is clean already."
)
_ALLOW_INCOMPLETE = flags.DEFINE_bool(
    "allow_incomplete", False, "Exit with 0 although the run is incomplete, or gold fails."
)
_WORKERS = flags.DEFINE_integer(
    "workers", None, "Processes that evaluate; default: one per core.", lower_bound=1
)
_TIMEOUT = flags.DEFINE_float(
    "timeout", None, "Seconds that one query may run, 0.1 to 86400; default: 10, of BIRD 30."
)
_VES = flags.DEFINE_bool("ves", False, "Measure BIRD's R-VES too; needs a quiet machine.")
# Not as bounds of the flag: NaN lies within any.
flags.register_validator(
    "timeout",
    lambda seconds: seconds is None or 0.1 <= seconds <= 86_400,
    "has to lie between 0.1 and 86400",
)


def main(argv: list[str]) -> int:
    """Makes the report; returns the exit code."""
    del argv
    # As an exception, so that unfinished files and worker processes go too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(signals.EXIT_TERMINATED))
    # Imported here so that --help and wrong flags answer at once.
    from t2sql.report import command

    return command.report(
        command.Options(
            predictions=_PREDICTIONS.value,
            data=_DATA.value,
            output=_OUTPUT.value,
            gold=_GOLD.value,
            split=_SPLIT.value,
            baseline=_BASELINE.value,
            clean=_CLEAN.value,
            allow_incomplete=_ALLOW_INCOMPLETE.value,
            workers=_WORKERS.value,
            timeout=_TIMEOUT.value,
            ves=_VES.value,
            baseline_data=_BASELINE_DATA.value,
            format=_FORMAT.value,
            fields=_field_names(),
            databases=_DATABASES.value,
        )
    )


def _field_names() -> dict[str, str]:
    names = {}
    for pair in _FIELDS.value:
        field, colon, name = pair.partition(":")
        if not (field and colon and name):
            raise errors.InputError(f"--fields: {pair!r} is not FIELD:NAME, such as query:gold_sql")
        names[field] = name
    return names


if __name__ == "__main__":
    cli.run(main)
