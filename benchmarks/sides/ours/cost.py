"""What a context costs: enclosed by an open one, as in a program that uses contexts."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from time import perf_counter

import trio

import trioctx
from benchmarks.sides import Figures, Work, expect
from benchmarks.sides.shared import loops
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
from benchmarks.sides.shared.variables import OTHER, THIRD, VAR

from . import checks
from .checks import root

Block = Callable[[], trioctx.Context]


def deadline_of(ctx: trioctx.Context) -> Block:
    return partial(trioctx.with_deadline, ctx, trio.current_time() + SECONDS)


def values_of(ctx: trioctx.Context) -> Block:
    return partial(trioctx.with_values, ctx, {VAR: "set", OTHER: "set", THIRD: "set"})


def merge_elsewhere(ctx: trioctx.Context) -> Block:
    return partial(trioctx.merge, root(), root())


def link_elsewhere(ctx: trioctx.Context) -> Block:
    return partial(trioctx.with_cancel, root())


@asynccontextmanager
async def open_elsewhere() -> AsyncIterator[trioctx.Context]:
    """A context that is open in another task."""

    async def hold(task_status: trio.TaskStatus[trioctx.Context]) -> None:
        async with root() as ctx:
            task_status.started(ctx)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        yield await nursery.start(hold)
        nursery.cancel_scope.cancel()


async def linked_open(size: int) -> Figures:
    async with open_elsewhere() as parent:
        block = partial(trioctx.with_cancel, parent)
        return await blocks("", root, lambda _: block, checks.cancel).sample(size)


async def check_linked_open(size: int) -> None:
    async with open_elsewhere() as parent:
        await checks.ends_with(parent, trioctx.with_cancel(parent))


async def one_task(ctx: trioctx.Context) -> None:
    async with trioctx.with_timeout(ctx, SECONDS) as inner:
        inner.start_soon(nothing)


async def start_soon(size: int) -> Figures:
    began = 0.0
    async with root() as ctx:
        began = perf_counter()
        for _ in range(size):
            ctx.start_soon(nothing)
    return each(began, size)


async def cancel_through(sleeper: AsyncFunction, tasks: int) -> float:
    began = 0.0
    async with root() as ctx:
        for _ in range(tasks):
            ctx.start_soon(sleeper)
        for _ in range(2):  # they have run up to their sleep, in whichever order
            await trio.lowlevel.checkpoint()
        began = perf_counter()
        ctx.cancel()
    return perf_counter() - began


async def current(ctx: trioctx.Context, size: int) -> None:
    call = trioctx.current
    for _ in range(size):
        call()


async def check_ended(ctx: trioctx.Context, size: int) -> None:
    for _ in range(size):
        ctx.check()


async def after_func(ctx: trioctx.Context, size: int) -> None:
    for _ in range(size):
        trioctx.after_func(ctx, print).stop()
    for _ in range(2):  # what waited for the end is gone, too
        await trio.lowlevel.checkpoint()


async def value(size: int, depth: int) -> Figures:
    with ExitStack() as stack:
        ctx = stack.enter_context(trioctx.with_value(trioctx.background(), VAR, "set"))
        for _ in range(depth - 1):
            ctx = stack.enter_context(trioctx.with_value(ctx, OTHER, "other"))
        expect("the value", ctx[VAR], "set")
        began = perf_counter()
        for _ in range(size):
            ctx[VAR]
        return each(began, size)


async def deadline(size: int, depth: int) -> Figures:
    with ExitStack() as stack:
        ctx = outer = stack.enter_context(trioctx.with_timeout(trioctx.background(), SECONDS))
        for _ in range(depth - 1):
            ctx = stack.enter_context(trioctx.with_cancel(ctx))
        expect("the deadline", ctx.deadline, outer.deadline)
        began = perf_counter()
        for _ in range(size):
            ctx.deadline  # noqa: B018 - only the look is timed
        return each(began, size)


def works() -> dict[str, Work]:
    bound = partial
    return {
        "with_cancel": blocks(
            "with with_cancel", root, lambda ctx: bound(trioctx.with_cancel, ctx), checks.cancel
        ),
        "with_timeout": blocks(
            "with with_timeout",
            root,
            lambda ctx: bound(trioctx.with_timeout, ctx, SECONDS),
            checks.timeout,
        ),
        "with_deadline": blocks("with with_deadline", root, deadline_of, checks.deadline),
        "with_value": blocks(
            "with with_value",
            root,
            lambda ctx: bound(trioctx.with_value, ctx, VAR, "set"),
            checks.values,
        ),
        "with_values": blocks("with with_values", root, values_of, checks.values),
        "without_cancel": blocks(
            "with without_cancel",
            root,
            lambda ctx: bound(trioctx.without_cancel, ctx),
            checks.shield,
        ),
        "merge": blocks("with merge", root, merge_elsewhere, checks.merge),
        "linked_new": blocks(
            "with with_cancel, its parent not entered", root, link_elsewhere, checks.linked_new
        ),
        "linked_open": Work(
            "with with_cancel, its parent open elsewhere", linked_open, check_linked_open
        ),
        "tasks_none": async_blocks(
            "async with with_cancel",
            root,
            lambda ctx: bound(trioctx.with_cancel, ctx),
            checks.tasks,
        ),
        "tasks_one": awaits("async with with_timeout", root, one_task, checks.tasks),
        "start_soon": Work("ctx.start_soon", start_soon, checked(checks.start_soon)),
        "cancel_all": cancel_all("ctx.cancel()", loops.on_trio, cancel_through),
        "current": within("current()", root, current, checks.current),
        "check": within("ctx.check()", root, check_ended, checks.ended),
        "after_func": within("after_func, stop", root, after_func, checks.after_func),
        "value": Work("ctx[VAR]", value, value),
        "deadline": Work("ctx.deadline", deadline, deadline),
    }
