"""From samples to figures: quantiles, ratios within rounds, and how sure they are."""

import math
import random
import statistics
from collections.abc import Sequence

CONFIDENCE = 0.95
RESAMPLES = 2000
PARTS = 100  # of a distribution


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest of ``values`` that at least this part of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def distribution(values: Sequence[float]) -> list[float]:
    """The quantiles 0, 0.01, 0.02 ... 1."""
    ordered = sorted(values)
    count = len(ordered)
    return [ordered[max(0, math.ceil(i * count / PARTS) - 1)] for i in range(PARTS + 1)]


def ratios(ours: Sequence[float], peer: Sequence[float]) -> list[float]:
    """Round by round, so that what slows the machine for a while slows both."""
    return [a / b for a, b in zip(ours, peer, strict=True)]


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """The interval that holds the median of a resampling of ``values`` in 95 of 100 cases."""
    rng = random.Random(0)  # the same samples give the same interval
    medians = sorted(
        statistics.median(rng.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    outside = int(RESAMPLES * (1 - CONFIDENCE) / 2)
    return medians[outside], medians[-1 - outside]
