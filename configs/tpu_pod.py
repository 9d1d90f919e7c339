"""The Spider dev split on every chip of a Cloud TPU slice, written to a bucket.

    launch/tpu/run.sh --help        # creates the slice, submits this, reports, deletes

On each worker the job is

    python -m t2sql.main --config=configs/tpu_pod.py \
        --config.data.path=gs://BUCKET/spider --config.output=gs://BUCKET/runs/dev
"""

from t2sql import config as config_lib


def get_config():
    config = config_lib.default_config()
    config.data.path = "kaggle:jeromeblanchet/yale-universitys-spider-10-nlp-dataset"
    config.model.source = "kaggle:google/gemma-3/flax/gemma-3-270m-it"
    config.prompt = "zero_shot"
    config.batch_size = "auto"  # as many as the chips' memory has room for
    config.prefill_tokens = 16384
    config.compilation_cache = "beside"  # in the bucket: a slice that is made anew compiles nothing
    config.unit_size = 32  # small units: a preempted host loses little, hosts end together
    return config
