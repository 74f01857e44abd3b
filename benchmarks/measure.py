"""Two sides that do the same work, sampled in turn in one process, compared round by round.

Rounds are interleaved (A B A B ...), and a ratio is taken within each round, so that what slows
the whole machine for a while slows both sides alike. The median of the ratios stands for the
comparison; a bootstrap over the rounds says how far it would wander if all were measured again.
"""

import gc
import random
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
RESAMPLES = 2000


class WrongOutcome(Exception):
    """A side does not do the work that it is timed for."""


@dataclass(frozen=True)
class Side:
    """One way to do the work.

    ``sample(size)`` does it ``size`` times and returns the seconds that took, without its own
    preparation. ``check()`` raises `WrongOutcome` unless the work has the outcome it should have.
    """

    label: str
    sample: Callable[[int], Awaitable[float]]
    check: Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Comparison:
    """trioctx beside its peer.

    A sample does the work ``size`` times; the ratio should be ``goal`` or less.
    """

    name: str
    trioctx: Side
    peer: Side
    size: int
    goal: float | None = None


@dataclass(frozen=True)
class Result:
    """Seconds for one piece of work, for each side and round, in the order of the rounds."""

    comparison: Comparison
    size: int
    trioctx: Sequence[float]
    peer: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.trioctx, self.peer, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def interval(self) -> tuple[float, float]:
        return bootstrap(self.ratios)


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """The interval that holds the median of a resampling of ``values`` in 95 of 100 cases."""
    rng = random.Random(0)  # the same samples give the same interval
    medians = sorted(
        statistics.median(rng.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    outside = int(RESAMPLES * (1 - CONFIDENCE) / 2)
    return medians[outside], medians[-1 - outside]


def expect(what: str, actual: object, wanted: object) -> None:
    """Raise `WrongOutcome` unless the two are equal."""
    if actual != wanted:
        raise WrongOutcome(f"{what}: {actual!r} instead of {wanted!r}")


async def sampled(side: Side, size: int) -> float:
    """Seconds for one piece of work, with the cycle collector run before and kept out meanwhile."""
    gc.collect()
    gc.disable()
    try:
        return await side.sample(size) / size
    finally:
        gc.enable()


async def measure(comparison: Comparison, *, rounds: int, warmup: int, scale: float) -> Result:
    """Check both sides, then sample them in turn; ``scale`` multiplies the size of a sample."""
    ours, peer = comparison.trioctx, comparison.peer
    await ours.check()
    await peer.check()
    size = max(1, round(comparison.size * scale))
    taken = [
        (await sampled(ours, size), await sampled(peer, size)) for _ in range(warmup + rounds)
    ][warmup:]
    return Result(comparison, size, [a for a, _ in taken], [b for _, b in taken])
