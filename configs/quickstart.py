"""The first five minutes: the packaged sample questions and the packaged weights.

    launch/quickstart.sh

or, in an environment that is set up:

    python -m t2sql.main --config=configs/quickstart.py --config.output=runs/first
"""

from t2sql import config as config_lib


def get_config():
    config = config_lib.default_config()
    config.show = True
    config.sampling.max_new_tokens = 64  # the pre-trained model seldom stops by itself
    return config
