"""Counterparts of Go's `context/afterfunc_test.go` and of the `AfterFunc` examples.

Go tests here what a child does under a foreign Context type that offers an `AfterFunc` of its own.
There is one Context type here, so what carries over is the bond itself: a child under a parent that
does not enclose it ends with that parent, and leaves nothing with it when it ends first.
"""

import gc
import threading
import weakref
from collections.abc import Callable

import pytest
import trio
import trio.testing

import trioctx

SHORT = 0.001
VERY_LONG = 1000 * 3600.0


class Token:
    """Something a weak reference can point to."""


async def is_gone(ref: weakref.ref[object]) -> bool:
    """Tell whether nothing but reference cycles kept the object alive."""
    # Trio's run loop keeps the last Cancelled it delivered until the next step of a task.
    await trio.lowlevel.checkpoint()
    gc.collect()
    return ref() is None


def cancel_child(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_cancel(parent)


def timeout_child(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_timeout(parent, VERY_LONG)


async def ends_with_its_linked_parent(
    derive: Callable[[trioctx.Context], trioctx.Context],
) -> None:
    """Assert that a parent's end reaches its children, waited for or entered elsewhere."""
    cause = Exception("the parent's")
    parent = trioctx.with_cancel(trioctx.background())
    watched, entered = derive(parent), derive(parent)
    waited = trio.Event()

    async def wait() -> None:
        await watched.wait_done()
        waited.set()

    async def hold() -> None:
        with pytest.raises(trioctx.ContextCancelled) as caught, entered:
            await trio.sleep(2 * VERY_LONG)
        assert caught.value.context is parent
        assert caught.value.cause is cause

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        assert not waited.is_set()
        parent.cancel(cause)

    assert waited.is_set()
    assert trio.current_time() == 0
    for child in (watched, entered):
        assert isinstance(child.err, trioctx.ContextCancelled)
        assert child.err.context is parent


async def takes_itself_off_its_parent(
    derive: Callable[[trioctx.Context], trioctx.Context],
) -> None:
    """Assert that parent holds no child that was cancelled, in or out of its block."""
    parent = trioctx.with_cancel(trioctx.background())

    def cancel_unentered() -> weakref.ref[object]:
        child = derive(parent)
        child.cancel()
        return weakref.ref(child)

    async def cancel_entered() -> weakref.ref[object]:
        with derive(parent) as child:
            child.cancel()
            await trio.sleep(1)
        return weakref.ref(child)

    async def cancel_waited_for() -> weakref.ref[object]:
        child = derive(parent)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.wait_done)
            await trio.testing.wait_all_tasks_blocked()
            child.cancel()
        return weakref.ref(child)

    assert await is_gone(cancel_unentered())
    assert await is_gone(await cancel_entered())
    assert await is_gone(await cancel_waited_for())
    assert parent.err is None


async def test_a_child_ends_with_a_parent_it_is_only_linked_to(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestCustomContextAfterFuncCancel: with the parent's cause, and naming the parent."""
    await ends_with_its_linked_parent(cancel_child)


async def test_a_child_with_a_timeout_ends_with_a_parent_it_is_only_linked_to(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestCustomContextAfterFuncTimeout: long before its own deadline, and not as a timeout."""
    await ends_with_its_linked_parent(timeout_child)


@pytest.mark.parametrize("derive", [None, cancel_child, timeout_child])
async def test_after_func_is_called_for_the_end_of_a_parent(
    derive: Callable[[trioctx.Context], trioctx.Context] | None,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestCustomContextAfterFuncAfterFunc: for the context's own end and for one it takes over."""
    parent = trioctx.with_cancel(trioctx.background())
    ctx = derive(parent) if derive else parent
    called = trio.Event()
    handle = trioctx.after_func(ctx, called.set)
    parent.cancel()
    with trio.fail_after(VERY_LONG):
        await called.wait()
    assert trio.current_time() == 0
    assert handle.stop() is False


async def test_a_cancelled_child_takes_itself_off_its_parent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestCustomContextAfterFuncUnregisterCancel: however it was used before."""
    await takes_itself_off_its_parent(cancel_child)


async def test_a_cancelled_child_with_a_timeout_takes_itself_off_its_parent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestCustomContextAfterFuncUnregisterTimeout: although its deadline is still to come."""
    await takes_itself_off_its_parent(timeout_child)


@pytest.mark.parametrize("derive", [None, cancel_child, timeout_child])
async def test_a_stopped_after_func_takes_itself_off_every_context_above(
    derive: Callable[[trioctx.Context], trioctx.Context] | None,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestCustomContextAfterFuncUnregisterAfterFunc: its arguments are free at once."""
    parent = trioctx.with_cancel(trioctx.background())
    ctx = derive(parent) if derive else parent

    def register_and_stop() -> weakref.ref[object]:
        token = Token()
        handle = trioctx.after_func(ctx, repr, token)
        assert handle.stop() is True
        return weakref.ref(token)

    assert await is_gone(register_and_stop())


async def test_after_func_wakes_threads_that_wait_on_a_condition(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """ExampleAfterFunc_cond: a wait that Trio cannot cancel ends with the context all the same."""
    condition = threading.Condition()
    errors: list[Exception | None] = []

    def wake() -> None:
        with condition:
            condition.notify_all()

    def wait_on(ctx: trioctx.Context) -> None:
        with condition:
            while ctx.err is None:
                condition.wait()
            errors.append(ctx.err)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            ctx = trioctx.with_timeout(trioctx.background(), SHORT)
            trioctx.after_func(ctx, wake)
            nursery.start_soon(trio.to_thread.run_sync, wait_on, ctx)
    assert [type(error) for error in errors] == [trioctx.DeadlineExceeded] * 4


async def test_after_func_interrupts_a_read_and_leaves_the_connection_usable(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """ExampleAfterFunc_connection: stop() tells whether the context or the data ended the read."""
    near, far = trio.testing.memory_stream_pair()

    async def read(ctx: trioctx.Context) -> bytes:
        data = b""
        with trio.CancelScope() as reading:
            handle = trioctx.after_func(ctx, reading.cancel)
            data = bytes(await near.receive_some(1024))
        if not handle.stop():
            ctx.check()
        return data

    with pytest.raises(trioctx.DeadlineExceeded):
        await read(trioctx.with_timeout(trioctx.background(), SHORT))
    assert trio.current_time() == pytest.approx(SHORT)

    await far.send_all(b"hello")
    assert await read(trioctx.with_timeout(trioctx.background(), SHORT)) == b"hello"


def merged_by_hand(ctx: trioctx.Context, other: trioctx.Context) -> trioctx.Context:
    """Combine two contexts as Go's example does."""
    merged = trioctx.with_cancel(ctx)
    trioctx.after_func(other, lambda: merged.cancel(other.cause))
    return merged


@pytest.mark.parametrize("combine", [merged_by_hand, trioctx.merge])
async def test_two_contexts_combined_end_with_either(
    combine: Callable[[trioctx.Context, trioctx.Context], trioctx.Context],
    autojump_clock: trio.testing.MockClock,
) -> None:
    """ExampleAfterFunc_merge: by hand with after_func, or with merge()."""
    first = trioctx.with_cancel(trioctx.background())
    second = trioctx.with_cancel(trioctx.background())
    combined = combine(first, second)
    cause = Exception("second cancelled")

    second.cancel(cause)

    with trio.fail_after(VERY_LONG):
        await combined.wait_done()
    assert isinstance(combined.err, trioctx.ContextCancelled)
    assert combined.cause is cause
    assert first.err is None

    other_cause = Exception("first cancelled")
    combined = combine(first, trioctx.with_cancel(trioctx.background()))
    first.cancel(other_cause)
    assert combined.cause is other_cause
