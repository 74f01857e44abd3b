"""Counterparts of Go's `context/context_test.go`: how contexts hang together, and what is let go.

Go reads its unexported child maps and counts goroutines. Here the same is seen from outside: what
ends with what, which objects stay alive, and how many Trio tasks there are.
"""

import contextlib
import gc
import weakref
from collections.abc import Callable
from contextvars import ContextVar

import pytest
import trio
import trio.testing

import trioctx

VERY_LONG = 1000 * 3600.0

KEY: ContextVar[str] = ContextVar("key")


class Token:
    """Something a weak reference can point to."""


async def is_gone(ref: weakref.ref[object]) -> bool:
    """Tell whether nothing but reference cycles kept the object alive."""
    # Trio's run loop keeps the last Cancelled it delivered until the next step of a task.
    await trio.lowlevel.checkpoint()
    gc.collect()
    return ref() is None


def tasks_living() -> int:
    """Count the tasks of the running Trio."""
    return trio.lowlevel.current_statistics().tasks_living


async def test_cancelling_a_parent_ends_everything_derived_from_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestParentFinishesChild: the end reaches every level at once, and what is derived later."""
    parent = trioctx.with_cancel(trioctx.background())
    cancellable = trioctx.with_cancel(parent)
    valued = trioctx.with_value(parent, KEY, "value")
    timed = trioctx.with_timeout(valued, VERY_LONG)
    family = [parent, cancellable, valued, timed]
    assert cancellable.parent is parent
    assert valued.parent is parent
    assert timed.parent is valued
    assert not any(ctx.done for ctx in family)

    parent.cancel()

    for ctx in [*family, trioctx.with_value(parent, KEY, "late"), trioctx.with_cancel(timed)]:
        assert ctx.done
        assert isinstance(ctx.err, trioctx.ContextCancelled)
        assert ctx.err.context is parent
        with trio.fail_after(VERY_LONG):
            await ctx.wait_done()
    assert trio.current_time() == 0


async def test_cancelling_a_parent_ends_the_blocks_of_its_children(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestParentFinishesChild: blocks in other tasks end too, and say whose end it was."""
    cause = Exception("parent finished")
    parent = trioctx.with_cancel(trioctx.background())
    valued = trioctx.with_value(parent, KEY, "value")
    children = [
        trioctx.with_cancel(parent),
        trioctx.with_value(parent, KEY, "other"),
        trioctx.with_timeout(valued, VERY_LONG),
    ]
    ended: list[trioctx.Context] = []

    async def hold(child: trioctx.Context) -> None:
        with pytest.raises(trioctx.ContextCancelled) as caught, child:
            await trio.sleep(2 * VERY_LONG)
        assert caught.value.context is parent
        assert caught.value.cause is cause
        ended.append(child)

    async with trio.open_nursery() as nursery:
        for child in children:
            nursery.start_soon(hold, child)
        await trio.testing.wait_all_tasks_blocked()
        assert not any(child.done for child in children)
        parent.cancel(cause)

    assert trio.current_time() == 0
    assert len(ended) == len(children)


@pytest.mark.parametrize("root", [trioctx.background, trioctx.todo, None])
def test_cancelling_a_child_leaves_its_parent_alone(
    root: Callable[[], trioctx.Context] | None,
) -> None:
    """TestChildFinishesFirst: cancellation goes down the tree, never up."""
    parent = root() if root else trioctx.with_cancel(trioctx.background())
    child = trioctx.with_cancel(parent)
    sibling = trioctx.with_cancel(parent)
    assert child.parent is parent
    assert not parent.done
    assert not child.done

    child.cancel()

    assert child.done
    assert isinstance(child.err, trioctx.ContextCancelled)
    assert child.err.context is child
    for other in (parent, sibling):
        assert not other.done
        assert other.err is None


