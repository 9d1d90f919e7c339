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


@pytest.mark.parametrize(
    ("output", "cache"),
    [
        ("gs://bucket/runs/dev", "gs://bucket/runs/compiled-programs"),
        ("runs/dev/", "runs/compiled-programs"),
        ("gs://bucket", "auto"),
        ("dev", "auto"),
    ],
)
def test_compiled_programs_beside_a_run_are_in_no_run(output, cache):
    config = tpu_pod.get_config()
    config.output = output
    assert config_lib.resolve_compilation_cache(config) == cache


def test_a_batch_size_is_a_number_or_auto():
    config = config_lib.default_config()
    for value in (1, "auto"):
        config.batch_size = value
        config.output = "runs/first"
        config_lib.check(config)
    with pytest.raises(TypeError):
        config.batch_size = "many"
