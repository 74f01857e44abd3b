"""Linked parents: what reaches a block from parents whose own block is not around it."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
import trio
from blocks import (
    VAR,
    WHY,
    Block,
    Derive,
    Oops,
    as_values,
    both_forms,
    directly,
    every_way,
    held_open,
    merged_first,
    raised,
    tells,
    through_a_chain,
    through_values,
)
from trio.testing import MockClock, wait_all_tasks_blocked

import trioctx

when_derived = pytest.mark.parametrize("late", [False, True], ids=["derived-first", "derived-late"])


# --- cancellation, deadline, closing, stop -------------------------------------------------------


@every_way
@both_forms
async def test_the_cancel_of_a_parent_that_was_never_entered_reaches_the_child(
    block: Block, derive: Derive, autojump_clock: MockClock
) -> None:
    """ContextCancelled with the parent's cause, at once."""
    parent = trioctx.with_cancel(trioctx.background())

    async def body(ctx: trioctx.Context) -> None:
        await trio.sleep(2)
        parent.cancel(WHY)
        await trio.sleep_forever()

    ctx = derive(parent)
    exc = await raised(block, ctx, body)
    assert tells(exc) == tells(ctx.err) == (trioctx.ContextCancelled, parent, WHY)
    assert trio.current_time() == pytest.approx(2)


@every_way
@both_forms
async def test_the_cancel_of_a_parent_in_another_task_reaches_the_child(
    block: Block, derive: Derive, autojump_clock: MockClock
) -> None:
    """From outside both blocks, while both are open."""
    parent = trioctx.with_cancel(trioctx.background())
    ctx = derive(parent)
    async with held_open(parent), trio.open_nursery() as nursery:

        async def end() -> None:
            await trio.sleep(2)
            parent.cancel(WHY)

        nursery.start_soon(end)
        exc = await raised(block, ctx)
    assert tells(exc) == tells(ctx.err) == (trioctx.ContextCancelled, parent, WHY)


@pytest.mark.parametrize("entered", [True, False])
@every_way
@both_forms
async def test_the_deadline_of_a_linked_parent_reaches_the_child(
    block: Block, derive: Derive, entered: bool, autojump_clock: MockClock
) -> None:
    """DeadlineExceeded with the parent's cause, on time; ctx.deadline tells it before."""
    start = trio.current_time()
    parent = trioctx.with_timeout(trioctx.background(), 3, cause=WHY)
    ctx = derive(parent)
    assert ctx.deadline == start + 3

    async def body(ctx: trioctx.Context) -> None:
        assert ctx.deadline == start + 3
        await trio.sleep_forever()

    if entered:
        async with held_open(parent):
            exc = await raised(block, ctx, body)
    else:
        exc = await raised(block, ctx, body)
    assert tells(exc) == tells(ctx.err) == (trioctx.DeadlineExceeded, parent, WHY)
    assert trio.current_time() == start + 3


@every_way
@both_forms
async def test_the_closing_of_a_linked_parent_reaches_the_child(
    block: Block, derive: Derive, autojump_clock: MockClock
) -> None:
    """ContextCancelled by the parent, whose cause is a ContextClosed; its text is the reason."""
    parent = trioctx.with_cancel(trioctx.background())
    ctx = derive(parent)
    async with held_open(parent) as release:

        async def body(ctx: trioctx.Context) -> None:
            await trio.sleep(2)
            release.set()
            with pytest.raises(trio.Cancelled) as caught:
                await trio.sleep_forever()
            assert str(ctx.cause) in str(caught.value.reason)
            raise caught.value

        exc = await raised(block, ctx, body)
    assert isinstance(ctx.cause, trioctx.ContextClosed)
    assert tells(exc) == tells(ctx.err) == (trioctx.ContextCancelled, parent, ctx.cause)
    assert ctx.cause.context is parent
    assert parent.err is None


@every_way
@both_forms
async def test_the_failure_of_a_linked_parent_reaches_the_child(
    block: Block, derive: Derive, autojump_clock: MockClock
) -> None:
    """A failing body cancels with its exception: that is the cause, and not the closing."""
    parent = trioctx.with_cancel(trioctx.background())
    ctx = derive(parent)

    async def fail() -> None:
        with pytest.raises(Oops):
            with parent:
                await trio.sleep(2)
                raise WHY

    async def body(ctx: trioctx.Context) -> None:
        with pytest.raises(trio.Cancelled) as caught:
            await trio.sleep_forever()
        reasons.append(caught.value.reason)
        raise caught.value

    reasons: list[str | None] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        await wait_all_tasks_blocked()
        exc = await raised(block, ctx, body)
    assert tells(exc) == tells(ctx.err) == (trioctx.ContextCancelled, parent, WHY)
    assert "why" in str(reasons[0])


