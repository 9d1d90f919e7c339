"""The errors a user can meet, each tied to one exit code.

A message names the file, field or flag, what was found there, and what to do.
Anything that is not a `T2SQLError` is a bug of ours and keeps its traceback.
"""


class T2SQLError(Exception):
    """Base of all errors that are shown as one message, without a traceback."""

    exit_code = 1


class InputError(T2SQLError):
    """A flag, config value or input file is wrong: exit code 2."""

    exit_code = 2


class RefusedError(T2SQLError):
    """The work was refused, or is incomplete: exit code 3."""

    exit_code = 3


class TryAgainError(T2SQLError):
    """A passing fault of a network or a disk; the same command may succeed: exit 75."""

    exit_code = 75
