"""Cancelling very many tasks at once: from the ``cancel()`` until the block is left."""

from collections.abc import Awaitable, Callable
from time import perf_counter

import trio
from trio.lowlevel import checkpoint

import trioctx

from .measure import Comparison, Side, expect

TASKS = 10_000

Sleeper = Callable[[], Awaitable[None]]


async def through_trioctx(sleeper: Sleeper, tasks: int) -> float:
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        for _ in range(tasks):
            ctx.start_soon(sleeper)
        await checkpoint()  # all of them run up to their sleep
        started = perf_counter()
        ctx.cancel()
    return perf_counter() - started


async def through_trio(sleeper: Sleeper, tasks: int) -> float:
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(sleeper)
        await checkpoint()
        started = perf_counter()
        nursery.cancel_scope.cancel()
    return perf_counter() - started


def side(label: str, through: Callable[[Sleeper, int], Awaitable[float]]) -> Side:
    async def sample(tasks: int) -> float:
        return await through(trio.sleep_forever, tasks)

    async def check() -> None:
        """Each task had begun to sleep, and was cancelled there."""
        slept = cancelled = 0

        async def sleeper() -> None:
            nonlocal slept, cancelled
            slept += 1
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled += 1
                raise

        await through(sleeper, 100)
        expect("tasks that slept and were cancelled", (slept, cancelled), (100, 100))

    return Side(label, sample, check)


def cancel_many() -> Comparison:
    return Comparison(
        "cancel_10000",
        side("ctx.cancel() and leaving", through_trioctx),
        side("nursery.cancel_scope.cancel() and leaving", through_trio),
        size=TASKS,
        goal=1.1,
    )
