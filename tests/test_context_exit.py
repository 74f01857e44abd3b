"""How a block ends: what it raises after each kind of end, and which of several ends wins."""

from __future__ import annotations

import pytest
import trio
from blocks import WHY, Block, Ends, Oops, both_forms, every_end, in_async_with, raised
from trio.testing import MockClock

import trioctx

# --- each row of the table -----------------------------------------------------------------------


@both_forms
async def test_a_finished_body_raises_nothing(block: Block, autojump_clock: MockClock) -> None:
    """Nothing happened: nothing is raised and there is no err."""

    async def body(ctx: trioctx.Context) -> None:
        await trio.sleep(1)

    ctx = trioctx.with_timeout(trioctx.background(), 5, cause=WHY)
    assert await raised(block, ctx, body) is None
    await trio.sleep(10)
    assert ctx.err is None


@every_end
@both_forms
async def test_swallowing_the_cancellation_is_finishing(
    block: Block, ends: Ends, autojump_clock: MockClock
) -> None:
    """A body that catches the cancellation and goes on has finished, whatever ended it."""

    async def body(ctx: trioctx.Context) -> None:
        case.end()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            pass

    case = ends(autojump_clock)
    assert await raised(block, case.ctx, body) is None
    assert case.ctx.cancelled


@every_end
@both_forms
async def test_an_end_that_meets_no_checkpoint_raises_nothing(
    block: Block, ends: Ends, autojump_clock: MockClock
) -> None:
    """A body that was cancelled and never reached a checkpoint has finished."""

    async def body(ctx: trioctx.Context) -> None:
        case.end()

    case = ends(autojump_clock)
    assert await raised(block, case.ctx, body) is None
    assert case.ctx.cancelled
    assert case.ctx.cause is not None


@both_forms
async def test_an_error_of_the_body_is_raised_bare(block: Block, autojump_clock: MockClock) -> None:
    """The very exception, where no task was started, and it is the cause."""

    async def body(ctx: trioctx.Context) -> None:
        raise WHY

    ctx = trioctx.with_cancel(trioctx.background())
    assert await raised(block, ctx, body) is WHY
    assert ctx.cause is WHY
    assert isinstance(ctx.err, trioctx.ContextCancelled)
    assert ctx.err.context is ctx


@every_end
@both_forms
async def test_each_end_raises_what_the_table_says(
    block: Block, ends: Ends, autojump_clock: MockClock
) -> None:
    """Own cancel and stop: nothing; own deadline; a linked parent's cancel, deadline, closing."""

    async def body(ctx: trioctx.Context) -> None:
        case.end()
        await trio.sleep_forever()

    case = ends(autojump_clock)
    assert case.explains(await raised(block, case.ctx, body))
    assert case.ctx.state == "closed"


@every_end
async def test_a_cancelled_child_counts_as_a_cancelled_body(
    ends: Ends, autojump_clock: MockClock
) -> None:
    """A body that has finished while a child is cut off: the block tells of the end."""

    async def child() -> None:
        case.end()
        await trio.sleep_forever()

    case = ends(autojump_clock)

    async def body(ctx: trioctx.Context) -> None:
        ctx.start_soon(child)

    assert case.explains(await raised(in_async_with, case.ctx, body))


@both_forms
async def test_an_enclosing_cancellation_travels_on(
    block: Block, autojump_clock: MockClock
) -> None:
    """Trio's Cancelled goes through the inner block, untouched, to the one that was cancelled."""
    seen: list[BaseException] = []

    async def body(ctx: trioctx.Context) -> None:
        outer.cancel(WHY)
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            seen.append(exc)
            raise

    with trioctx.with_cancel(trioctx.background()) as outer:
        inner = trioctx.with_cancel(outer)
        with pytest.raises(trio.Cancelled) as caught:
            await block(inner, body)
        assert [caught.value] == seen
        raise caught.value
    assert inner.err is not None
    assert (inner.err.context, inner.cause) == (outer, WHY)


@both_forms
async def test_a_cancel_before_the_deadline_is_no_timeout(
    block: Block, autojump_clock: MockClock
) -> None:
    """cancel() at t=1, deadline at t=2, left at t=3: still quiet, still cancelled."""

    async def body(ctx: trioctx.Context) -> None:
        await trio.sleep(1)
        ctx.cancel(WHY)
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
        await trio.sleep_forever()

    ctx = trioctx.with_timeout(trioctx.background(), 2)
    assert await raised(block, ctx, body) is None
    assert type(ctx.err) is trioctx.ContextCancelled
    assert ctx.cause is WHY


