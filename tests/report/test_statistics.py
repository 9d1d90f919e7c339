import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from t2sql.report.statistics import Share, mcnemar


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_agrees_with_scipy(pair):
    count, total = pair
    expected = stats.binomtest(count, total).proportion_ci(0.95, method="wilson")
    assert Share(count, total).interval == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(gained, lost):
    total = gained + lost
    expected = stats.binomtest(gained, total).pvalue if total else 1.0
    # Below 1e-289 scipy has 0.
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9, abs=1e-280)


def test_no_examples_give_no_share():
    assert Share(0, 0).to_json() == {
        "count": 0,
        "total": 0,
        "share": None,
        "low": None,
        "high": None,
    }


def test_interval_of_none_and_of_all_touches_the_end():
    assert Share(0, 20).interval[0] == 0.0
    assert Share(20, 20).interval[1] == 1.0


def test_mcnemar_of_a_hundred_thousand_neither_overflows_nor_underflows():
    assert math.isfinite(mcnemar(50_000, 50_500))
    assert mcnemar(0, 100_000) == 0.0 or mcnemar(0, 100_000) < 1e-300
