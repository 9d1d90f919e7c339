"""The benchmarks as commands: their help, and flags that are wrong."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
COMMANDS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()
)
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


@pytest.fixture(scope="module")
def helps() -> dict[str, tuple[int, str]]:
    return dict(zip(COMMANDS, _run(*([name, "--help"] for name in COMMANDS)), strict=True))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_no_failure(helps, name):
    code, output = helps[name]
    assert code == 0, output
    assert f"python -m benchmarks.{name}" in output


def test_a_wrong_flag_is_named_and_the_right_ones_are_listed(tmp_path):
    data = f"--data={tmp_path}"
    unknown, printed, mode, nowhere = _run(
        ["peers", data, "--engines=llama.cpp,vllm"],
        ["peers", data, "--engines=llama.cpp,gm.text.Sampler batched,transformers_cpu"],
        ["peers", data, "--modes=sampled"],
        ["deal", "--spider="],
    )
    assert [code for code, _ in (unknown, printed, mode, nowhere)] == [2, 2, 2, 2]
    assert "--engines: 'vllm' is none of t2sql, " in unknown[1]
    assert f"error: {tmp_path}" in printed[1]  # all names are known: it looks for the data
    assert "--modes=sampled: it has to be some of forced, natural" in mode[1]
    assert "--spider" in nowhere[1]
