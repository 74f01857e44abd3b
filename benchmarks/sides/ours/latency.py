"""A context ends: its tasks, a task far inside, or what is linked to it."""

from contextlib import ExitStack

import trioctx
from benchmarks.sides import Work
from benchmarks.sides.shared import loops
from benchmarks.sides.shared.latency import SIGNAL, Watch, latency


def ending(watch: Watch) -> trioctx.Context:
    """A context that the trigger will end."""
    root = trioctx.background()
    if watch.trigger == "deadline":
        return trioctx.with_deadline(root, watch.deadline)
    if watch.trigger == "signal":
        return trioctx.with_signals(root, SIGNAL, grace=0)
    return trioctx.with_cancel(root)


def how(ctx: trioctx.Context) -> str:
    return "deadline" if isinstance(ctx.err, trioctx.DeadlineExceeded) else "cancelled"


async def fanout(watch: Watch) -> str:
    ctx = ending(watch)
    try:
        async with ctx:
            for _ in range(watch.size):
                ctx.start_soon(watch.sleep)
            await watch.fire(ctx.cancel, from_thread=ctx.cancel)
    except trioctx.DeadlineExceeded:
        pass
    watch.leave()
    return how(ctx)


async def depth(watch: Watch) -> str:
    ctx = ending(watch)

    async def deep() -> None:
        with ExitStack() as stack:
            inner = ctx
            for _ in range(watch.size - 1):
                inner = stack.enter_context(trioctx.with_cancel(inner))
            await watch.sleep()

    try:
        async with ctx:
            ctx.start_soon(deep)
            await watch.fire(ctx.cancel)
    except trioctx.DeadlineExceeded:
        pass
    watch.leave()
    return how(ctx)


async def linked(watch: Watch) -> str:
    parent = ending(watch)

    async def child() -> None:
        try:
            with trioctx.with_cancel(parent):
                await watch.sleep()
        except trioctx.ContextError as exc:
            watch.caught += exc.context is parent

    async with trioctx.with_cancel(trioctx.background()) as ctx:
        for _ in range(watch.size):
            ctx.start_soon(child)
        await watch.fire(parent.cancel)
    watch.leave()
    return watch.all_caught()


def works() -> dict[str, Work]:
    return {
        "fanout": latency("async with, its tasks", loops.on_trio, fanout, many=True),
        "depth": latency("with in with", loops.on_trio, depth, many=False),
        "linked": latency("with, linked to a parent", loops.on_trio, linked, many=True),
    }
