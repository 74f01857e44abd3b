"""One Trio run as contexts see it: its clock, the order of its events, the way into its thread."""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import trio
from attrs import define, field

# A moment: the time on the run's clock, then what came first among the things of the same instant.
# A deadline has rank 0, the end of a stop's grace 1, and events are numbered in the order in which
# they happened: at the same instant the deadline wins.
Stamp: TypeAlias = tuple[float, int]
AT_DEADLINE = 0
AT_GRACE = 1
FIRST: Stamp = (-math.inf, AT_DEADLINE)
events = itertools.count(2)


@define(eq=False)
class Run:
    """One call of `trio.run`."""

    token: trio.lowlevel.TrioToken
    now: Callable[[], float]
    # How many links and watches are alive: with none, nobody has to be told of an end.
    listeners: int = field(default=0, init=False)
    # Goes up when something may have ended: while it stands, what was found open still is.
    epoch: int = field(default=0, init=False)

    def stamp(self) -> Stamp:
        """This moment. Any thread."""
        return (self.now(), next(events))

    def call(self, fn: Callable[[], object]) -> None:
        """Call `fn` in the run's own thread: now if this is it, else soon, while the run lasts."""
        if this_run() is self:
            fn()
        else:
            with suppress(trio.RunFinishedError):
                self.token.run_sync_soon(fn)


_run_var: trio.lowlevel.RunVar[Run | None] = trio.lowlevel.RunVar("trioctx")
_runs: weakref.WeakSet[Run] = weakref.WeakSet()


def this_run() -> Run | None:
    """The run of the calling thread, if there is one and a context has been used in it."""
    try:
        return _run_var.get(None)
    except RuntimeError:
        return None


def enter_run() -> Run | None:
    """The run of the calling thread, if there is one."""
    try:
        run = _run_var.get(None)
    except RuntimeError:
        return None
    if run is None:
        clock = trio.lowlevel.current_clock()
        run = Run(trio.lowlevel.current_trio_token(), clock.current_time)
        _run_var.set(run)
        _runs.add(run)
    return run


def all_runs() -> list[Run]:
    """The runs that live."""
    return list(_runs)


def stamps_everywhere() -> tuple[Stamp, dict[Run, Stamp]]:
    """This moment for a context that was made outside any run: as each run that lives sees it.

    The first stamp is for runs that do not live yet: earlier than anything in them.
    """
    order = next(events)
    return (-math.inf, order), {run: (run.now(), order) for run in all_runs()}
