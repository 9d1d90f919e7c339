"""The simulation at scale still runs, on a run small enough for a test."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_a_small_simulation_measures_every_part():
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.scale", "--examples=4000", "--hosts=8"),
            *("--databases=40", "--sample=20"),
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "T2SQL_GCS_ENDPOINT"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for part in ("slowest host", "beginning at once", "finding units", "reading all units", "27b"):
        assert part in done.stdout
    assert "1 x 200" in done.stdout
