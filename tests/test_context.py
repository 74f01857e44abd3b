"""Contexts on Trio: entering, states, plain Trio cancellation, repr."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from blocks import VAR, Block, Oops, both_forms, nothing, sleep
from trio.testing import MockClock

import trioctx

# --- entering ------------------------------------------------------------------------------------


@both_forms
async def test_a_block_is_new_then_open_then_closed(block: Block) -> None:
    """state follows the block; the block gives the context itself."""

    async def body(inner: trioctx.Context) -> None:
        assert inner is ctx
        assert ctx.state == "open"
        assert not ctx.done
        assert trioctx.current() is ctx

    ctx = trioctx.with_cancel(trioctx.background())
    states = [ctx.state]
    assert not ctx.done
    await block(ctx, body)
    assert [*states, ctx.state] == ["new", "closed"]
    assert ctx.done
    assert not ctx.cancelled


@pytest.mark.parametrize("form", ["with", "async with"])
async def test_the_block_gives_the_context(form: str) -> None:
    """`as ctx` is the context that was entered."""
    ctx = trioctx.with_cancel(trioctx.background())
    if form == "with":
        with ctx as given:
            assert given is ctx
    else:
        async with ctx as given:
            assert given is ctx


@both_forms
async def test_a_failing_block_is_closed(block: Block) -> None:
    """However the block is left, the state is closed afterwards."""

    async def body(inner: trioctx.Context) -> None:
        raise Oops

    ctx = trioctx.with_cancel(trioctx.background())
    with pytest.raises(Oops):
        await block(ctx, body)
    assert ctx.state == "closed"


@both_forms
async def test_entering_an_open_context_again_is_refused(block: Block) -> None:
    """One-shot, as trio.CancelScope; the open block is not disturbed."""

    async def body(ctx: trioctx.Context) -> None:
        with pytest.raises(RuntimeError, match="once"):
            with ctx:
                pass
        with pytest.raises(RuntimeError, match="once"):
            async with ctx:
                pass
        assert ctx.state == "open"
        assert trioctx.current() is ctx

    await block(trioctx.with_cancel(trioctx.background()), body)


@pytest.mark.parametrize("make", [trioctx.with_cancel, trioctx.without_cancel])
@both_forms
async def test_entering_a_closed_context_again_is_refused(
    block: Block, make: Callable[[trioctx.Context], trioctx.Context]
) -> None:
    """One-shot, as trio.CancelScope."""
    ctx = make(trioctx.background())
    await block(ctx, nothing)
    with pytest.raises(RuntimeError, match="once"):
        await block(ctx, nothing)
    assert ctx.state == "closed"


@pytest.mark.parametrize("root", [trioctx.background(), trioctx.todo()])
@both_forms
async def test_a_root_cannot_be_entered(block: Block, root: trioctx.Context) -> None:
    """The error says to derive from it."""
    with pytest.raises(RuntimeError, match=r"root.*derive"):
        await block(root, nothing)
    assert root.state == "open"


def test_entering_outside_a_run_is_refused() -> None:
    """There is no Trio to put it on; it stays new."""
    ctx = trioctx.with_cancel(trioctx.background())
    with pytest.raises(RuntimeError, match=r"trio\.run"):
        with ctx:
            pass
    assert ctx.state == "new"


@both_forms
def test_entering_from_another_run_is_refused(block: Block) -> None:
    """A context belongs to the run that it was made in; it stays new."""

    async def make() -> trioctx.Context:
        return trioctx.with_timeout(trioctx.background(), 5)

    async def enter() -> None:
        with pytest.raises(RuntimeError, match="another"):
            await block(ctx, nothing)

    ctx = trio.run(make)
    trio.run(enter)
    assert ctx.state == "new"


@both_forms
def test_a_context_made_outside_a_run_can_be_entered_in_one(block: Block) -> None:
    """It has no run until then."""

    async def main() -> None:
        await block(ctx, nothing)

    ctx = trioctx.with_cancel(trioctx.background())
    trio.run(main)
    assert ctx.state == "closed"


@both_forms
async def test_a_parent_of_another_run_is_refused(block: Block) -> None:
    """Deriving from it is a RuntimeError, as its clock is another one."""

    async def make() -> trioctx.Context:
        return trioctx.with_cancel(trioctx.background())

    other = await trio.to_thread.run_sync(trio.run, make)
    with pytest.raises(RuntimeError, match="another Trio run"):
        trioctx.with_cancel(other)
    with pytest.raises(RuntimeError, match="another Trio run"):
        trioctx.with_timeout(other, 1)
    with pytest.raises(RuntimeError, match="another Trio run"):
        trioctx.with_value(other, VAR, "x")
    with pytest.raises(RuntimeError, match="another Trio run"):
        trioctx.merge(trioctx.background(), other)


def test_a_deadline_outside_a_run_is_refused() -> None:
    """There is no clock."""
    with pytest.raises(RuntimeError, match=r"trio\.run"):
        trioctx.with_timeout(trioctx.background(), 1)
    with pytest.raises(RuntimeError, match=r"trio\.run"):
        trioctx.with_deadline(trioctx.background(), 1)


async def test_with_is_one_scope_and_async_with_one_nursery() -> None:
    """The scope of an async with block is that of its nursery."""
    with trioctx.with_cancel(trioctx.background()) as ctx:
        assert isinstance(ctx.cancel_scope, trio.CancelScope)
        with pytest.raises(RuntimeError, match="async with"):
            _ = ctx.nursery
    async with trioctx.with_timeout(trioctx.background(), 5) as ctx:
        assert ctx.nursery.cancel_scope is ctx.cancel_scope
        assert ctx.cancel_scope.deadline == ctx.deadline


@pytest.mark.parametrize("cancel", [True, False])
@both_forms
async def test_what_was_cancelled_or_stopped_before_ends_at_its_first_checkpoint(
    block: Block, cancel: bool, autojump_clock: MockClock
) -> None:
    """cancel() and stop() before entering count; the block is quiet, as after any own end."""
    reached = False

    async def body(ctx: trioctx.Context) -> None:
        nonlocal reached
        assert ctx.cancelled
        assert ctx.state == "open"
        reached = True
        await trio.lowlevel.checkpoint()
        pytest.fail("the checkpoint did not raise")

    ctx = trioctx.with_cancel(trioctx.background())
    if cancel:
        ctx.cancel("early")
    else:
        ctx.stop("early", grace=0)
    await block(ctx, body)
    assert reached
    assert str(ctx.cause) == "early"


# --- plain Trio cancellation ---------------------------------------------------------------------


@both_forms
async def test_cancelling_the_scope_counts_as_cancel(block: Block) -> None:
    """ctx.cancel_scope.cancel(): quiet, err at once and afterwards, no cause."""

    async def body(ctx: trioctx.Context) -> None:
        ctx.cancel_scope.cancel()
        assert ctx.cancelled
        await trio.sleep_forever()

    ctx = trioctx.with_cancel(trioctx.background())
    await block(ctx, body)
    assert type(ctx.err) is trioctx.ContextCancelled
    assert ctx.err.context is ctx
    assert ctx.cause is None


@pytest.mark.parametrize("sleeps", [True, False])
@both_forms
async def test_cancelling_the_scope_is_noticed_at_the_exit(block: Block, sleeps: bool) -> None:
    """Also where nobody looked before, and where no checkpoint was reached."""

    async def body(ctx: trioctx.Context) -> None:
        ctx.cancel_scope.cancel()
        if sleeps:
            await trio.sleep_forever()

    ctx = trioctx.with_cancel(trioctx.background())
    await block(ctx, body)
    assert type(ctx.err) is trioctx.ContextCancelled
    assert ctx.cause is None


@both_forms
async def test_cancelling_the_scope_before_the_deadline_is_no_timeout(
    block: Block, autojump_clock: MockClock
) -> None:
    """Looked at before the deadline, it stays a cancellation after it."""

    async def body(ctx: trioctx.Context) -> None:
        ctx.cancel_scope.cancel()
        assert ctx.cancelled
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        await trio.sleep_forever()

    ctx = trioctx.with_timeout(trioctx.background(), 2)
    await block(ctx, body)
    assert type(ctx.err) is trioctx.ContextCancelled


@both_forms
async def test_a_plain_scope_around_a_block_cancels_it(
    block: Block, autojump_clock: MockClock
) -> None:
    """Cancelled travels on to the scope; afterwards err is a ContextCancelled without a cause."""
    ctx = trioctx.with_cancel(trioctx.background())
    with trio.move_on_after(1) as scope:
        await block(ctx, sleep)
    assert scope.cancelled_caught
    assert type(ctx.err) is trioctx.ContextCancelled
    assert ctx.err.context is ctx
    assert ctx.cause is None


@both_forms
async def test_a_plain_scope_in_between_leaves_the_outer_context_alone(
    block: Block, autojump_clock: MockClock
) -> None:
    """Only what is inside the plain scope has ended."""
    with trioctx.with_timeout(trioctx.background(), 5) as outer:
        inner = trioctx.with_cancel(outer)
        with trio.move_on_after(1):
            await block(inner, sleep)
        assert inner.err is not None
        assert inner.err.context is inner
        assert outer.err is None


@both_forms
async def test_an_outer_deadline_before_that_of_a_plain_scope_is_the_end(
    block: Block, autojump_clock: MockClock
) -> None:
    """Of two ends around a block, the one that came says what err is."""
    outer = trioctx.with_timeout(trioctx.background(), 1)
    inner = trioctx.with_cancel(outer)
    with pytest.raises(trioctx.DeadlineExceeded):
        with outer:
            with trio.move_on_after(2):
                await block(inner, sleep)
    assert type(inner.err) is trioctx.DeadlineExceeded
    assert inner.err.context is outer


@both_forms
async def test_a_shield_set_on_the_scope_is_obeyed(block: Block, autojump_clock: MockClock) -> None:
    """ctx.cancel_scope is Trio's own: Cancelled waits for the end of the block, err does not."""
    finished = False

    async def body(ctx: trioctx.Context) -> None:
        nonlocal finished
        ctx.cancel_scope.shield = True
        await trio.sleep(5)
        assert type(ctx.err) is trioctx.DeadlineExceeded
        finished = True

    outer = trioctx.with_timeout(trioctx.background(), 1)
    with pytest.raises(trioctx.DeadlineExceeded) as caught:
        with outer:
            await block(trioctx.with_cancel(outer), body)
            assert finished
            await trio.lowlevel.checkpoint()
    assert caught.value.context is outer


