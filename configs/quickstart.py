"""The first five minutes: the packaged sample questions, weights and adapter.

    launch/quickstart.sh

or, in an environment that is set up:

    python -m t2sql.main --config=configs/quickstart.py --config.output=runs/first
"""

from t2sql import config as config_lib


def get_config():
    config = config_lib.default_config()
    config.show = True
    config.model.adapter = "package:gemma3_270m_spider"
    config.prompt = "compact"  # the adapter was trained with it
    config.sampling.constrain = "keys"
    return config
