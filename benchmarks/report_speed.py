"""Time and memory of the report over 1, 10 and 100 times Spider dev.

    python -m benchmarks.report_speed --predictions=FILE --scales=1,10,100

FILE holds one query a line, aligned with dev; default: the gold queries, each with a small
mistake in every second one. Larger sizes repeat it. Prints a table for docs/report.md: wall time,
examples per second, the largest resident set of any of its processes, and the size of the page.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from t2sql import errors
from t2sql.runtime import cli

_PREDICTIONS = flags.DEFINE_string("predictions", None, "One query a line, aligned with dev.")
_SPIDER = flags.DEFINE_string("spider", os.environ.get("T2SQL_SPIDER_DIR"), "Spider directory.")
_SCALES = flags.DEFINE_list("scales", ["1", "10", "100"], "How many times dev.")


def main(argv: list[str]) -> None:
    """Measures each scale in a process of its own."""
    del argv
    if not _SPIDER.value:
        raise errors.InputError("--spider: give Spider's directory, here or by T2SQL_SPIDER_DIR")
    gold = (Path(_SPIDER.value) / "dev_gold.sql").read_text().splitlines()
    predicted = _predictions(gold)
    print("| examples | seconds | examples per second | largest process | page |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for scale in map(int, _SCALES.value):
        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), gold * scale, predicted * scale)


def _predictions(gold: list[str]) -> list[str]:
    if _PREDICTIONS.value:
        return Path(_PREDICTIONS.value).read_text().splitlines()
    queries = [line.rpartition("\t")[0] for line in gold]
    return [sql if i % 2 else f"{sql} LIMIT 1" for i, sql in enumerate(queries)]


def _measure(folder: Path, gold: list[str], predicted: list[str]) -> None:
    (folder / "gold.sql").write_text("\n".join(gold) + "\n")
    (folder / "predict.txt").write_text("\n".join(predicted) + "\n")
    command = [
        *(sys.executable, "-m", "t2sql.report"),
        f"--predictions={folder}/predict.txt",
        f"--gold={folder}/gold.sql",
        f"--data={_SPIDER.value}",
        f"--output={folder}/report",
    ]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status:
        raise RuntimeError(f"the report failed with wait status {status}")
    report = json.loads((folder / "report" / "report.json").read_text())
    examples = report["data"]["examples"]
    html = (folder / "report" / "report.html").stat().st_size
    memory = usage.ru_maxrss / 1e3
    print(
        f"| {examples:,} | {seconds:.1f} | {examples / seconds:.0f} | {memory:.0f} MB "
        f"| {html / 1e6:.1f} MB |",
        flush=True,
    )


if __name__ == "__main__":
    cli.run(main)