# --- repr ----------------------------------------------------------------------------------------


async def test_repr_shows_lineage_state_and_time_left(autojump_clock: MockClock) -> None:
    """Kinds from the root on, with the names that were given; the rest as it is now."""
    ctx = trioctx.with_timeout(trioctx.with_cancel(trioctx.background(), name="serve"), 8)
    lineage = "background.with_cancel('serve').with_timeout"
    assert repr(ctx) == f"<trioctx.Context {lineage} new, 8 s left>"
    await trio.sleep(5.5)
    with ctx:
        assert repr(ctx) == f"<trioctx.Context {lineage} open, 2.5 s left>"
        ctx.stop(grace=1)
        assert repr(ctx) == f"<trioctx.Context {lineage} open, 1 s left, stopping>"
    assert repr(ctx) == f"<trioctx.Context {lineage} closed>"


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (None, "cancelled"),
        ("gone", "cancelled: gone"),
        (ValueError("bad"), "cancelled: ValueError: bad"),
    ],
)
def test_repr_shows_the_end(cause: BaseException | str | None, text: str) -> None:
    """What ended it and why, outside a run too."""
    ctx = trioctx.with_cancel(trioctx.background())
    ctx.cancel(cause)
    assert repr(ctx) == f"<trioctx.Context background.with_cancel new, {text}>"


async def test_repr_shows_a_deadline_that_passed(autojump_clock: MockClock) -> None:
    """A timeout reads as one."""
    ctx = trioctx.with_timeout(trioctx.background(), 1, cause="slow")
    await trio.sleep(2)
    assert repr(ctx).endswith("with_timeout new, deadline exceeded: slow>")


@pytest.mark.parametrize("root", [trioctx.background(), trioctx.todo()])
def test_repr_of_a_root(root: trioctx.Context) -> None:
    """A root is its name."""
    assert root.name in repr(root)
    assert "open" in repr(root)


def test_repr_of_a_deep_context_stays_short() -> None:
    """Lineages nest without bound; what is shown of them does not."""
    ctx = trioctx.background()
    for _ in range(5000):
        ctx = trioctx.with_cancel(ctx)
    assert len(repr(ctx)) < 300


def test_entering_with_a_nursery_outside_a_run_is_refused() -> None:
    """`async with` driven by something that is not Trio."""
    ctx = trioctx.with_cancel(trioctx.background())
    with pytest.raises(RuntimeError, match=r"trio\.run"):
        ctx.__aenter__().send(None)
    assert ctx.state == "new"
