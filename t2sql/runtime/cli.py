"""How every command of the package starts and ends.

Exit codes: 0 done, 1 a bug, 2 bad input, 3 refused or incomplete, 75 try again,
130, 141 and 143 stopped by SIGINT, a closed pipe and SIGTERM.
"""

import gc
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import app, flags

from t2sql import errors
from t2sql.runtime import signals

EXIT_PIPE = 141
# Imports and JAX's traces make some 200,000 objects that stay: looking for garbage among them after
# every 700 new ones is a tenth of a start.
_OBJECTS_BETWEEN_COLLECTIONS = 100_000
_HELP = frozenset(("help", "helpshort", "helpfull", "helpxml", "?"))


def run(main: Callable[[Sequence[str]], int | None], *, takes_arguments: bool = False) -> None:
    """Runs `main(argv)` under absl and turns what it raises into an exit code.

    Args:
      main: the command.
      takes_arguments: whether there may be arguments besides flags.
    """
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    app.run(lambda argv: _guarded(main, argv, takes_arguments), flags_parser=_parse_flags)


def _guarded(
    main: Callable[[Sequence[str]], int | None], argv: Sequence[str], takes_arguments: bool
) -> int:
    try:
        if argv[1:] and not takes_arguments:
            raise errors.InputError(
                f"unexpected argument {argv[1]!r}: every option is written --NAME=VALUE"
            )
        code = main(argv) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except errors.T2SQLError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        if not _is_read():
            return EXIT_PIPE
        raise
    except signals.Terminated:
        print("terminated", file=sys.stderr)
        return signals.EXIT_TERMINATED
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the next one ends it at once
        print("interrupted", file=sys.stderr)
        return signals.EXIT_INTERRUPTED


def _is_read() -> bool:
    """Whether standard output has a reader still: `head` goes when it has seen enough."""
    poll = select.poll()
    poll.register(sys.stdout, 0)  # an error is reported always: a pipe without a reader has one
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return True
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's last flush
    return False


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses absl flags; a wrong flag or config value is bad input (exit 2)."""
    try:
        return flags.FLAGS(argv)
    except SystemExit:  # absl ends so after --help, with 1: it takes it for a wrong call
        if _HELP.isdisjoint(argument.lstrip("-") for argument in argv):
            raise
        sys.exit(0)
    except (flags.Error, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        print(f"error: {_reason(error)}\nSee --help for the flags.", file=sys.stderr)
    except (SyntaxError, NameError, ImportError) as error:  # a config file is a program
        print(f"error: --config: {_place(error)}", file=sys.stderr)
    sys.exit(errors.InputError.exit_code)


def _reason(error: Exception) -> str:
    """What was wrong, out of the exceptions that config_flags wraps into each other."""
    cause = error.args[0] if error.args else error
    if isinstance(cause, Exception) and cause is not error:
        return _reason(cause)
    if isinstance(error, KeyError):
        return f"no such config value: {cause}"
    # Of what a config file raised, config_flags puts the whole traceback into its message.
    what, _, trace = str(cause).partition("\n\nTraceback (most recent call last):\n")
    return f"{what} {trace.rstrip().rpartition('\n')[2]}" if trace else what


def _place(error: SyntaxError | NameError | ImportError) -> str:
    """What a config file raised, and where."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}, line {last.lineno}: {error}"