@both_forms
async def test_an_own_end_before_a_linked_one_is_quiet(
    block: Block, autojump_clock: MockClock
) -> None:
    """What happened first says what is raised: cancel() at t=1, the parent's at t=2."""

    async def body(ctx: trioctx.Context) -> None:
        ctx.cancel(WHY)
        parent.cancel("later")
        await trio.sleep_forever()

    parent = trioctx.with_cancel(trioctx.background())
    ctx = trioctx.with_cancel(parent)
    assert await raised(block, ctx, body) is None
    assert ctx.cause is WHY


@both_forms
async def test_a_linked_end_before_an_own_cancel_is_raised(
    block: Block, autojump_clock: MockClock
) -> None:
    """What happened first says what is raised: the parent's at t=1, cancel() at t=2."""

    async def body(ctx: trioctx.Context) -> None:
        parent.cancel(WHY)
        ctx.cancel("later")
        await trio.sleep_forever()

    parent = trioctx.with_cancel(trioctx.background())
    exc = await raised(block, trioctx.with_cancel(parent), body)
    assert isinstance(exc, trioctx.ContextCancelled)
    assert (exc.context, exc.cause) == (parent, WHY)


# --- where several apply -------------------------------------------------------------------------


@every_end
@both_forms
async def test_an_error_wins_over_every_end(
    block: Block, ends: Ends, autojump_clock: MockClock
) -> None:
    """The body ends its context and fails: the error, bare; err tells of the first end."""
    error = Oops("an error wins")

    async def body(ctx: trioctx.Context) -> None:
        case.end()
        raise error

    case = ends(autojump_clock)
    assert await raised(block, case.ctx, body) is error
    assert case.ctx.cause is not error


@every_end
async def test_an_error_of_a_child_wins_over_every_end(
    ends: Ends, autojump_clock: MockClock
) -> None:
    """A child fails while the context ends and another is cut off: a group of that error alone."""
    error = Oops("an error wins")

    async def fail() -> None:
        case.end()
        raise error

    async def body(ctx: trioctx.Context) -> None:
        ctx.start_soon(fail)
        ctx.start_soon(trio.sleep_forever)
        await trio.sleep_forever()

    case = ends(autojump_clock)
    exc = await raised(in_async_with, case.ctx, body)
    assert isinstance(exc, ExceptionGroup)
    assert exc.exceptions == (error,)


@both_forms
async def test_an_error_wins_over_an_enclosing_cancellation(
    block: Block, autojump_clock: MockClock
) -> None:
    """An error under a cancelled outer block comes out of that one too."""
    error = Oops("an error wins")

    async def body(ctx: trioctx.Context) -> None:
        outer.cancel(WHY)
        raise error

    outer = trioctx.with_cancel(trioctx.background())
    with pytest.raises(Oops) as caught:
        with outer:
            await block(trioctx.with_cancel(outer), body)
    assert caught.value is error
    assert outer.cause is WHY


@pytest.mark.parametrize("enclosing_first", [True, False])
@every_end
@both_forms
async def test_an_enclosing_cancellation_wins_over_every_end(
    block: Block, ends: Ends, enclosing_first: bool, autojump_clock: MockClock
) -> None:
    """Whichever came first: the rest of the outer block is not reached, and it ends quietly."""
    reached = False

    async def body(ctx: trioctx.Context) -> None:
        if enclosing_first:
            outer.cancel()
        case.end()
        outer.cancel()
        await trio.sleep_forever()

    with trioctx.with_cancel(trioctx.background()) as outer:
        case = ends(autojump_clock)
        await block(case.ctx, body)
        reached = True
    assert not reached
    assert outer.state == "closed"


@every_end
async def test_an_enclosing_cancellation_wins_over_check_in_a_child(
    ends: Ends, autojump_clock: MockClock
) -> None:
    """What check() raised in one task adds nothing to the Cancelled of another."""

    async def check() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        case.ctx.check()

    async def body(ctx: trioctx.Context) -> None:
        ctx.start_soon(check)
        await trio.lowlevel.checkpoint()
        case.end()
        outer.cancel()
        await trio.sleep_forever()

    with trioctx.with_cancel(trioctx.background()) as outer:
        case = ends(autojump_clock)
        await in_async_with(case.ctx, body)
        pytest.fail("the cancellation was swallowed")
    assert outer.state == "closed"
