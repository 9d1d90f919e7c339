"""LoRA fine-tuning of the pre-trained Gemma 3 270M on Spider's train split.

    python -m t2sql.train --config=configs/lora.py \
        --config.data.path=SPIDER_DIR --config.output=runs/lora

Stopped, the same command goes on from its last checkpoint.
"""

from t2sql.training import config as config_lib


def get_config():
    return config_lib.default_config()
