"""Predicts SQL for the questions of a split.

python -m t2sql.main --config=configs/spider_dev.py --config.output=runs/dev
"""

from absl import flags, logging
from ml_collections import config_flags

from t2sql import cli, signals

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, such as configs/gpu.py.")


def main(argv) -> None:
    watch = signals.TerminationWatch(_CONFIG.value.grace_seconds)
    watch.start()
    from t2sql import job  # JAX and its threads

    job.run(_CONFIG.value, watch)


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    flags.mark_flag_as_required("config")
    cli.run(main)
