"""Value contexts as blocks: without a scope where nothing needs one."""

from __future__ import annotations

import pytest
import trio
from blocks import VAR, Block, Oops, both_forms
from trio.testing import MockClock

import trioctx


async def test_a_value_block_has_no_scope_of_its_own() -> None:
    """cancel() and stop() are refused, naming what has one; once closed they have no effect."""
    with trioctx.with_cancel(trioctx.background()) as outer:
        ctx = trioctx.with_value(outer, VAR, "x")
        with pytest.raises(RuntimeError, match="with_cancel"):
            ctx.cancel()
        with ctx:
            assert trioctx.current() is ctx
            with pytest.raises(RuntimeError, match="with_cancel"):
                ctx.cancel("no")
            with pytest.raises(RuntimeError, match="with_cancel"):
                ctx.stop("no", grace=1)
            with pytest.raises(RuntimeError, match="with_cancel"):
                _ = ctx.cancel_scope
            assert ctx.err is None
            assert not ctx.stopping
        ctx.cancel()
        ctx.stop(grace=1)
        assert ctx.err is None
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("what", ["cancel", "stop", "stop and wait"])
async def test_a_value_context_that_is_not_entered_cannot_be_ended(what: str) -> None:
    """It stands for its parent; the error names with_cancel."""
    ctx = trioctx.with_values(trioctx.background(), {VAR: "x"})
    with pytest.raises(RuntimeError, match="with_cancel"):
        if what == "cancel":
            ctx.cancel()
        else:
            ctx.stop(grace=None if what == "stop" else 5)
    assert ctx.err is None


@pytest.mark.parametrize("root", [trioctx.background(), trioctx.todo()])
def test_a_root_cannot_be_ended(root: trioctx.Context) -> None:
    """It never ends; the error names with_cancel."""
    with pytest.raises(RuntimeError, match="with_cancel"):
        root.cancel()
    with pytest.raises(RuntimeError, match="with_cancel"):
        root.stop(grace=1)
    assert root.err is None


async def test_a_value_block_that_fails_has_err() -> None:
    """A failing body is the cause, as in any context; what is derived from it is born cancelled."""
    error = Oops("value")
    ctx = trioctx.with_value(trioctx.background(), VAR, "x")
    with pytest.raises(Oops) as caught:
        with ctx:
            raise error
    assert caught.value is error
    assert error.__context__ is None
    assert type(ctx.err) is trioctx.ContextCancelled
    assert (ctx.err.context, ctx.cause) == (ctx, error)
    assert trioctx.with_cancel(ctx).cause is error


async def test_a_value_block_that_a_plain_scope_cuts_off_has_err(
    autojump_clock: MockClock,
) -> None:
    """A ContextCancelled without a cause, as any block in that place."""
    ctx = trioctx.with_value(trioctx.background(), VAR, "x")
    with trio.move_on_after(1):
        with ctx:
            await trio.sleep_forever()
    assert type(ctx.err) is trioctx.ContextCancelled
    assert ctx.cause is None


async def test_a_value_block_ends_with_the_block_around_it(autojump_clock: MockClock) -> None:
    """Cancelled passes through to the enclosing context, whose end it has."""
    with trioctx.with_cancel(trioctx.background()) as outer:
        with trioctx.with_value(outer, VAR, "x") as ctx:
            outer.cancel("done")
            await trio.sleep_forever()
    assert ctx.err is not None
    assert (ctx.err.context, str(ctx.cause)) == (outer, "done")


async def test_a_value_context_with_a_nursery_has_a_scope() -> None:
    """`async with`: it can be cancelled like any other."""
    async with trioctx.with_value(trioctx.background(), VAR, "x") as ctx:
        ctx.start_soon(trio.sleep_forever)
        ctx.cancel("enough")
    assert str(ctx.cause) == "enough"


@both_forms
async def test_a_value_context_under_a_linked_parent_has_a_scope(block: Block) -> None:
    """Entered where its parent does not enclose it, it can be cancelled like any other."""

    async def body(ctx: trioctx.Context) -> None:
        assert VAR.get() == "x"
        ctx.cancel("enough")
        await trio.sleep_forever()

    parent = trioctx.with_cancel(trioctx.background())
    ctx = trioctx.with_value(parent, VAR, "x")
    await block(ctx, body)
    assert str(ctx.cause) == "enough"
    assert parent.err is None
