"""How a command ends."""

import subprocess
import sys

_COMMAND = """
from t2sql import cli
cli.run(lambda argv: print("a line\\n" * 100_000))
"""


def test_a_reader_that_has_seen_enough_is_no_bug():
    with subprocess.Popen(
        [sys.executable, "-c", _COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"a line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141
