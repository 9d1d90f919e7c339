"""Shares with their uncertainty, and the test that compares two systems."""

import dataclasses
import math

# The standard normal quantile of 0.975: two-sided 95 % intervals.
Z_95 = 1.959963984540054


@dataclasses.dataclass(frozen=True)
class Share:
    """`count` of `total` examples, with a 95 % Wilson score interval.

    The interval stays inside [0, 1] and keeps its coverage for small groups and for
    shares near 0 or 1, where the textbook interval does not (E. B. Wilson, "Probable
    inference, the law of succession, and statistical inference", JASA 22, 1927).
    """

    count: int
    total: int

    @property
    def value(self) -> float | None:
        """The share in [0, 1], None of no examples."""
        return self.count / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % Wilson interval, None of no examples."""
        if not self.total:
            return None
        n, share = self.total, self.count / self.total
        shrink = 1 + Z_95**2 / n
        centre = (share + Z_95**2 / (2 * n)) / shrink
        half = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n)) / shrink
        low = 0.0 if self.count == 0 else max(0.0, centre - half)
        high = 1.0 if self.count == n else min(1.0, centre + half)
        return low, high

    def to_json(self) -> dict[str, float | int | None]:
        """The share as `report.json` holds it."""
        low, high = self.interval or (None, None)
        return {
            "count": self.count,
            "total": self.total,
            "share": self.value,
            "low": low,
            "high": high,
        }


def mcnemar(gained: int, lost: int) -> float:
    """The two-sided p-value of McNemar's exact test.

    Of the examples on which two systems disagree, `gained` are right only in the new one
    and `lost` only in the old one. If neither were better, each would fall to either side
    with probability 1/2; the p-value is that of a split at least this uneven (Q. McNemar,
    Psychometrika 12, 1947, in its exact binomial form).
    """
    n, fewer = gained + lost, min(gained, lost)
    if gained == lost:
        return 1.0
    # In logarithms: 2 ** -n underflows from n = 1,075 on.
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
        for k in range(fewer + 1)
    ]
    largest = max(logs)
    tail = math.exp(largest) * math.fsum(math.exp(log - largest) for log in logs)
    return min(1.0, 2 * tail)
