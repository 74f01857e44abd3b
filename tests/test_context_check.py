"""Errors from `check()` that reach a block, and what the exceptions of the library look like."""

from __future__ import annotations

import math

import pytest
import trio
from blocks import (
    VAR,
    WHY,
    Block,
    Ends,
    Oops,
    both_forms,
    every_end,
    in_async_with,
    raised,
    raising_end,
)
from trio.testing import MockClock

import trioctx

# --- errors from check() -------------------------------------------------------------------------


@every_end
@both_forms
async def test_an_error_from_check_counts_as_the_end_it_tells(
    block: Block, ends: Ends, autojump_clock: MockClock
) -> None:
    """ctx.check() in the body of ctx: raised is what a checkpoint there would have brought."""

    async def body(ctx: trioctx.Context) -> None:
        case.end()
        ctx.check()

    case = ends(autojump_clock)
    assert case.explains(await raised(block, case.ctx, body))


@every_end
async def test_an_error_from_check_in_a_child_counts_as_the_end_it_tells(
    ends: Ends, autojump_clock: MockClock
) -> None:
    """ctx.check() in two child tasks: raised is one bare exception, as after a checkpoint."""

    async def child() -> None:
        await trio.lowlevel.checkpoint()
        with trio.CancelScope(shield=True):
            await trio.sleep(3)
        case.ctx.check()

    async def body(ctx: trioctx.Context) -> None:
        ctx.start_soon(child)
        ctx.start_soon(child)
        await trio.lowlevel.checkpoint()
        case.end()

    case = ends(autojump_clock)
    assert case.explains(await raised(in_async_with, case.ctx, body))


@every_end
@both_forms
async def test_an_error_from_check_in_a_group_counts_too(
    block: Block, ends: Ends, autojump_clock: MockClock
) -> None:
    """Inside a group of its own kind only, even nested, it is the cancellation all the same."""

    async def body(ctx: trioctx.Context) -> None:
        case.end()
        with pytest.raises(trioctx.ContextError) as first:
            ctx.check()
        with pytest.raises(trioctx.ContextError) as second:
            ctx.check()
        assert first.value is not second.value
        raise ExceptionGroup("a", [first.value, ExceptionGroup("b", [second.value])])

    case = ends(autojump_clock)
    assert case.explains(await raised(block, case.ctx, body))


@every_end
@both_forms
async def test_other_errors_in_the_group_are_left(
    block: Block, ends: Ends, autojump_clock: MockClock
) -> None:
    """Of a group with another error only that error is left: an error wins."""
    error = Oops("an error wins")

    async def body(ctx: trioctx.Context) -> None:
        case.end()
        with pytest.raises(trioctx.ContextError) as caught:
            ctx.check()
        raise ExceptionGroup("both", [caught.value, error])

    case = ends(autojump_clock)
    exc = await raised(block, case.ctx, body)
    assert isinstance(exc, ExceptionGroup)
    assert exc.exceptions == (error,)
    assert case.ctx.cause is not error


@pytest.mark.parametrize("via", ["bare", "group"])
@pytest.mark.parametrize("make", ["scope", "value", "shield"])
@every_end
@both_forms
async def test_an_error_that_names_an_outer_node_reaches_that_node(
    block: Block, ends: Ends, make: str, via: str, autojump_clock: MockClock
) -> None:
    """Raised in a block further in, it goes through that one and counts where the node ended."""
    reached = False

    async def inner_body(inner: trioctx.Context) -> None:
        case.end()
        with pytest.raises(trioctx.ContextError) as caught:
            case.ctx.check()
        raise caught.value if via == "bare" else ExceptionGroup("one", [caught.value])

    async def body(ctx: trioctx.Context) -> None:
        nonlocal reached
        inner = {
            "scope": trioctx.with_cancel(ctx),
            "value": trioctx.with_value(ctx, VAR, "x"),
            "shield": trioctx.without_cancel(ctx),
        }[make]
        await block(inner, inner_body)
        reached = True

    case = ends(autojump_clock)
    exc = await raised(block, case.ctx, body)
    assert not reached
    assert case.explains(exc)


@both_forms
async def test_an_error_that_names_an_outer_node_fails_nothing_on_its_way(
    block: Block, autojump_clock: MockClock
) -> None:
    """It counts as the outer node's cancellation: it is no block's cause, not even a shield's."""

    async def body(ctx: trioctx.Context) -> None:
        outer.cancel(WHY)
        with pytest.raises(trioctx.ContextCancelled) as caught:
            outer.check()
        raised.append(caught.value)
        raise caught.value

    raised: list[BaseException] = []
    with trioctx.with_cancel(trioctx.background()) as outer:
        shielded = trioctx.without_cancel(outer)
        await block(shielded, body)
        pytest.fail("the error was swallowed")
    assert outer.cause is WHY
    assert shielded.cause is not raised[0]


@both_forms
async def test_an_error_that_names_a_closed_or_foreign_node_is_an_error(
    block: Block, autojump_clock: MockClock
) -> None:
    """The deadline of a block further in, not caught, fails the outer context like any error."""

    async def body(ctx: trioctx.Context) -> None:
        with trioctx.with_timeout(ctx, 1):
            await trio.sleep_forever()

    ctx = trioctx.with_cancel(trioctx.background())
    exc = await raised(block, ctx, body)
    assert isinstance(exc, trioctx.DeadlineExceeded)
    assert ctx.cause is exc
    assert type(ctx.err) is trioctx.ContextCancelled


# --- what the exceptions look like ---------------------------------------------------------------


@raising_end
@both_forms
async def test_what_is_raised_has_no_stray_context(
    block: Block, ends: Ends, autojump_clock: MockClock
) -> None:
    """Raised from its cause, without the Cancelled that it stands for."""

    async def body(ctx: trioctx.Context) -> None:
        case.end()
        await trio.sleep_forever()

    case = ends(autojump_clock)
    exc = await raised(block, case.ctx, body)
    assert exc is not None
    assert exc.__context__ is None
    assert exc.__cause__ is case.ctx.cause
    assert exc.__suppress_context__


@raising_end
@both_forms
async def test_raised_exceptions_are_not_shared(
    block: Block, ends: Ends, autojump_clock: MockClock
) -> None:
    """What the block raises is neither err nor what check() raises."""

    async def body(ctx: trioctx.Context) -> None:
        case.end()
        await trio.sleep_forever()

    case = ends(autojump_clock)
    exc = await raised(block, case.ctx, body)
    with pytest.raises(trioctx.ContextError) as checked:
        case.ctx.check()
    assert exc is not checked.value
    assert exc is not case.ctx.err
    assert case.explains(checked.value)


@both_forms
async def test_a_bare_error_has_no_stray_context(block: Block, autojump_clock: MockClock) -> None:
    """The body's error comes out as it went in."""
    error = Oops("bare")

    async def body(ctx: trioctx.Context) -> None:
        raise error

    ctx = trioctx.with_cancel(trioctx.background())
    assert await raised(block, ctx, body) is error
    assert error.__context__ is None
    assert error.__cause__ is None


async def test_a_deadline_is_too_slow(autojump_clock: MockClock) -> None:
    """DeadlineExceeded is a trio.TooSlowError, so that except clauses for fail_after still work."""
    with pytest.raises(trio.TooSlowError):
        with trioctx.with_timeout(trioctx.background(), 1) as ctx:
            await trio.sleep(math.inf)
    assert isinstance(ctx.err, trio.TooSlowError)
