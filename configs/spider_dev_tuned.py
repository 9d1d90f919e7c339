"""The Spider dev split with the adapter that ships, decoded within the schema and along its keys.

    python -m t2sql.main --config=configs/spider_dev_tuned.py \
        --config.data.path=SPIDER_DIR --config.output=runs/tuned

No account is needed. Joins on any columns: --config.sampling.constrain=schema; without a
constraint: --config.sampling.constrain=''. Another answer where t2sql.choose finds the first one
doubtful: --config.data.only=FILE --config.sampling.temperature=0.8 --config.sampling.seed=1
"""

from t2sql import config as config_lib


def get_config():
    config = config_lib.default_config()
    config.data.path = "kaggle:jeromeblanchet/yale-universitys-spider-10-nlp-dataset"
    config.model.adapter = "package:gemma3_270m_spider"
    config.prompt = "compact"  # the adapter was trained with it
    config.sampling.constrain = "keys"
    return config