@pytest.mark.parametrize("entered", [True, False])
@when_derived
@every_way
@both_forms
async def test_the_grace_of_a_linked_parent_reaches_the_child(
    block: Block, derive: Derive, late: bool, entered: bool, autojump_clock: MockClock
) -> None:
    """stop() before the child is entered: stopping at once, cancelled at the end of the grace."""
    start = trio.current_time()
    parent = trioctx.with_cancel(trioctx.background())

    async def body(ctx: trioctx.Context) -> None:
        assert ctx.stopping
        assert ctx.err is None
        assert ctx.deadline == start + 3
        await trio.sleep_forever()

    async def derive_and_enter() -> Exception | None:
        ctx = derive(parent)
        parent.stop(WHY, grace=3)
        if late:
            ctx = derive(parent)
        with trio.fail_after(100):
            exc = await raised(block, ctx, body)
        assert tells(exc) == tells(ctx.err)
        return exc

    if entered:
        async with held_open(parent):
            exc = await derive_and_enter()
    else:
        exc = await derive_and_enter()
    assert tells(exc) == (trioctx.ContextCancelled, parent, WHY)
    assert trio.current_time() == start + 3


@every_way
@both_forms
async def test_a_stop_of_a_linked_parent_reaches_the_open_child(
    block: Block, derive: Derive, autojump_clock: MockClock
) -> None:
    """stopping and the deadline at once, the cancellation after the grace, even a shortened one."""
    start = trio.current_time()
    parent = trioctx.with_cancel(trioctx.background())
    ctx = derive(parent)

    async def body(ctx: trioctx.Context) -> None:
        parent.stop(WHY, grace=3)
        assert ctx.stopping
        assert ctx.deadline == start + 3
        await trio.sleep(1)
        parent.stop("again", grace=1)
        assert ctx.deadline == start + 2
        await trio.sleep_forever()

    exc = await raised(block, ctx, body)
    assert tells(exc) == tells(ctx.err) == (trioctx.ContextCancelled, parent, WHY)
    assert trio.current_time() == start + 2


@every_way
@both_forms
async def test_a_parent_that_ended_before_ends_the_child_at_its_first_checkpoint(
    block: Block, derive: Derive, autojump_clock: MockClock
) -> None:
    """Cancelled between the deriving and the entering; Trio is told the cause."""
    parent = trioctx.with_cancel(trioctx.background())
    ctx = derive(parent)
    parent.cancel("gone")
    reasons = []

    async def body(ctx: trioctx.Context) -> None:
        assert ctx.cancelled
        with pytest.raises(trio.Cancelled) as caught:
            await trio.lowlevel.checkpoint()
        reasons.append(caught.value.reason)
        raise caught.value

    assert tells(await raised(block, ctx, body)) == tells(parent.err)
    assert reasons == ["gone"]


@every_way
@both_forms
async def test_a_parent_that_closed_before_ends_the_child_at_its_first_checkpoint(
    block: Block, derive: Derive, autojump_clock: MockClock
) -> None:
    """Closed between the deriving and the entering."""
    parent = trioctx.with_cancel(trioctx.background())
    ctx = derive(parent)
    with parent:
        pass
    exc = await raised(block, ctx)
    assert isinstance(ctx.cause, trioctx.ContextClosed)
    assert tells(exc) == (trioctx.ContextCancelled, parent, ctx.cause)


async def test_what_the_child_encloses_ends_with_the_linked_parent(
    autojump_clock: MockClock,
) -> None:
    """Enclosed blocks, tasks, and what is linked to those in turn."""
    parent = trioctx.with_cancel(trioctx.background())
    inner = trioctx.with_cancel(trioctx.background())
    second = trioctx.with_cancel(trioctx.with_cancel(inner))
    raised_by: list[BaseException] = []

    async def linked_to_inner() -> None:
        with pytest.raises(trioctx.ContextCancelled) as caught:
            with second:
                await trio.sleep_forever()
        raised_by.append(caught.value)

    async with trio.open_nursery() as nursery:
        with pytest.raises(trioctx.ContextCancelled) as caught:
            async with trioctx.with_cancel(parent) as child:
                with inner:
                    nursery.start_soon(linked_to_inner)
                    child.start_soon(trio.sleep_forever)
                    await wait_all_tasks_blocked()
                    parent.cancel(WHY)
                    await trio.sleep_forever()
    for exc in (caught.value, *raised_by, inner.err, second.err):
        assert tells(exc) == (trioctx.ContextCancelled, parent, WHY)


