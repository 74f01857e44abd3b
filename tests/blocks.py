"""What the tests of blocks share: both forms of a block, and the ways in which one can end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trioctx

VAR: ContextVar[str] = ContextVar("VAR", default="unset")
OTHER: ContextVar[str] = ContextVar("OTHER", default="unset")

Body = Callable[[trioctx.Context], Awaitable[object]]
Block = Callable[[trioctx.Context, Body], Awaitable[None]]
Derive = Callable[[trioctx.Context], trioctx.Context]


class Oops(Exception):
    """An error, or a cause."""


WHY = Oops("why")


async def in_with(ctx: trioctx.Context, body: Body) -> None:
    with ctx:
        await body(ctx)


async def in_async_with(ctx: trioctx.Context, body: Body) -> None:
    async with ctx:
        await body(ctx)


both_forms = pytest.mark.parametrize(
    "block", [pytest.param(in_with, id="with"), pytest.param(in_async_with, id="async-with")]
)


async def nothing(ctx: trioctx.Context) -> None:
    pass


async def sleep(ctx: trioctx.Context) -> None:
    await trio.sleep_forever()


async def raised(block: Block, ctx: trioctx.Context, body: Body = sleep) -> Exception | None:
    """What the block raises."""
    try:
        await block(ctx, body)
    except Exception as exc:
        return exc
    return None


def tells(exc: BaseException | None) -> tuple[type[BaseException], object, BaseException | None]:
    """What an error of the library says: its class, its node, its cause."""
    assert isinstance(exc, trioctx.ContextError)
    assert exc.__cause__ is exc.cause
    return type(exc), exc.context, exc.cause


def ended(ctx: trioctx.Context) -> tuple[type[BaseException], object, BaseException | None] | None:
    """How ctx ended: as what, by which node, and why."""
    err = ctx.err
    if err is None:
        assert ctx.cause is None
        assert not ctx.cancelled
        return None
    assert err.cause is ctx.cause
    assert err.__cause__ is ctx.cause
    assert ctx.cancelled
    return type(err), err.context, err.cause


def cancelled(node: trioctx.Context, cause: BaseException | None = None) -> object:
    return trioctx.ContextCancelled, node, cause


def exceeded(node: trioctx.Context, cause: BaseException | None = None) -> object:
    return trioctx.DeadlineExceeded, node, cause


@asynccontextmanager
async def held_open(ctx: trioctx.Context) -> AsyncIterator[trio.Event]:
    """ctx is entered in a task of its own, beside; setting the event leaves its block."""
    release = trio.Event()

    async def hold() -> None:
        try:
            with ctx:
                await release.wait()
        except trioctx.ContextError:
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await wait_all_tasks_blocked()
        assert ctx.state == "open" or ctx.cancelled
        yield release
        release.set()


# --- ways to end ---------------------------------------------------------------------------------


@attrs.frozen
class Ending:
    """A context, what ends it on the spot, and what its block raises then."""

    ctx: trioctx.Context
    end: Callable[[], object]
    error: type[trioctx.ContextError] | None = None
    node: trioctx.Context | None = None
    cause: BaseException | type[BaseException] | None = None

    def explains(self, exc: BaseException | None) -> bool:
        """Whether the block may raise exc."""
        if self.error is None or exc is None:
            return exc is None
        assert type(exc) is self.error
        assert isinstance(exc, trioctx.ContextError)
        assert exc.context is self.node
        assert exc.__cause__ is exc.cause
        if isinstance(self.cause, type):
            return isinstance(exc.cause, self.cause)
        return exc.cause is self.cause


Ends = Callable[[MockClock], Ending]


def own_cancel(clock: MockClock) -> Ending:
    ctx = trioctx.with_cancel(trioctx.current())
    return Ending(ctx, lambda: ctx.cancel(WHY))


def own_stop(clock: MockClock) -> Ending:
    ctx = trioctx.with_cancel(trioctx.current())
    return Ending(ctx, lambda: ctx.stop(WHY, grace=0))


def own_grace(clock: MockClock) -> Ending:
    ctx = trioctx.with_timeout(trioctx.current(), 10)

    def end() -> None:
        ctx.stop(WHY, grace=1)
        clock.jump(2)

    return Ending(ctx, end)


def own_deadline(clock: MockClock) -> Ending:
    ctx = trioctx.with_timeout(trioctx.current(), 1, cause=WHY)
    return Ending(ctx, lambda: clock.jump(2), trioctx.DeadlineExceeded, ctx, WHY)


def linked_cancel(clock: MockClock) -> Ending:
    parent = trioctx.with_cancel(trioctx.current())
    ctx = trioctx.with_cancel(parent)
    return Ending(ctx, lambda: parent.cancel(WHY), trioctx.ContextCancelled, parent, WHY)


def linked_grace(clock: MockClock) -> Ending:
    parent = trioctx.with_cancel(trioctx.current())
    ctx = trioctx.with_cancel(parent)

    def end() -> None:
        parent.stop(WHY, grace=1)
        clock.jump(2)

    return Ending(ctx, end, trioctx.ContextCancelled, parent, WHY)


def linked_deadline(clock: MockClock) -> Ending:
    parent = trioctx.with_timeout(trioctx.current(), 1, cause=WHY)
    ctx = trioctx.with_cancel(parent)
    return Ending(ctx, lambda: clock.jump(2), trioctx.DeadlineExceeded, parent, WHY)


def linked_closing(clock: MockClock) -> Ending:
    parent = trioctx.with_cancel(trioctx.current())
    ctx = trioctx.with_cancel(parent)

    def end() -> None:
        with parent:
            pass

    return Ending(ctx, end, trioctx.ContextCancelled, parent, trioctx.ContextClosed)


def linked_value(clock: MockClock) -> Ending:
    parent = trioctx.with_cancel(trioctx.current())
    ctx = trioctx.with_value(parent, VAR, "x")
    return Ending(ctx, lambda: parent.cancel(WHY), trioctx.ContextCancelled, parent, WHY)


OWN_END = [own_cancel, own_stop, own_grace]
LINKED_END = [linked_cancel, linked_grace, linked_deadline, linked_closing, linked_value]
every_end = pytest.mark.parametrize("ends", [*OWN_END, own_deadline, *LINKED_END])
raising_end = pytest.mark.parametrize("ends", [own_deadline, *LINKED_END])


# --- ways from a parent to a child ---------------------------------------------------------------


def directly(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_cancel(parent)


def with_a_timeout(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_timeout(parent, 1000)


def as_values(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_value(parent, VAR, "x")


def through_values(parent: trioctx.Context) -> trioctx.Context:
    between = trioctx.with_value(trioctx.with_value(parent, VAR, "x"), OTHER, "y")
    return trioctx.with_cancel(between)


def through_a_chain(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_cancel(trioctx.with_timeout(trioctx.with_cancel(parent), 1000))


def merged_first(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.merge(parent, trioctx.with_cancel(trioctx.background()))


def merged_last(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.merge(trioctx.background(), trioctx.with_cancel(trioctx.background()), parent)


def below_a_merge(parent: trioctx.Context) -> trioctx.Context:
    return as_values(trioctx.merge(trioctx.with_cancel(trioctx.background()), parent))


every_way = pytest.mark.parametrize(
    "derive",
    [
        directly,
        with_a_timeout,
        as_values,
        through_values,
        through_a_chain,
        merged_first,
        merged_last,
        below_a_merge,
    ],
)
