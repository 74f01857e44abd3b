"""What is measured, done in each way: a package for each side, with a `Work` for each one it knows.

A side has a module for each group of cases (`cost`, `latency`, `lateness`, `memory`), and `checks`.
What all sides do alike stands in `shared`: there a work is timed, a side only says how it is done.
The package itself has two names:

- ``works()``: name of the work (`benchmarks.cases.WORKS`) to `Work`.
- ``LACKS``: name of the work to the reason why this side has nothing of the kind. What stands in
  neither is a mistake, which a test finds. (`floor` is no peer: it has what stands beside a goal.)

What a side can do, only not with these arguments (1,000 levels, say), its check says with `Absent`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Figures = dict[str, list[float]]
"""What a sample found: for each metric one value or more, in seconds (or bytes)."""


class WrongOutcome(Exception):
    """A side does not do the work that it is timed for."""


class Absent(Exception):
    """A side cannot do a work with these arguments: why, for the reader of the results."""


@dataclass(frozen=True)
class Work:
    """One side's way to do the work of a case.

    ``sample(**args)`` does it and measures; ``check(**args)`` raises `WrongOutcome` unless the work
    has the outcome that it should have, and is awaited once before anything is timed.
    """

    label: str
    sample: Callable[..., Awaitable[Figures]]
    check: Callable[..., Awaitable[object]]


def expect(what: str, actual: object, wanted: object) -> None:
    """Raise `WrongOutcome` unless the two are equal."""
    if actual != wanted:
        raise WrongOutcome(f"{what}: {actual!r} instead of {wanted!r}")
