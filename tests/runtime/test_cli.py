"""How a command ends."""

import subprocess
import sys

import pytest

_COMMAND = """
import sys
from t2sql.runtime import cli, progress
say = progress.make_console().print if "rich" in sys.argv[0] else print
def main(argv):
    for _ in range(100_000):
        say("a line")
cli.run(main)
"""


@pytest.mark.parametrize("printer", ["plain", "rich"])
def test_a_reader_that_has_seen_enough_is_no_bug(printer):
    command = f"import sys; sys.argv = [{printer!r}]\n{_COMMAND}"
    with subprocess.Popen(
        [sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"a line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_another_pipe_that_breaks_is_a_bug():
    command = """
from t2sql.runtime import cli
def main(argv):
    raise BrokenPipeError("of a child process")
cli.run(main)
"""
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert "of a child process" in done.stderr


@pytest.mark.parametrize("flag", ["--help", "-help", "--helpshort"])
def test_help_is_no_failure(flag):
    done = subprocess.run(
        [sys.executable, "-m", "t2sql.choose", flag], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--candidates" in done.stdout


def test_a_program_that_ends_itself_keeps_its_code():
    command = "from t2sql.runtime import cli\ncli.run(lambda argv: 7)"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 7
