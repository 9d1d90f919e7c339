"""The Spider dev split on the GPUs of one machine, in bfloat16.

    launch/gpu.sh --config.data.path=SPIDER_DIR --config.output=runs/gpu

Weights and prompt as in `spider_dev.py`; a decode step of a small model takes about as
long for 256 rows as for 32.
"""

from t2sql import config as config_lib


def get_config():
    config = config_lib.default_config()
    config.data.path = "kaggle:jeromeblanchet/yale-universitys-spider-10-nlp-dataset"
    config.model.source = "kaggle:google/gemma-3/flax/gemma-3-270m-it"
    config.prompt = "zero_shot"
    config.batch_size = "auto"  # as many as fit: 8 answers take a step as long as 256 do
    config.prefill_tokens = 16384
    return config
