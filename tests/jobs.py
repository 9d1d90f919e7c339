"""Runs of the main job with the dummy model, in this process or one of their own."""

import json
import os
import pathlib
import subprocess
import sys

from t2sql import config as config_lib
from t2sql.runs import job
from t2sql.runs.predictions import Prediction
from t2sql.runtime import signals

ROOT = pathlib.Path(__file__).parents[1]


def make_config(output, **values):
    """The sample data and the dummy model; keys of nested values with a dot."""
    config = config_lib.default_config()
    config.output = str(output)
    config.model.name = "dummy"
    config.model.source = "dummy:0"
    config.sampling.max_new_tokens = 8
    config.batch_size = 8
    config.unit_size = 6
    config.prompt_buckets = (256, 1024)
    config.data.limit = 24
    config.compilation_cache = ""
    config.update_from_flattened_dict(values)
    return config


def run(output, **values) -> dict[str, Prediction]:
    job.run(make_config(output, **values), signals.TerminationWatch(grace_seconds=1))
    return read_rows(output)


def read_rows(output) -> dict[str, Prediction]:
    """Predictions by example id; an example that stands twice is an error."""
    rows = {}
    for path in sorted(pathlib.Path(output, "predictions").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = Prediction.from_json(line, where=str(path))
            assert row.example_id not in rows
            rows[row.example_id] = row
    return rows


def objects(output) -> dict[str, bytes]:
    """The bytes of each unit object, by its name."""
    paths = pathlib.Path(output, "predictions").glob("*.jsonl")
    return {path.name: path.read_bytes() for path in paths}


def read_json(output, name: str) -> dict:
    return json.loads(pathlib.Path(output, name).read_text())


def start(output, *flags: str, module: str = "t2sql.main", config: str = "configs/quickstart.py"):
    """The command as a user types it, as a process of its own."""
    command = [sys.executable, "-m", module, f"--config={config}"]
    if module == "t2sql.main":
        command += [f"--config.output={output}", "--config.model.name=dummy"]
        command += ["--config.model.source=dummy:0", "--config.compilation_cache="]
        # The packaged adapter is one of real weights.
        command += ["--config.model.adapter=", "--config.prompt=completion"]
        command += ["--config.sampling.constrain="]
    environ = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [*command, *flags],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    output, error = process.communicate(timeout=300)
    return process.returncode, output, error
