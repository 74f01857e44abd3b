"""What one context costs: entering and leaving it, starting a task in it, asking for it.

An enclosing context is open around all of it, for both sides, as in a program that uses contexts.
The deadline is far away, and the body empty: what is left is the cost of the block itself.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import partial
from time import perf_counter

import trio

import trioctx

from .measure import Comparison, Side, expect

SECONDS = 60
VAR: ContextVar[str] = ContextVar("VAR", default="unset")

Parent = trioctx.Context
Block = Callable[[], AbstractContextManager[object]]


async def nothing() -> None:
    """A task that ends at once."""


def seconds_left() -> float:
    return round(trio.current_effective_deadline() - trio.current_time())


async def entering(block: Block, size: int) -> float:
    started = perf_counter()
    for _ in range(size):
        with block():
            pass
    return perf_counter() - started


def enclosed(block: Callable[[Parent], Block]) -> Callable[[int], Awaitable[float]]:
    """Sample the block that ``block`` makes of the context which is open around it."""

    async def sample(size: int) -> float:
        with trioctx.with_cancel(trioctx.background()) as ctx:
            seconds = await entering(block(ctx), size)
        return seconds

    return sample


def with_timeout() -> Comparison:
    def ours(ctx: Parent, seconds: float = SECONDS) -> Block:
        return partial(trioctx.with_timeout, ctx, seconds)

    def peer(ctx: Parent, seconds: float = SECONDS) -> Block:
        return partial(trio.fail_after, seconds)

    def check(block: Callable[[Parent, float], Block]) -> Callable[[], Awaitable[None]]:
        async def checked() -> None:
            with trioctx.with_cancel(trioctx.background()) as ctx:
                with block(ctx, SECONDS)():
                    expect("seconds left", seconds_left(), SECONDS)
                try:
                    with block(ctx, 0)():
                        await trio.sleep_forever()
                except trio.TooSlowError:
                    return
            expect("a timeout", "nothing raised", "TooSlowError")

        return checked

    return Comparison(
        "with_timeout",
        Side("with with_timeout", enclosed(ours), check(ours)),
        Side("with trio.fail_after", enclosed(peer), check(peer)),
        size=1000,
        goal=1.15,
    )


def with_value() -> Comparison:
    def ours(ctx: Parent) -> Block:
        return partial(trioctx.with_value, ctx, VAR, "set")

    def peer(ctx: Parent) -> Block:
        return trio.CancelScope

    async def check_ours() -> None:
        with trioctx.with_cancel(trioctx.background()) as ctx:
            with ours(ctx)():
                expect("the variable in the block", VAR.get(), "set")
        expect("the variable after it", VAR.get(), "unset")

    async def check_peer() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.sleep_forever()
        expect("the scope cancelled", scope.cancelled_caught, True)

    return Comparison(
        "with_value",
        Side("with with_value", enclosed(ours), check_ours),
        Side("with trio.CancelScope", enclosed(peer), check_peer),
        size=1000,
        goal=0.6,
    )


def one_child() -> Comparison:
    async def ours(child: Callable[[], Awaitable[None]], ctx: Parent) -> None:
        async with trioctx.with_timeout(ctx, SECONDS) as inner:
            inner.start_soon(child)

    async def peer(child: Callable[[], Awaitable[None]], ctx: Parent) -> None:
        with trio.fail_after(SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child)

    async def sample_ours(size: int) -> float:
        with trioctx.with_cancel(trioctx.background()) as ctx:
            started = perf_counter()
            for _ in range(size):
                await ours(nothing, ctx)
            seconds = perf_counter() - started
        return seconds

    async def sample_peer(size: int) -> float:
        with trioctx.with_cancel(trioctx.background()) as ctx:
            started = perf_counter()
            for _ in range(size):
                await peer(nothing, ctx)
            seconds = perf_counter() - started
        return seconds

    def check(
        block: Callable[[Callable[[], Awaitable[None]], Parent], Awaitable[None]],
    ) -> Callable[[], Awaitable[None]]:
        async def checked() -> None:
            seen: list[float] = []

            async def child() -> None:
                await trio.lowlevel.checkpoint()
                seen.append(seconds_left())

            with trioctx.with_cancel(trioctx.background()) as ctx:
                await block(child, ctx)
            expect("the child's seconds left", seen, [SECONDS])

        return checked

    return Comparison(
        "one_child",
        Side("async with with_timeout, one child", sample_ours, check(ours)),
        Side("fail_after + open_nursery, one child", sample_peer, check(peer)),
        size=300,
        goal=1.0,
    )


async def check_link(parent: Parent) -> None:
    """Cancelling ``parent`` ends a child in this task, which ``parent`` does not enclose."""
    try:
        with trioctx.with_cancel(parent):
            parent.cancel("checked")
            await trio.sleep_forever()
    except trioctx.ContextCancelled as err:
        expect("the cause", str(err.cause), "checked")
    else:
        expect("the end of the child", "nothing raised", "ContextCancelled")


def enclosed_child() -> Side:
    async def check() -> None:
        went_on = False
        with trioctx.with_cancel(trioctx.background()) as ctx:
            with trioctx.with_cancel(ctx):
                ctx.cancel()
                await trio.sleep_forever()
            went_on = True
        expect("the outer block goes on after the inner one", went_on, False)

    return Side(
        "an enclosed with_cancel",
        enclosed(lambda ctx: partial(trioctx.with_cancel, ctx)),
        check,
    )


def linked_to_new() -> Comparison:
    async def sample(size: int) -> float:
        with trioctx.with_cancel(trioctx.background()):
            parent = trioctx.with_cancel(trioctx.background())
            seconds = await entering(partial(trioctx.with_cancel, parent), size)
        return seconds

    async def check() -> None:
        await check_link(trioctx.with_cancel(trioctx.background()))

    return Comparison(
        "linked_to_new",
        Side("a with_cancel whose parent is not entered", sample, check),
        enclosed_child(),
        size=1000,
        goal=2.0,
    )


def linked_to_open() -> Comparison:
    async def hold(task_status: trio.TaskStatus[Parent]) -> None:
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            task_status.started(ctx)
            await trio.sleep_forever()

    async def sample(size: int) -> float:
        async with trio.open_nursery() as nursery:
            parent = await nursery.start(hold)
            with trioctx.with_cancel(trioctx.background()):
                seconds = await entering(partial(trioctx.with_cancel, parent), size)
            nursery.cancel_scope.cancel()
        return seconds

    async def check() -> None:
        async with trio.open_nursery() as nursery:
            await check_link(await nursery.start(hold))

    return Comparison(
        "linked_to_open",
        Side("a with_cancel whose parent is open in another task", sample, check),
        enclosed_child(),
        size=1000,
        goal=2.0,
    )


def start_soon() -> Comparison:
    async def sample_ours(size: int) -> float:
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            started = perf_counter()
            for _ in range(size):
                ctx.start_soon(nothing)
        return perf_counter() - started

    async def sample_peer(size: int) -> float:
        async with trio.open_nursery() as nursery:
            started = perf_counter()
            for _ in range(size):
                nursery.start_soon(nothing)
        return perf_counter() - started

    async def check_ours() -> None:
        seen: list[trioctx.Context] = []

        async def child() -> None:
            seen.append(trioctx.current())

        async with trioctx.with_cancel(trioctx.background()) as ctx:
            ctx.start_soon(child)
        expect("the child's context", seen, [ctx])

    async def check_peer() -> None:
        seen: list[trio.Nursery | None] = []

        async def child() -> None:
            seen.append(trio.lowlevel.current_task().parent_nursery)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        expect("the child's nursery", seen, [nursery])

    return Comparison(
        "start_soon",
        Side("ctx.start_soon until the task is over", sample_ours, check_ours),
        Side("nursery.start_soon until the task is over", sample_peer, check_peer),
        size=1000,
    )


def current() -> Comparison:
    async def sample_ours(size: int) -> float:
        call = trioctx.current
        with trioctx.with_cancel(trioctx.background()):
            started = perf_counter()
            for _ in range(size):
                call()
            seconds = perf_counter() - started
        return seconds

    async def sample_peer(size: int) -> float:
        call = VAR.get
        with trioctx.with_cancel(trioctx.background()):
            started = perf_counter()
            for _ in range(size):
                call()
            seconds = perf_counter() - started
        return seconds

    async def check_ours() -> None:
        with trioctx.with_cancel(trioctx.background()) as ctx:
            expect("the current context", trioctx.current(), ctx)

    async def check_peer() -> None:
        expect("the variable", VAR.get(), "unset")

    return Comparison(
        "current",
        Side("trioctx.current()", sample_ours, check_ours),
        Side("ContextVar.get()", sample_peer, check_peer),
        size=20_000,
    )
