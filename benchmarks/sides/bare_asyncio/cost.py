"""What the same costs with asyncio alone."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from functools import partial
from time import perf_counter

from benchmarks.sides import Figures, Work
from benchmarks.sides.shared import loops, variables
from benchmarks.sides.shared.cost import (
    SECONDS,
    async_blocks,
    awaits,
    cancel_all,
    checked,
    each,
    nothing,
)
from benchmarks.sides.shared.loops import AsyncFunction

from . import checks
from .checks import this_task

Block = Callable[[], AbstractAsyncContextManager[object]]


def around() -> AbstractContextManager[None]:
    """A task can always be cancelled: nothing has to be open for that."""
    return nullcontext()


def deadline_block(_: object) -> Block:
    return partial(asyncio.timeout_at, asyncio.get_running_loop().time() + SECONDS)


async def linked(size: int) -> Figures:
    """The one who cancels keeps a set of tasks, and loops over it."""
    tasks: set[asyncio.Task[object]] = set()
    began = perf_counter()
    for _ in range(size):
        task = this_task()
        tasks.add(task)
        try:
            pass
        finally:
            tasks.discard(task)
    return each(began, size)


async def merge(size: int) -> Figures:
    one: set[asyncio.Task[object]] = set()
    other: set[asyncio.Task[object]] = set()
    began = perf_counter()
    for _ in range(size):
        task = this_task()
        one.add(task)
        other.add(task)
        try:
            pass
        finally:
            other.discard(task)
            one.discard(task)
    return each(began, size)


async def one_task(_: object) -> None:
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        group.create_task(nothing())


async def start_soon(size: int) -> Figures:
    async with asyncio.TaskGroup() as group:
        began = perf_counter()
        for _ in range(size):
            group.create_task(nothing())
    return each(began, size)


async def cancel_through(sleeper: AsyncFunction, tasks: int) -> float:
    began = 0.0
    this = this_task()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(sleeper())
            for _ in range(2):
                await asyncio.sleep(0)
            began = perf_counter()
            this.cancel()
    except asyncio.CancelledError:
        this.uncancel()
    return perf_counter() - began


async def check_ended(size: int) -> Figures:
    began = perf_counter()
    for _ in range(size):
        this_task().cancelling()
    return each(began, size)


def works() -> dict[str, Work]:
    linking = Work("the task in a set", linked, checked(checks.elsewhere))
    return variables.works() | {
        "with_cancel": async_blocks(
            "async with timeout(None)",
            around,
            lambda _: partial(asyncio.timeout, None),
            checks.cancel,
        ),
        "with_timeout": async_blocks(
            "async with timeout",
            around,
            lambda _: partial(asyncio.timeout, SECONDS),
            checks.timeout,
        ),
        "with_deadline": async_blocks(
            "async with timeout_at", around, deadline_block, checks.timeout
        ),
        "merge": Work("the task in two sets", merge, checked(checks.elsewhere)),
        "linked_new": linking,
        "linked_open": linking,
        "tasks_none": async_blocks(
            "async with TaskGroup", around, lambda _: asyncio.TaskGroup, checks.tasks
        ),
        "tasks_one": awaits("timeout + TaskGroup", around, one_task, checks.tasks),
        "start_soon": Work("group.create_task", start_soon, checked(checks.start_soon)),
        "cancel_all": cancel_all("task.cancel()", loops.on_asyncio, cancel_through),
        "check": Work("task.cancelling()", check_ended, checked(checks.ended)),
    }
