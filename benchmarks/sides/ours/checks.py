"""That a context does what it is timed for."""

import trio

import trioctx
from benchmarks.sides import WrongOutcome, expect
from benchmarks.sides.shared.cost import SECONDS, expect_seconds
from benchmarks.sides.shared.variables import VAR


def root() -> trioctx.Context:
    return trioctx.with_cancel(trioctx.background())


async def cancel() -> None:
    """Cancelling the outer block ends the inner one, and the outer one quietly."""
    went_on = False
    with root() as ctx:
        with trioctx.with_cancel(ctx):
            ctx.cancel()
            await trio.sleep_forever()
        went_on = True
    expect("the outer block goes on after the inner one", went_on, False)


async def timeout() -> None:
    with root() as ctx:
        with trioctx.with_timeout(ctx, SECONDS) as inner:
            expect_seconds(inner.remaining())
            expect_seconds(trio.current_effective_deadline() - trio.current_time())
        try:
            with trioctx.with_timeout(ctx, 0):
                await trio.sleep_forever()
        except trioctx.DeadlineExceeded:
            return
    raise WrongOutcome("a timeout: nothing raised instead of DeadlineExceeded")


async def deadline() -> None:
    with root() as ctx:
        at = trio.current_time() + SECONDS
        with trioctx.with_deadline(ctx, at) as inner:
            expect("the deadline", inner.deadline, at)
            expect("the deadline, says Trio", trio.current_effective_deadline(), at)


async def values() -> None:
    with root() as ctx:
        with trioctx.with_value(ctx, VAR, "set") as inner:
            expect("the variable in the block", VAR.get(), "set")
            expect("the variable in the context", inner[VAR], "set")
    expect("the variable after it", VAR.get(), "unset")


async def shield() -> None:
    finished = False
    with root() as ctx:
        ctx.cancel()
        with trioctx.without_cancel(ctx):
            await trio.lowlevel.checkpoint()
            finished = True
    expect("the shielded block finished", finished, True)


async def ends_with(parent: trioctx.Context, child: trioctx.Context) -> None:
    """Cancelling ``parent`` ends ``child`` in this task, which ``parent`` does not enclose."""
    try:
        with child:
            parent.cancel("checked")
            await trio.sleep_forever()
    except trioctx.ContextCancelled as exc:
        expect("the cause", str(exc.cause), "checked")
    else:
        raise WrongOutcome("the end of the child: nothing raised instead of ContextCancelled")


async def linked_new() -> None:
    parent = root()
    await ends_with(parent, trioctx.with_cancel(parent))


async def merge() -> None:
    for index in 0, 1:
        parents = root(), root()
        await ends_with(parents[index], trioctx.merge(*parents))


async def tasks() -> None:
    """A child has the block's deadline, and the block waits for it."""
    seen: list[float] = []

    async def child() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(trioctx.current().remaining())

    async with trioctx.with_timeout(trioctx.background(), SECONDS) as ctx:
        ctx.start_soon(child)
    (left,) = seen
    expect_seconds(left)


async def start_soon() -> None:
    seen: list[trioctx.Context] = []

    async def child() -> None:
        seen.append(trioctx.current())

    async with root() as ctx:
        ctx.start_soon(child)
    expect("the child's context", seen, [ctx])


async def current() -> None:
    with root() as ctx:
        expect("the current context", trioctx.current(), ctx)


async def ended() -> None:
    with root() as ctx:
        ctx.check()
        ctx.cancel()
        try:
            ctx.check()
        except trioctx.ContextCancelled:
            return
    raise WrongOutcome("check() of a cancelled context: nothing raised")


async def after_func() -> None:
    called: list[str] = []
    with root() as ctx:
        taken_back = trioctx.after_func(ctx, called.append, "taken back")
        trioctx.after_func(ctx, called.append, "kept")
        expect("taken back in time", taken_back.stop(), True)
        ctx.cancel()
        with trio.CancelScope(shield=True):
            while not called:
                await trio.lowlevel.checkpoint()
    expect("what was called", called, ["kept"])
