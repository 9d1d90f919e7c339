"""Checkpoints by themselves: what is refused, and what a damaged one prints."""

import sys
import time

import numpy as np
import pytest

from t2sql import errors
from t2sql.training import checkpoints
from t2sql.training.step import TrainState

ABOUT = {"data": "1f2e", "seed": 0, "trained": {"rank": 4}}
DATA_KEYS = {"data.path": "spider", "train.shuffled_schemas": 0.5}


def _state() -> TrainState:
    leaves = {f"layer_{index}": np.full((4, 4), index, np.float32) for index in range(40)}
    return TrainState(step=np.array(3), trained=leaves, optimizer={"mu": leaves})


@pytest.fixture
def saved(tmp_path):
    """The folder of a training with one checkpoint."""
    checkpoints.Checkpoints(tmp_path, ABOUT, DATA_KEYS).save(_state(), {"best": None})
    return tmp_path


def _restore(folder, about=ABOUT, data_keys=DATA_KEYS):
    return checkpoints.Checkpoints(folder, about, data_keys).restore(_state())


def test_a_checkpoint_comes_back_with_its_notes(saved):
    state, notes = _restore(saved)
    assert (int(state.step), notes) == (3, {"best": None})
    np.testing.assert_array_equal(state.trained["layer_7"], np.full((4, 4), 7))


@pytest.mark.parametrize(
    ("about", "keys", "message"),
    [
        ({"data": "90ab", "seed": 1}, {}, "another seed: 0 there, 1 here"),
        (
            {"data": "90ab"},
            {"train.shuffled_schemas": 0.2},
            "another train.shuffled_schemas: 0.5 there, 0.2 here",
        ),
        ({"data": "90ab"}, {}, "another content of spider: '1f2e' there, '90ab' here"),
        ({"trained": {"rank": 2}}, {}, "another trained.rank: 4 there, 2 here"),
    ],
)
def test_the_value_that_differs_is_named(saved, about, keys, message):
    with pytest.raises(errors.RefusedError, match=message):
        _restore(saved, ABOUT | about, DATA_KEYS | keys)


def test_values_that_leave_the_data_as_it_was_may_differ(saved):
    assert int(_restore(saved, data_keys=DATA_KEYS | {"data.path": "moved"})[0].step) == 3


def test_a_damaged_checkpoint_prints_no_tracebacks(saved, monkeypatch):
    """Reads that were under way when the first one failed raise in their threads."""
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: shown.append(unraisable))
    (saved / "checkpoints" / "3" / "state" / "manifest.ocdbt").write_bytes(b"")
    for _ in range(10):
        with pytest.raises(errors.InputError, match="checkpoints/3: the checkpoint is damaged"):
            _restore(saved)
    time.sleep(0.2)
    assert not shown
