"""Everything that is measured in a loop of its own, as a table. (The servers: `races`.)

A case is one work (`benchmarks.sides`) with arguments. To add one: a line here, and a `Work`, or the
reason for its absence, in each side's module.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Group = Literal["cost", "latency", "lateness", "memory"]
Argument = int | float | str | bool


@dataclass(frozen=True)
class Case:
    """``work`` with ``args``, on every side that has it.

    The median of trioctx's ``metric`` over Trio's should be ``goal`` or less. ``rounds`` is the most
    that are taken, for what takes long; ``deadlines`` are armed and far away all the while.
    """

    name: str
    group: Group
    what: str
    work: str
    args: Mapping[str, Argument] = field(default_factory=dict)
    metric: str = "each"
    goal: float | None = None
    deadlines: int = 0
    rounds: int | None = None
    quick: bool = False
    """Whether ``--quick`` takes it."""


def costs() -> Iterable[Case]:
    yield Case(
        "with_timeout",
        "cost",
        "enter and leave a block with a deadline",
        "with_timeout",
        {"size": 1000},
        goal=1.0,
        quick=True,
    )


def latencies() -> Iterable[Case]:
    for tasks in 1, 10, 100, 1000, 10_000, 100_000:
        yield Case(
            f"fanout_{tasks}",
            "latency",
            f"cancel {tasks:,} sleeping tasks, until the block is left",
            "fanout",
            {"tasks": tasks, "trigger": "cancel", "load": False},
            metric="left",
            goal=1.03 if tasks == 10_000 else None,
            quick=tasks == 1000,
        )


def cases() -> dict[str, Case]:
    """All of them by name, in the order in which they are measured."""
    return {case.name: case for group in (costs, latencies) for case in group()}
