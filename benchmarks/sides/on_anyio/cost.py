"""What the same costs with AnyIO, a cancel scope open around it."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from time import perf_counter

import anyio
import anyio.lowlevel

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

Block = Callable[[], AbstractContextManager[anyio.CancelScope]]
around = anyio.CancelScope


def deadline_block(scope: anyio.CancelScope) -> Block:
    return partial(anyio.CancelScope, deadline=anyio.current_time() + SECONDS)


async def linked(around: anyio.CancelScope, size: int) -> None:
    """The one who cancels keeps a set of scopes, and loops over it."""
    scopes: set[anyio.CancelScope] = set()
    for _ in range(size):
        with anyio.CancelScope() as scope:
            scopes.add(scope)
            try:
                pass
            finally:
                scopes.discard(scope)


async def merge(around: anyio.CancelScope, size: int) -> None:
    one: set[anyio.CancelScope] = set()
    other: set[anyio.CancelScope] = set()
    for _ in range(size):
        with anyio.CancelScope() as scope:
            one.add(scope)
            other.add(scope)
            try:
                pass
            finally:
                other.discard(scope)
                one.discard(scope)


async def one_task(around: anyio.CancelScope) -> None:
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(nothing)


async def start_soon(size: int) -> Figures:
    began = 0.0
    async with anyio.create_task_group() as group:
        began = perf_counter()
        for _ in range(size):
            group.start_soon(nothing)
    return each(began, size)


async def cancel_through(sleeper: AsyncFunction, tasks: int) -> float:
    began = 0.0
    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(sleeper)
        for _ in range(2):  # they have run up to their sleep, in whichever order
            await anyio.lowlevel.checkpoint()
        began = perf_counter()
        group.cancel_scope.cancel()
    return perf_counter() - began


async def check_ended(around: anyio.CancelScope, size: int) -> None:
    ask = anyio.current_effective_deadline
    for _ in range(size):
        ask() == -math.inf  # noqa: B015 - only the question is timed


async def deadline(size: int, depth: int) -> Figures:
    with ExitStack() as stack:
        stack.enter_context(anyio.fail_after(SECONDS))
        for _ in range(depth - 1):
            stack.enter_context(anyio.CancelScope())
        call = anyio.current_effective_deadline
        began = perf_counter()
        for _ in range(size):
            call()
        return each(began, size)


async def check_deadline(size: int, depth: int) -> None:
    try:
        await deadline(1, depth)
    except RecursionError:
        raise Absent(
            "anyio.current_effective_deadline() is recursive on Trio: RecursionError at this depth"
        ) from None
    await checks.timeout()


def works() -> dict[str, Work]:
    linking = within("CancelScope in a set", around, linked, checks.elsewhere)
    return variables.works() | {
        "with_cancel": blocks(
            "with CancelScope", around, lambda _: anyio.CancelScope, checks.cancel
        ),
        "with_timeout": blocks(
            "with fail_after", around, lambda _: partial(anyio.fail_after, SECONDS), checks.timeout
        ),
        "with_deadline": blocks(
            "with CancelScope(deadline=...)", around, deadline_block, checks.deadline
        ),
        "without_cancel": blocks(
            "with CancelScope(shield=True)",
            around,
            lambda _: partial(anyio.CancelScope, shield=True),
            checks.shield,
        ),
        "merge": within("CancelScope in two sets", around, merge, checks.elsewhere),
        "linked_new": linking,
        "linked_open": linking,
        "tasks_none": async_blocks(
            "async with create_task_group", around, lambda _: anyio.create_task_group, checks.tasks
        ),
        "tasks_one": awaits("fail_after + create_task_group", around, one_task, checks.tasks),
        "start_soon": Work("group.start_soon", start_soon, checked(checks.tasks)),
        "cancel_all": cancel_all("group.cancel_scope.cancel()", loops.on_anyio, cancel_through),
        "check": within("current_effective_deadline()", around, check_ended, checks.ended),
        "deadline": Work("current_effective_deadline()", deadline, check_deadline),
    }
