"""The values of a run: what a config file may set."""

import pytest

from configs import gpu, lora, quickstart, spider_dev, tpu_pod
from t2sql import config as config_lib
from t2sql import errors


@pytest.mark.parametrize("file", [gpu, lora, quickstart, spider_dev, tpu_pod])
def test_the_files_that_ship_set_what_there_is(file):
    config_lib.check_keys(file.get_config())


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("batchsize", "sets 'batchsize', .*; did you mean 'batch_size'"),
        ("sampling.sed", "sets 'sampling.sed', .*; did you mean 'sampling.seed'"),
        ("zzz", "sets 'zzz', which no value is called$"),
    ],
)
def test_a_mistyped_key_is_named(key, message):
    config = config_lib.default_config()
    parent, _, name = key.rpartition(".")
    (config[parent] if parent else config)[name] = 1
    with pytest.raises(errors.InputError, match=message):
        config_lib.check_keys(config)


def test_a_value_that_is_left_out_is_named():
    config = config_lib.default_config()
    del config.sampling.seed
    with pytest.raises(errors.InputError, match="no value for 'sampling.seed'; begin with"):
        config_lib.check_keys(config)
