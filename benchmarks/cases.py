"""Everything that is measured in a loop of its own, as a table. (The servers: `races`.)

A case is one work (`WORKS`) with arguments. To add one: a line here, and for a new work a `Work`,
or the reason for its absence, in each side of `benchmarks.sides`.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Group = Literal["cost", "latency", "lateness", "memory"]
Argument = int | float | str | bool

METRICS: Mapping[Group, tuple[str, ...]] = {
    "cost": ("each",),
    "latency": ("first", "last", "left"),
    "lateness": ("late",),
    "memory": ("bytes",),
}
"""What a sample of a group finds: seconds, but for ``bytes``.

``each``: for one piece of work. ``first``, ``last``, ``left``: from the trigger until the first
task unwinds, until the last one does, until the block that holds them all is left. ``late``: from
a deadline until its task unwinds. A sample gives one value or more for each.
"""

WORKS: Mapping[str, str] = {
    # cost, args: size (how many times in a sample). The deadlines are 60 s away, a context with a
    # cancel function is open around all of it, and the block is empty.
    "with_cancel": "enter and leave a block that can be cancelled",
    "with_timeout": "enter and leave a block with a timeout",
    "with_deadline": "enter and leave a block with a deadline on the loop's clock",
    "with_value": "enter and leave a block in which one variable is set",
    "with_values": "enter and leave a block in which three variables are set",
    "without_cancel": "enter and leave a block that the cancellation around it does not reach",
    "merge": "enter and leave a block that ends with either of two contexts elsewhere",
    "linked_new": "enter and leave a block whose parent, not entered, does not enclose it",
    "linked_open": "enter and leave a block whose parent is open in another task",
    "tasks_none": "enter and leave a block that may hold tasks, with none",
    "tasks_one": "enter and leave a block that may hold tasks, with a timeout and one task",
    "start_soon": "start a task that ends at once, until it is over",
    "current": "ask for the current context",
    "check": "look whether the context has ended",
    "after_func": "ask for a call at the context's end, and take it back",
    # args: size, depth (how many blocks are open around)
    "value": "look up the value set in the outermost of `depth` blocks",
    "deadline": "ask when the innermost of `depth` blocks ends, whose deadline the outermost has",
    # args: tasks; metric left. Nothing is noted meanwhile: the tasks only sleep
    "cancel_all": "cancel tasks that only sleep, until the block is left",
    # latency, args: trigger (`HOW`), load (tasks that keep the loop busy, each time for 20 µs),
    # repeat (how often in a sample: as many values of each metric), and ...
    "fanout": "`tasks` sleep in one block, which ends",
    "depth": "one task sleeps in the innermost of `depth` blocks, of which the outermost ends",
    "linked": "`children` in tasks of their own, linked to a context elsewhere, which ends",
    # lateness, args: deadlines (each with a task), spread (seconds that they are spread over)
    "lateness": "tasks that sleep until the deadlines of their own blocks",
    # memory, args: number (open at once)
    "memory_with_cancel": "an open block that can be cancelled",
    "memory_with_timeout": "an open block with a timeout",
    "memory_with_value": "an open block in which one variable is set",
    "memory_tasks": "an open block that may hold tasks",
    "memory_linked": "an open block whose parent, not entered, does not enclose it",
}
"""What each work is: on every side the same, with the same outcome."""


@dataclass(frozen=True)
class Case:
    """``work`` with ``args``, on every side that has it."""

    name: str
    group: Group
    what: str
    work: str
    args: Mapping[str, Argument] = field(default_factory=dict)
    metric: str = "each"
    """The one of `METRICS` that stands for the case, and that a goal is about."""
    goal: float | None = None
    """trioctx's median over Trio's (or ``against``'s) should be this or less."""
    against: tuple[str, str] | None = None
    """Side and work that a goal compares with, where that is not Trio's way to do the same: sampled
    in the same rounds, with the same arguments."""
    deadlines: int = 0
    """Armed and far away all the while."""
    rounds: int | None = None
    """The most that are taken, of what takes long."""
    quick: bool = False
    """Whether ``--quick`` takes it."""

    @property
    def rival(self) -> str:
        """What the goal compares with, as it is called among the sides of a result."""
        return "trio" if self.against is None else " ".join(self.against)


SIZE = 1000


def cost(
    work: str,
    *,
    name: str = "",
    what: str = "",
    size: int = SIZE,
    goal: float | None = None,
    against: tuple[str, str] | None = None,
    quick: bool = False,
    deadlines: int = 0,
    rounds: int | None = None,
    **args: Argument,
) -> Case:
    return Case(
        name or work,
        "cost",
        what or WORKS[work],
        work,
        {"size": size, **args},
        goal=goal,
        against=against,
        quick=quick,
        deadlines=deadlines,
        rounds=rounds,
    )


ENCLOSED = ("trioctx", "with_cancel")
SCOPE = ("trio", "with_cancel")


def costs() -> Iterator[Case]:
    yield cost("with_cancel")
    yield cost("with_timeout", goal=1.0, quick=True)
    yield cost("with_deadline")
    yield cost("with_value", goal=0.5, against=SCOPE, quick=True)
    yield cost("with_values")
    yield cost("without_cancel")
    yield cost("merge", size=300)
    yield cost("linked_new", goal=1.5, against=ENCLOSED, quick=True)
    yield cost("linked_open", goal=1.5, against=ENCLOSED)
    yield cost("tasks_none", size=300)
    yield cost("tasks_one", size=300, goal=0.95, quick=True)
    yield cost("start_soon", goal=1.05, quick=True)
    yield Case(
        "cancel_10000",
        "cost",
        "cancel 10,000 tasks that only sleep, until the block is left",
        "cancel_all",
        {"tasks": 10_000},
        metric="left",
        goal=1.03,
    )
    yield cost("current", size=10_000, goal=8.0, quick=True)
    yield cost("check", size=10_000)
    yield cost("after_func")
    for work in "value", "deadline":
        for depth in 1, 10, 100, 1000:
            what = WORKS[work].replace("`depth`", f"{depth:,}")
            yield cost(work, name=f"{work}_{depth}", what=what, size=2000, depth=depth)


def costs_among_deadlines() -> Iterator[Case]:
    """Last of the costs: the loop has to hold all of them meanwhile."""
    for number in 40, 4000, 400_000:
        yield cost(
            "with_timeout",
            name=f"with_timeout_{number}",
            what=f"enter and leave a block with a timeout, among {number:,} live deadlines",
            deadlines=number,
        )


REPEAT = {1: 8, 10: 4, 100: 2}
"""How often a small latency is measured in one sample; half as often where each takes its time."""
ROUNDS: Mapping[int, int] = {10_000: 3, 100_000: 1}
"""The most rounds for what takes seconds on every side."""


@dataclass(frozen=True)
class Kind:
    """What ends in a latency: a work, the argument that says how many, and their name."""

    work: str
    argument: str
    one: str
    many: str


FANOUT = Kind("fanout", "tasks", "task in a block", "tasks in a block")
DEPTH = Kind("depth", "depth", "block", "nested blocks")
LINKED = Kind("linked", "children", "linked child", "linked children")

HOW = {
    "cancel": "cancelled",
    "deadline": "ended by a deadline",
    "thread": "cancelled from another thread",
    "signal": "cancelled by a signal",
}


def latency(
    kind: Kind,
    sizes: Iterable[int],
    trigger: str = "cancel",
    *,
    load: int = 0,
    rounds: Mapping[int, int] = ROUNDS,
    quick: Container[int] = (),
) -> Iterator[Case]:
    """A case for each size, for one trigger, idle or under load."""
    for size in sizes:
        what = f"{size:,} {kind.one if size == 1 else kind.many}, {HOW[trigger]}"
        repeat = REPEAT.get(size, 1)
        if load or trigger == "deadline":
            repeat = max(1, repeat // 2)
        suffix = f"_{trigger}" * (trigger != "cancel") + "_load" * bool(load)
        yield Case(
            f"{kind.work}_{size}{suffix}",
            "latency",
            what + ", under load" * bool(load),
            kind.work,
            {
                kind.argument: size,
                "trigger": trigger,
                "load": load,
                "repeat": repeat,
            },
            metric="left",
            rounds=rounds.get(size),
            quick=size in quick,
        )


SMALL = 1, 10, 100, 1000
ALL = *SMALL, 10_000, 100_000
FEW = 1, 100, 10_000
LOAD = 50


def latencies() -> Iterator[Case]:
    yield from latency(FANOUT, ALL, rounds={100_000: 3}, quick=SMALL)
    yield from latency(FANOUT, ALL, "deadline", quick=[100])
    yield from latency(FANOUT, FEW, "thread")
    yield from latency(FANOUT, FEW, "signal")
    yield from latency(FANOUT, ALL[:-1], load=LOAD, quick=[100])
    yield from latency(DEPTH, SMALL, quick=[100])
    yield from latency(DEPTH, SMALL, "deadline")
    yield from latency(LINKED, ALL, rounds={100_000: 1}, quick=[100])
    yield from latency(LINKED, FEW, "deadline")
    yield from latency(LINKED, ALL[:-1], load=LOAD)


def latenesses() -> Iterator[Case]:
    for number, rounds in (10_000, 3), (100_000, 1):
        yield Case(
            f"lateness_{number}",
            "lateness",
            f"{number:,} deadlines within one second",
            "lateness",
            {"deadlines": number, "spread": 1.0},
            metric="late",
            rounds=rounds,
        )
    yield Case(
        "lateness_1000",
        "lateness",
        "1,000 deadlines within a tenth of a second",
        "lateness",
        {"deadlines": 1000, "spread": 0.1},
        metric="late",
        quick=True,
    )


def memories() -> Iterator[Case]:
    for work, what in WORKS.items():
        if work.startswith("memory_"):
            goal = 1.6 if work == "memory_with_cancel" else None
            yield Case(
                work,
                "memory",
                what,
                work,
                {"number": 300},
                metric="bytes",
                goal=goal,
                rounds=3,
                quick=goal is not None,
            )


def cases() -> dict[str, Case]:
    """All of them by name, in the order in which they are measured."""
    groups = costs, costs_among_deadlines, latencies, latenesses, memories
    return {case.name: case for group in groups for case in group()}
