"""A task group is cancelled, or a set of scopes by one who loops over it."""

import math
from contextlib import ExitStack
from dataclasses import replace

import anyio
import anyio.abc
import anyio.from_thread
import anyio.lowlevel

from benchmarks.sides import Absent, Work
from benchmarks.sides.shared import loops
from benchmarks.sides.shared.latency import SIGNAL, Watch, latency
from benchmarks.sides.shared.loops import AsyncFunction


async def on_signal(
    scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    with anyio.open_signal_receiver(SIGNAL) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def ending(watch: Watch, task: AsyncFunction, tasks: int) -> str:
    """Tasks in a group that the trigger ends."""

    async def block() -> None:
        async with anyio.create_task_group() as group:
            scope = group.cancel_scope
            if watch.trigger == "signal":
                await group.start(on_signal, scope)
            for _ in range(tasks):
                group.start_soon(task)
            token = anyio.lowlevel.current_token()
            await watch.fire(
                scope.cancel, lambda: anyio.from_thread.run_sync(scope.cancel, token=token)
            )

    if watch.trigger != "deadline":
        await block()
        watch.leave()
        return "cancelled"
    with anyio.CancelScope(deadline=watch.deadline) as scope:
        await block()
    watch.leave()
    return "deadline" if scope.cancelled_caught else "not"


async def fanout(watch: Watch) -> str:
    return await ending(watch, watch.sleep, watch.size)


async def depth(watch: Watch) -> str:
    async def deep() -> None:
        with ExitStack() as stack:
            for _ in range(watch.size - 1):
                stack.enter_context(anyio.CancelScope())
            await watch.sleep()

    return await ending(watch, deep, 1)


async def check_depth(depth: int, **args: object) -> None:
    """In this task alone: one that cannot be cancelled would stay for ever."""
    try:
        with ExitStack() as stack:
            outer, *_ = [stack.enter_context(anyio.CancelScope()) for _ in range(depth)]
            outer.cancel()
            await anyio.sleep_forever()
    except RecursionError:
        raise Absent(
            "AnyIO's CancelScope.cancel() is recursive on asyncio: RecursionError at this depth"
        ) from None


async def linked(watch: Watch) -> str:
    scopes: set[anyio.CancelScope] = set()
    deadline = watch.deadline if watch.trigger == "deadline" else math.inf

    def cancel() -> None:
        for scope in list(scopes):
            scope.cancel()

    async def child() -> None:
        with anyio.CancelScope(deadline=deadline) as scope:
            scopes.add(scope)
            try:
                await watch.sleep()
            finally:
                scopes.discard(scope)
        watch.caught += scope.cancelled_caught

    async with anyio.create_task_group() as group:
        for _ in range(watch.size):
            group.start_soon(child)
        await watch.fire(cancel)
    watch.leave()
    return watch.all_caught()


def works() -> dict[str, Work]:
    return {
        "fanout": latency("task group, its tasks", loops.on_anyio, fanout, many=True),
        "depth": replace(
            latency("CancelScope in CancelScope", loops.on_anyio, depth, many=False),
            check=check_depth,
        ),
        "linked": latency("a set of CancelScopes", loops.on_anyio, linked, many=True),
    }
