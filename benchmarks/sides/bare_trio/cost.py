"""What the same costs with Trio alone: a cancel scope open around it, as it is around any task."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from time import perf_counter

import trio

from benchmarks.sides import Absent, Figures, Work
from benchmarks.sides.shared import loops, variables
from benchmarks.sides.shared.cost import (
    SECONDS,
    async_blocks,
    awaits,
    blocks,
    cancel_all,
    checked,
    each,
    nothing,
    within,
)
from benchmarks.sides.shared.loops import AsyncFunction

from . import checks

Block = Callable[[], AbstractContextManager[trio.CancelScope]]
around = trio.CancelScope


def deadline_block(scope: trio.CancelScope) -> Block:
    return partial(trio.fail_at, trio.current_time() + SECONDS)


async def linked(around: trio.CancelScope, size: int) -> None:
    """The one who cancels keeps a set of scopes, and loops over it."""
    scopes: set[trio.CancelScope] = set()
    for _ in range(size):
        with trio.CancelScope() as scope:
            scopes.add(scope)
            try:
                pass
            finally:
                scopes.discard(scope)


async def merge(around: trio.CancelScope, size: int) -> None:
    one: set[trio.CancelScope] = set()
    other: set[trio.CancelScope] = set()
    for _ in range(size):
        with trio.CancelScope() as scope:
            one.add(scope)
            other.add(scope)
            try:
                pass
            finally:
                other.discard(scope)
                one.discard(scope)


async def one_task(around: trio.CancelScope) -> None:
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(nothing)


async def start_soon(size: int) -> Figures:
    async with trio.open_nursery() as nursery:
        began = perf_counter()
        for _ in range(size):
            nursery.start_soon(nothing)
    return each(began, size)


async def cancel_through(sleeper: AsyncFunction, tasks: int) -> float:
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(sleeper)
        for _ in range(2):  # they have run up to their sleep, in whichever order
            await trio.lowlevel.checkpoint()
        began = perf_counter()
        nursery.cancel_scope.cancel()
    return perf_counter() - began


async def check_ended(around: trio.CancelScope, size: int) -> None:
    ask = trio.current_effective_deadline
    for _ in range(size):
        ask() == -math.inf  # noqa: B015 - only the question is timed


async def deadline(size: int, depth: int) -> Figures:
    with ExitStack() as stack:
        stack.enter_context(trio.fail_after(SECONDS))
        for _ in range(depth - 1):
            stack.enter_context(trio.CancelScope())
        call = trio.current_effective_deadline
        began = perf_counter()
        for _ in range(size):
            call()
        return each(began, size)


async def check_deadline(size: int, depth: int) -> None:
    try:
        await deadline(1, depth)
    except RecursionError:
        raise Absent(
            "trio.current_effective_deadline() is recursive: RecursionError at this depth"
        ) from None
    await checks.timeout()


def works() -> dict[str, Work]:
    linking = within("CancelScope in a set", around, linked, checks.elsewhere)
    return variables.works() | {
        "with_cancel": blocks(
            "with CancelScope", around, lambda _: trio.CancelScope, checks.cancel
        ),
        "with_timeout": blocks(
            "with fail_after", around, lambda _: partial(trio.fail_after, SECONDS), checks.timeout
        ),
        "with_deadline": blocks("with fail_at", around, deadline_block, checks.deadline),
        "without_cancel": blocks(
            "with CancelScope(shield=True)",
            around,
            lambda _: partial(trio.CancelScope, shield=True),
            checks.shield,
        ),
        "merge": within("CancelScope in two sets", around, merge, checks.elsewhere),
        "linked_new": linking,
        "linked_open": linking,
        "tasks_none": async_blocks(
            "async with open_nursery", around, lambda _: trio.open_nursery, checks.tasks
        ),
        "tasks_one": awaits("fail_after + open_nursery", around, one_task, checks.tasks),
        "start_soon": Work("nursery.start_soon", start_soon, checked(checks.start_soon)),
        "cancel_all": cancel_all("nursery.cancel_scope.cancel()", loops.on_trio, cancel_through),
        "check": within("current_effective_deadline()", around, check_ended, checks.ended),
        "deadline": Work("current_effective_deadline()", deadline, check_deadline),
    }
