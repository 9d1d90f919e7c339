"""Fine-tunes a model on a Spider train split.

python -m t2sql.train --config=configs/lora.py --config.output=runs/lora

Several hosts train in step: they find each other as those of t2sql.main do, by the variables
T2SQL_COORDINATOR, T2SQL_NUM_PROCESSES and T2SQL_PROCESS_ID, Slurm or the TPU slice.
"""

import logging as python_logging

from absl import flags, logging
from ml_collections import config_flags

from t2sql import config as config_lib
from t2sql.runtime import cli, distributed, signals

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, such as configs/lora.py.")


def main(argv) -> None:
    config = _CONFIG.value
    config_lib.check_keys(config)
    watch = signals.TerminationWatch(
        config.grace_seconds,
        advice=f"stopped; the same command with --config.output={config.output} goes on from "
        "the last checkpoint",
    )
    watch.start()
    process = distributed.join()
    from t2sql.training import loop  # JAX and its threads

    loop.run(config, watch, process)


if __name__ == "__main__":
    signals.hold()
    logging.set_verbosity(logging.WARNING)
    python_logging.getLogger("t2sql").setLevel(python_logging.INFO)
    flags.mark_flag_as_required("config")
    cli.run(main)
