"""A task is cancelled that waits for its TaskGroup, or a set of tasks by one who loops over it."""

import asyncio
from contextlib import AsyncExitStack

from benchmarks.sides import Work
from benchmarks.sides.shared import loops
from benchmarks.sides.shared.latency import SIGNAL, Watch, latency
from benchmarks.sides.shared.loops import AsyncFunction

from .checks import this_task


async def ending(watch: Watch, task: AsyncFunction, tasks: int) -> str:
    """Tasks in a group, that the trigger ends."""
    loop = asyncio.get_running_loop()
    this = this_task()

    async def block() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(task())
            await watch.fire(this.cancel, lambda: loop.call_soon_threadsafe(this.cancel))

    async def around() -> None:
        if watch.trigger == "deadline":
            async with asyncio.timeout_at(watch.deadline):
                await block()
        elif watch.trigger == "signal":
            loop.add_signal_handler(SIGNAL, this.cancel)
            try:
                await block()
            finally:
                loop.remove_signal_handler(SIGNAL)
        else:
            await block()

    try:
        await around()
    except asyncio.CancelledError:
        watch.leave()
        this.uncancel()
        return "cancelled"
    except TimeoutError:
        watch.leave()
        return "deadline"
    return "not"


async def fanout(watch: Watch) -> str:
    return await ending(watch, watch.sleep, watch.size)


async def depth(watch: Watch) -> str:
    async def deep() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(watch.size - 1):
                await stack.enter_async_context(asyncio.timeout(None))
            await watch.sleep()

    return await ending(watch, deep, 1)


async def linked(watch: Watch) -> str:
    tasks: set[asyncio.Task[object]] = set()
    deadline = watch.deadline if watch.trigger == "deadline" else None

    def cancel() -> None:
        for task in list(tasks):
            task.cancel()

    async def child() -> None:
        this = this_task()
        try:
            async with asyncio.timeout_at(deadline):
                tasks.add(this)
                try:
                    await watch.sleep()
                finally:
                    tasks.discard(this)
        except (asyncio.CancelledError, TimeoutError):
            watch.caught += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(watch.size):
            group.create_task(child())
        await watch.fire(cancel)
    watch.leave()
    return watch.all_caught()


def works() -> dict[str, Work]:
    return {
        "fanout": latency("TaskGroup, its tasks", loops.on_asyncio, fanout, many=True),
        "depth": latency("timeout in timeout", loops.on_asyncio, depth, many=False),
        "linked": latency("a set of tasks", loops.on_asyncio, linked, many=True),
    }