@pytest.mark.parametrize("first", ["parent", "own"])
async def test_of_several_ends_the_first_gives_the_reason(first: str) -> None:
    """Entered after its own cancel and its parent's: Trio is told the cause that err has."""
    parent = trioctx.with_cancel(trioctx.background())
    ctx = trioctx.merge(trioctx.with_cancel(trioctx.background()), parent)
    for one in (parent, ctx) if first == "parent" else (ctx, parent):
        one.cancel("parent" if one is parent else "own")
    try:
        with ctx:
            with pytest.raises(trio.Cancelled) as caught:
                await trio.lowlevel.checkpoint()
            raise caught.value
    except trioctx.ContextCancelled:
        assert first == "parent"
    assert str(ctx.cause) == first
    assert caught.value.reason == first


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
async def test_of_several_linked_ends_the_first_gives_the_reason(order: list[int]) -> None:
    """Whatever the order in which the parents were given."""
    parents = [trioctx.with_cancel(trioctx.background()) for _ in order]
    ctx = trioctx.merge(*parents)
    for number in order:
        parents[number].cancel(str(number))
    with pytest.raises(trioctx.ContextCancelled) as raised_by:
        with ctx:
            with pytest.raises(trio.Cancelled) as caught:
                await trio.lowlevel.checkpoint()
            raise caught.value
    assert raised_by.value.context is parents[order[0]]
    assert caught.value.reason == str(order[0])


async def test_a_linked_parent_can_be_cancelled_from_a_thread() -> None:
    """Recorded at once, delivered soon."""
    parent = trioctx.with_cancel(trioctx.background())
    with pytest.raises(trioctx.ContextCancelled) as caught:
        with trioctx.with_cancel(trioctx.with_cancel(parent)) as ctx:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(parent.cancel, WHY)
            assert ctx.cancelled
            await trio.sleep_forever()
    assert tells(caught.value) == (trioctx.ContextCancelled, parent, WHY)


@every_way
async def test_contexts_may_be_linked_without_ever_being_entered(derive: Derive) -> None:
    """What is derived and dropped leaves nothing behind in its parent."""
    parent = trioctx.with_cancel(trioctx.background())
    ref = weakref.ref(derive(parent))
    gc.collect()
    assert ref() is None


async def test_links_go_on_exit() -> None:
    """A parent that lives on keeps nothing of what was linked to it, however that was left."""
    parent = trioctx.with_cancel(trioctx.background())
    refs = []
    with parent:
        for derive in (directly, as_values, through_values, through_a_chain, merged_first):
            ctx = trioctx.with_cancel(trioctx.without_cancel(trioctx.background()))
            with ctx, trioctx.without_cancel(trioctx.background()):
                child = derive(parent)
                with child:
                    pass
                with pytest.raises(Oops):
                    with derive(parent) as other:
                        raise Oops
            refs += [weakref.ref(child), weakref.ref(other), weakref.ref(ctx)]
            del child, other, ctx
        gc.collect()
        assert [ref() for ref in refs] == [None] * len(refs)


async def test_an_end_after_the_exit_does_not_reach_the_child(autojump_clock: MockClock) -> None:
    """Left before the parent ended: no err, and code after the block goes on."""
    parent = trioctx.with_timeout(trioctx.background(), 2)
    with trioctx.with_cancel(parent) as child:
        pass
    parent.cancel()
    await trio.sleep(5)
    assert child.err is None
    assert math.isinf(trio.current_effective_deadline())


@pytest.mark.parametrize("form", ["with", "async with"])
async def test_the_block_around_is_the_parent_behind_values(
    form: str, autojump_clock: MockClock
) -> None:
    """`with_timeout(with_value(ctx, ...))` in ctx: no link, Trio's cancellation travels on."""
    with trioctx.with_timeout(trioctx.background(), 5) as ctx:
        inner = trioctx.with_timeout(trioctx.with_value(ctx, VAR, "inside"), 9)
        if form == "with":
            with inner:
                assert (VAR.get(), inner.deadline) == ("inside", ctx.deadline)
                ctx.cancel(WHY)
                await trio.sleep_forever()
        else:
            async with inner:
                assert (VAR.get(), inner.deadline) == ("inside", ctx.deadline)
                ctx.cancel(WHY)
                await trio.sleep_forever()
    assert VAR.get("outside") == "outside"
    assert inner.err is not None
    assert inner.err.context is ctx
    assert inner.cause is WHY
