"""Guides in processes of their own say what guides in this one say."""

import os
import signal
import time

import constraint_samples as samples
import numpy as np
import pytest

from t2sql import constraint, errors
from t2sql.model import dummy

SCHEMAS = {
    "singers": samples.make_schema(samples.SINGERS),
    "papers": samples.make_schema(samples.PAPERS, samples.PAPER_KEYS),
    "odd": samples.make_schema(samples.ODD),
}
LIMIT = 60
END_IDS = (samples.END, 106)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(dummy.tokenizer_model())
    return path


def remote(tokenizer, workers, *, along_keys=False):
    return constraint.RemoteGuides(
        tokenizer, END_IDS, SCHEMAS, "SELECT", along_keys=along_keys, workers=workers
    )


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def answers(guides, rounds: int = 40) -> list[list[int]]:
    """Random answers to five questions over each schema, three tokens at a time."""
    rng = np.random.default_rng(0)
    rows = [(guides.of(db_id)(LIMIT), []) for db_id in SCHEMAS for _ in range(5)]
    redrawn = [[] for _ in rows]
    for _ in range(rounds):
        offered = [first + rng.integers(0, dummy.VOCAB_SIZE, 2).tolist() for first in redrawn]
        checks = [
            guide.check(tokens, redrawn=bool(first))
            for (guide, _), tokens, first in zip(rows, offered, redrawn, strict=True)
        ]
        for row, ((guide, answer), tokens, accepted) in enumerate(
            zip(rows, offered, checks, strict=True)
        ):
            count = accepted()
            answer += tokens[:count]
            redrawn[row] = []
            is_going = len(answer) < LIMIT and not set(answer[-1:]) & set(END_IDS)
            if count < len(tokens) and is_going:
                mask = np.flatnonzero(guide.allowed().unpacked(dummy.VOCAB_SIZE))
                redrawn[row] = [int(mask[len(mask) * row // len(rows)])]
    return [answer for _, answer in rows]


@pytest.mark.parametrize("along_keys", [False, True])
def test_answers_are_the_same_however_many_processes_check_them(tokenizer, along_keys):
    vocabulary = samples.dummy_vocabulary()
    here = constraint.Guides(vocabulary, SCHEMAS, "SELECT", along_keys=along_keys)
    expected = answers(here)
    assert sum(map(len, expected)) > 300
    for workers in (1, 3):
        assert answers(remote(tokenizer, workers, along_keys=along_keys)) == expected


def test_processes_end_with_their_guides(tokenizer):
    guides = remote(tokenizer, 2)
    pids = guides.pids
    guide = guides.of("singers")(LIMIT)
    assert guide.check([0])() == 0
    del guides, guide
    assert all(map(has_ended, pids))


def test_a_process_that_is_killed_is_told(tokenizer):
    guides = remote(tokenizer, 2)
    rows = [guides.of("papers")(LIMIT) for _ in range(4)]
    assert [check() for check in [row.check([0]) for row in rows]] == [0] * 4
    os.kill(guides.pids[1], signal.SIGKILL)
    with pytest.raises(constraint.WorkerLostError, match=r"SIGKILL.*constraint_workers") as error:
        _ = [check() for check in [row.check([0]) for row in rows]]
    assert error.value.exit_code == 75


def test_a_signal_to_all_processes_leaves_it_to_the_first_one(tokenizer):
    guides = remote(tokenizer, 1)
    guide = guides.of("singers")(LIMIT)
    assert guide.check([0])() == 0
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(guides.pids[0], number)
    time.sleep(0.1)
    assert guide.check([0])() == 0


def test_a_limit_that_no_query_keeps_to_is_told(tokenizer):
    guide = remote(tokenizer, 1).of("singers")(3)
    with pytest.raises(errors.InputError, match="max_new_tokens=3 is too little"):
        guide.check([0])()