async def test_a_child_that_ends_first_leaves_the_block_of_its_parent_running(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestChildFinishesFirst: the parent's block goes on when the child's inside it is over."""
    with trioctx.with_cancel(trioctx.background()) as parent:
        with trioctx.with_cancel(parent) as child:
            child.cancel()
            await trio.sleep_forever()
        assert child.cancelled
        await trio.sleep(1)
        assert parent.err is None
    assert parent.state == "closed"
    assert parent.err is None
    assert trio.current_time() == 1


Derive = Callable[[trioctx.Context], trioctx.Context]


def cancel_child(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_cancel(parent)


def timeout_child(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_timeout(parent, 1)


def value_child(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_value(parent, KEY, "value")


def merged_child(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.merge(parent, trioctx.with_cancel(parent))


@pytest.mark.parametrize("entered", [False, True], ids=["new", "open"])
@pytest.mark.parametrize("derive", [cancel_child, timeout_child, merged_child])
async def test_a_parent_keeps_nothing_of_a_cancelled_child(
    derive: Derive, entered: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """TestCancelRemoves: a long-lived parent does not hold on to what was cancelled before it."""
    parent = trioctx.with_cancel(trioctx.background())

    def cancelled() -> weakref.ref[object]:
        child = derive(parent)
        child.cancel()
        return weakref.ref(child)

    with parent if entered else contextlib.nullcontext():
        assert await is_gone(cancelled())
        assert parent.err is None


@pytest.mark.parametrize("entered", [False, True], ids=["linked", "enclosing"])
@pytest.mark.parametrize("derive", [cancel_child, timeout_child, value_child, merged_child])
async def test_a_parent_keeps_nothing_of_a_closed_child(
    derive: Derive, entered: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """TestCancelRemoves: links go when the child's block is left, in whatever way."""
    parent = trioctx.with_cancel(trioctx.background())

    async def left() -> weakref.ref[object]:
        with derive(parent) as child:
            await trio.lowlevel.checkpoint()
        return weakref.ref(child)

    async def left_with_tasks() -> weakref.ref[object]:
        async with derive(parent) as child:
            child.start_soon(trio.lowlevel.checkpoint)
        return weakref.ref(child)

    async def failed() -> weakref.ref[object]:
        child = derive(parent)
        with contextlib.suppress(ArithmeticError), child:
            raise ArithmeticError
        return weakref.ref(child)

    async def ended_by_trio() -> weakref.ref[object]:
        child = derive(parent)
        with contextlib.suppress(trioctx.DeadlineExceeded), trio.move_on_after(2), child:
            await trio.sleep_forever()
        return weakref.ref(child)

    with parent if entered else contextlib.nullcontext():
        for use in (left, left_with_tasks, failed, ended_by_trio):
            assert await is_gone(await use()), use.__name__
        assert parent.err is None


async def test_a_stopped_after_func_is_let_go(autojump_clock: trio.testing.MockClock) -> None:
    """TestCancelRemoves: stopping leaves no task, and neither the function nor its arguments."""
    before = tasks_living()

    async def register_and_stop(ctx: trioctx.Context) -> weakref.ref[object]:
        token = Token()
        handle = trioctx.after_func(ctx, repr, token)
        await trio.testing.wait_all_tasks_blocked()
        assert handle.stop()
        await trio.testing.wait_all_tasks_blocked()
        return weakref.ref(token)

    parent = trioctx.with_cancel(trioctx.background())
    assert await is_gone(await register_and_stop(parent))
    with parent:
        assert await is_gone(await register_and_stop(parent))
        assert tasks_living() == before


async def test_deriving_and_linking_start_no_task(autojump_clock: trio.testing.MockClock) -> None:
    """TestCustomContextGoroutines: neither a derived context nor a link costs a task."""
    before = tasks_living()

    linked = trioctx.with_cancel(trioctx.background())
    value = trioctx.with_value(linked, KEY, "value")
    timed = trioctx.with_timeout(value, VERY_LONG)
    detached = trioctx.with_cancel(trioctx.without_cancel(timed))
    merged = trioctx.merge(timed, detached)
    assert tasks_living() == before

    with trioctx.with_cancel(merged) as ctx:
        await trio.testing.wait_all_tasks_blocked()
        assert tasks_living() == before
        trioctx.with_timeout(ctx, 1).cancel()
        assert tasks_living() == before
    assert tasks_living() == before

    linked.cancel()
    assert trioctx.with_timeout(merged, 1).cancelled
    assert tasks_living() == before
