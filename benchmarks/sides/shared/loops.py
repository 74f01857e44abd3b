"""The event loop that a side runs in: its clock, its turns, and how to keep it busy."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

AsyncFunction = Callable[[], Coroutine[Any, Any, object]]

PIECE = 20e-6
"""Seconds that a task of the load works before it lets others run."""


def work_a_little() -> None:
    until = perf_counter() + PIECE
    while perf_counter() < until:
        pass


@dataclass(frozen=True)
class Loop:
    clock: Callable[[], float]
    """What deadlines are told on."""
    cancelled: type[BaseException]
    turn: AsyncFunction
    """Let every task that can run do so."""
    sleep_forever: AsyncFunction
    busy: Callable[[int], AbstractAsyncContextManager[None]]
    """A block in which that many tasks keep the loop busy."""


def on_trio() -> Loop:
    import trio

    async def task() -> None:
        while True:
            work_a_little()
            await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def busy(tasks: int) -> AsyncIterator[None]:
        if not tasks:
            yield
            return
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(task)
            yield
            nursery.cancel_scope.cancel()

    return Loop(
        trio.current_time, trio.Cancelled, trio.lowlevel.checkpoint, trio.sleep_forever, busy
    )


def on_asyncio() -> Loop:
    import asyncio

    async def turn() -> None:
        await asyncio.sleep(0)

    async def sleep_forever() -> None:
        await asyncio.get_running_loop().create_future()

    async def task() -> None:
        while True:
            work_a_little()
            await asyncio.sleep(0)

    @asynccontextmanager
    async def busy(tasks: int) -> AsyncIterator[None]:
        running = [asyncio.create_task(task()) for _ in range(tasks)]
        try:
            yield
        finally:
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    clock = asyncio.get_running_loop().time
    return Loop(clock, asyncio.CancelledError, turn, sleep_forever, busy)


def on_anyio() -> Loop:
    """AnyIO's own names, on whichever loop runs."""
    import asyncio

    import anyio
    import anyio.lowlevel

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        loop = on_trio()
    else:
        loop = on_asyncio()
    return replace(
        loop,
        clock=anyio.current_time,
        cancelled=anyio.get_cancelled_exc_class(),
        turn=anyio.lowlevel.checkpoint,
        sleep_forever=anyio.sleep_forever,
    )
