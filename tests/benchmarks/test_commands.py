"""The benchmarks as commands: their help, and flags that are wrong."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = {path.stem: path.read_text() for path in sorted((ROOT / "benchmarks").glob("*.py"))}
LIBRARIES = [name for name, source in SOURCES.items() if "no command" in source]
COMMANDS = [
    name for name, source in SOURCES.items() if "__main__" in source and name not in LIBRARIES
]
# Each command in a fork of one process, which imports JAX and gemma once for all.
_FORKS = """
import json, os, runpy, sys, tempfile, traceback
import t2sql.model.factory, t2sql.model.light_gemma, t2sql.sampling
for command, *arguments in json.loads(sys.argv[1]):
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if not child:
            sys.argv = [command, *arguments]
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            code = 1
            try:
                runpy.run_module(f"benchmarks.{command}", run_name="__main__", alter_sys=True)
                code = 0
            except SystemExit as end:
                code = end.code or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        print(json.dumps([code, output.read()]))
"""


def _run(*commands: list[str]) -> list[tuple[int, str]]:
    """Exit code and output of each command."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKS, json.dumps(commands)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


# By what is tried: the command and its arguments.
_TRIED = {name: [name, "--help"] for name in COMMANDS + LIBRARIES} | {
    "unknown engine": ["peers", "--data=nowhere", "--engines=llama.cpp,vllm"],
    "printed engines": ["peers", "--data=nowhere", "--engines=llama.cpp,gm.text.Sampler batched"],
    "unknown mode": ["peers", "--data=nowhere", "--modes=sampled"],
    "no data": ["deal", "--spider="],
}


@pytest.fixture(scope="module")
def endings() -> dict[str, tuple[int, str]]:
    return dict(zip(_TRIED, _run(*_TRIED.values()), strict=True))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_no_failure(endings, name):
    code, output = endings[name]
    assert code == 0, output
    assert f"python -m benchmarks.{name}" in output


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_part_of_others_says_so(endings, name):
    code, output = endings[name]
    assert code == 0
    assert output.endswith("A part of other benchmarks, and no command.\n")


@pytest.mark.parametrize(
    ("tried", "message"),
    [
        ("unknown engine", "--engines: 'vllm' is none of t2sql, "),
        ("printed engines", "error: nowhere: no such data directory"),  # past the engines
        ("unknown mode", "--modes=sampled: it has to be some of forced, natural"),
        ("no data", "--spider: give Spider's directory"),
    ],
)
def test_a_wrong_flag_is_named(endings, tried, message):
    code, output = endings[tried]
    assert code == 2
    assert message in output
