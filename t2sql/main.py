"""Predicts SQL for the questions of a split.

    python -m t2sql.main --config=configs/spider_dev.py --config.output=runs/dev

t2sql/config.py describes every value that --config.KEY=VALUE sets. The same command again goes on
with a run that was stopped.

Exit codes: 0 done, 1 a bug, 2 bad input, 3 refused or incomplete, 75 try again, 130, 141 and 143 by
signal.
"""

import logging as python_logging
import os

from absl import flags, logging
from ml_collections import config_flags

from t2sql import config as config_lib
from t2sql.runtime import cli, cluster, distributed, signals

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, such as configs/gpu.py.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0 of several.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
_NUM_REPLICAS = flags.DEFINE_integer(
    "num_replicas", None, "How many launches share the run's units without meeting."
)
_REPLICA = flags.DEFINE_integer("replica", None, "Which of them this is, from 0.")


def main(argv) -> None:
    config = _CONFIG.value
    config_lib.check_keys(config)
    watch = signals.TerminationWatch(
        config.grace_seconds,
        advice=f"stopped; the same command with --config.output={config.output} goes on from there",
    )
    watch.start()
    process = distributed.start(os.environ | _given())
    from t2sql.choose import within_run
    from t2sql.runs import job  # JAX and its threads

    with within_run.Chooser(config) as choose:
        job.run(config, watch, process, choose)


def _given() -> dict[str, str]:
    """The flags about processes that were given; without them the environment decides."""
    values = {
        cluster.COORDINATOR: _COORDINATOR.value,
        cluster.NUM_PROCESSES: _NUM_PROCESSES.value,
        cluster.PROCESS_ID: _PROCESS_ID.value,
        cluster.NUM_REPLICAS: _NUM_REPLICAS.value,
        cluster.REPLICA: _REPLICA.value,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


if __name__ == "__main__":
    signals.hold()
    logging.set_verbosity(logging.WARNING)
    python_logging.getLogger("t2sql").setLevel(python_logging.INFO)
    flags.mark_flag_as_required("config")
    cli.run(main)
