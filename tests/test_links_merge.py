"""Links of several parents, links to a parent that is entered later, and links that are gone."""

from __future__ import annotations

import pytest
import trio
from blocks import OTHER, VAR, WHY, Block, both_forms, held_open, raised, tells
from trio.testing import MockClock

import trioctx

# --- merge ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1, 2])
@both_forms
async def test_a_merge_ends_with_any_of_its_parents(
    block: Block, which: int, autojump_clock: MockClock
) -> None:
    """And with none of the others' ends afterwards."""
    parents = [trioctx.with_cancel(trioctx.background()) for _ in range(3)]
    ctx = trioctx.merge(*parents)

    async def body(ctx: trioctx.Context) -> None:
        parents[which].cancel(WHY)
        for parent in parents:
            parent.cancel("late")
        await trio.sleep_forever()

    exc = await raised(block, ctx, body)
    assert tells(exc) == tells(ctx.err) == (trioctx.ContextCancelled, parents[which], WHY)


@pytest.mark.parametrize("shortest", [0, 1, 2])
@both_forms
async def test_a_merge_has_the_least_deadline(
    block: Block, shortest: int, autojump_clock: MockClock
) -> None:
    """Of its parents'; its owner is whom err names."""
    times = [5.0, 5.0, 5.0]
    times[shortest] = 2
    parents = [trioctx.with_timeout(trioctx.background(), time, cause=WHY) for time in times]
    ctx = trioctx.merge(*parents)
    assert ctx.remaining() == 2
    exc = await raised(block, ctx)
    assert tells(exc) == (trioctx.DeadlineExceeded, parents[shortest], WHY)


async def test_a_merge_has_the_values_of_the_first(autojump_clock: MockClock) -> None:
    """The others give none, entered or not."""
    first = trioctx.with_value(trioctx.background(), VAR, "first")
    second = trioctx.with_values(trioctx.background(), {VAR: "second", OTHER: "second"})
    ctx = trioctx.merge(first, second)
    assert ctx.parent is first
    assert (ctx[VAR], OTHER in ctx) == ("first", False)
    with ctx:
        assert (VAR.get(), OTHER.get()) == ("first", "unset")


async def test_a_merge_has_no_values_of_the_others(autojump_clock: MockClock) -> None:
    """Nor where the first has none and can never end, and another one is what it can end with."""
    with trioctx.with_cancel(trioctx.background()) as outer:
        other = trioctx.with_value(outer, VAR, "other")
        with trioctx.merge(trioctx.background(), other) as ctx:
            assert VAR not in ctx
            assert VAR.get() == "unset"
        with trioctx.merge(other, trioctx.background()) as ctx:
            assert ctx[VAR] == VAR.get() == "other"


@pytest.mark.parametrize("ends", ["enclosing", "linked"])
@both_forms
async def test_a_merge_of_an_enclosing_and_a_linked_parent(
    block: Block, ends: str, autojump_clock: MockClock
) -> None:
    """The enclosing one's cancellation travels on to it; the linked one's is raised."""
    linked = trioctx.with_cancel(trioctx.background())

    async def body(ctx: trioctx.Context) -> None:
        (outer if ends == "enclosing" else linked).cancel(WHY)
        await trio.sleep_forever()

    with trioctx.with_cancel(trioctx.background()) as outer:
        exc = await raised(block, trioctx.merge(outer, linked), body)
        assert ends == "linked"
        assert tells(exc) == (trioctx.ContextCancelled, linked, WHY)
    assert outer.cancelled == (ends == "enclosing")


# --- a parent that is entered later, and links that are gone -------------------------------------


@pytest.mark.parametrize(
    "ends", ["cancel", "close", "outer cancel", "outer deadline", "outer stop"]
)
@both_forms
async def test_a_parent_entered_after_the_child_was(
    block: Block, ends: str, autojump_clock: MockClock
) -> None:
    """It still ends the child; and so does now what has come around the parent."""
    outer = trioctx.with_timeout(trioctx.background(), 3 if ends == "outer deadline" else 1000)
    parent = trioctx.with_cancel(trioctx.background())
    ctx = trioctx.with_cancel(trioctx.with_cancel(parent))
    start = trio.current_time()

    async def enter_parent() -> None:
        await trio.sleep(1)
        try:
            with outer:
                with parent:
                    assert ctx.deadline == outer.deadline
                    await trio.sleep(1)
                    if ends == "close":
                        return
                    if ends == "cancel":
                        parent.cancel(WHY)
                    elif ends == "outer cancel":
                        outer.cancel(WHY)
                    elif ends == "outer stop":
                        outer.stop(WHY, grace=1)
                        assert ctx.stopping
                    await trio.sleep_forever()
        except trioctx.DeadlineExceeded:
            assert ends == "outer deadline"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enter_parent)
        exc = await raised(block, ctx)
    error, node, _ = tells(exc)
    assert error is (
        trioctx.DeadlineExceeded if ends == "outer deadline" else trioctx.ContextCancelled
    )
    assert node is (outer if ends.startswith("outer") else parent)
    assert trio.current_time() == start + (3 if ends in ("outer deadline", "outer stop") else 2)


@both_forms
async def test_a_parent_in_the_middle_of_a_chain_is_entered(
    block: Block, autojump_clock: MockClock
) -> None:
    """What is above it still reaches what is below it."""
    top = trioctx.with_cancel(trioctx.background())
    parent = trioctx.with_cancel(trioctx.with_cancel(top))
    ctx = trioctx.with_cancel(trioctx.with_cancel(parent))

    async def body(ctx: trioctx.Context) -> None:
        async with held_open(parent):
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                top.cancel(WHY)
                await trio.sleep(1)
            await trio.sleep_forever()

    assert tells(await raised(block, ctx, body)) == (trioctx.ContextCancelled, top, WHY)
    assert tells(parent.err) == (trioctx.ContextCancelled, top, WHY)


async def test_one_child_of_a_parent_leaves_before_another(autojump_clock: MockClock) -> None:
    """Both hang on the same contexts that were never entered; the second stays linked."""
    parent = trioctx.with_cancel(trioctx.background())
    between = trioctx.with_cancel(trioctx.with_cancel(parent))
    with pytest.raises(trioctx.ContextCancelled) as caught:
        with trioctx.with_cancel(between):
            with trioctx.with_cancel(between):
                pass
            parent.cancel(WHY)
            await trio.sleep_forever()
    assert tells(caught.value) == (trioctx.ContextCancelled, parent, WHY)


async def test_a_parent_entered_inside_its_own_child(autojump_clock: MockClock) -> None:
    """What the child did to itself is not the parent's doing, though each ends with the other."""
    parent = trioctx.with_cancel(trioctx.background())
    with trioctx.with_cancel(parent) as child:
        with parent:
            child.cancel(WHY)
            assert parent.cause is WHY
            await trio.sleep_forever()
    assert child.err is not None
    assert child.err.context is child
