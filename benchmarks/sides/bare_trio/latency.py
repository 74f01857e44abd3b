"""A nursery is cancelled, or a set of scopes by one who loops over it."""

import math
from contextlib import ExitStack

import trio

from benchmarks.sides import Work
from benchmarks.sides.shared import loops
from benchmarks.sides.shared.latency import SIGNAL, Watch, latency
from benchmarks.sides.shared.loops import AsyncFunction


async def on_signal(scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(SIGNAL) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def ending(watch: Watch, task: AsyncFunction, tasks: int) -> str:
    """Tasks in a nursery that the trigger ends."""

    async def block() -> None:
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            if watch.trigger == "signal":
                await nursery.start(on_signal, scope)
            for _ in range(tasks):
                nursery.start_soon(task)
            token = trio.lowlevel.current_trio_token()
            await watch.fire(scope.cancel, lambda: token.run_sync_soon(scope.cancel))

    if watch.trigger != "deadline":
        await block()
        watch.leave()
        return "cancelled"
    try:
        with trio.fail_at(watch.deadline):
            await block()
    except trio.TooSlowError:
        watch.leave()
        return "deadline"
    return "not"


async def fanout(watch: Watch) -> str:
    return await ending(watch, watch.sleep, watch.size)


async def depth(watch: Watch) -> str:
    async def deep() -> None:
        with ExitStack() as stack:
            for _ in range(watch.size - 1):
                stack.enter_context(trio.CancelScope())
            await watch.sleep()

    return await ending(watch, deep, 1)


async def linked(watch: Watch) -> str:
    scopes: set[trio.CancelScope] = set()
    deadline = watch.deadline if watch.trigger == "deadline" else math.inf

    def cancel() -> None:
        for scope in list(scopes):
            scope.cancel()

    async def child() -> None:
        with trio.CancelScope(deadline=deadline) as scope:
            scopes.add(scope)
            try:
                await watch.sleep()
            finally:
                scopes.discard(scope)
        watch.caught += scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        for _ in range(watch.size):
            nursery.start_soon(child)
        await watch.fire(cancel)
    watch.leave()
    return watch.all_caught()


def works() -> dict[str, Work]:
    return {
        "fanout": latency("nursery, its tasks", loops.on_trio, fanout, many=True),
        "depth": latency("CancelScope in CancelScope", loops.on_trio, depth, many=False),
        "linked": latency("a set of CancelScopes", loops.on_trio, linked, many=True),
    }
