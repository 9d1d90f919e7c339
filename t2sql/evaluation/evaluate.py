"""Judging: execution accuracy, exact set match, hardness and validity, for one pair or many.

with Executor() as executor:
    for verdict in judge_all(pairs, executor):
        ...
"""

from collections.abc import Iterable, Iterator

from t2sql.evaluation.judge_pair import JudgePair
from t2sql.evaluation.sandbox.executor import Executor
from t2sql.evaluation.verdict import Pair, Verdict


def judge(pair: Pair, executor: Executor) -> Verdict:
    """Judges one pair."""
    (verdict,) = judge_all([pair], executor)
    return verdict


def judge_all(pairs: Iterable[Pair], executor: Executor) -> Iterator[Verdict]:
    """Judges pairs on all of the executor's processes; yields one verdict each, in order.

    Reads `pairs` only a little ahead of what was yielded, so memory stays bounded. Pairs that
    share a gold query run it once where they follow each other.
    """
    return executor.map(JudgePair(pair) for pair in pairs)
