"""Nothing is kept: no registry grows, and no context needs the cycle collector to die.

The collector is off in every test here, so what forms a cycle stays and is seen. A block that fails
is left out: its context keeps the error as the cause, and the error's traceback keeps the frames.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
import trio
import trio.testing

import trioctx
from trioctx import _nesting

VAR: ContextVar[object] = ContextVar("leaky", default=None)
LONG = 1000.0


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@asynccontextmanager
async def elsewhere() -> AsyncIterator[trioctx.Context]:
    """A context that is open in a task of its own; at the end nothing may be registered there."""
    async with trio.open_nursery() as nursery:
        opened: list[trioctx.Context] = []

        async def hold() -> None:
            with trioctx.with_cancel(trioctx.background(), name="elsewhere") as ctx:
                opened.append(ctx)
                await trio.sleep_forever()

        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        [ctx] = opened
        yield ctx
        nothing_below(ctx)
        nursery.cancel_scope.cancel()


def nothing_below(*contexts: trioctx.Context) -> None:
    """Assert that the contexts and their run have nobody to tell of an end."""
    for ctx in contexts:
        below = list(ctx._below or ())
        assert below == []
        run = ctx._run
        listeners = 0 if run is None else run.listeners
        assert listeners == 0


async def is_gone(ref: weakref.ref[object]) -> bool:
    """Whether nothing refers to the object, once Trio has let go of the task that ran last."""
    await trio.lowlevel.checkpoint()
    return ref() is None


# --- growth -------------------------------------------------------------------------------------


async def grown(once: Callable[[], Awaitable[None]], few: int, many: int) -> int:
    """How many more blocks of memory there are after `many` times than after `few`."""
    before = 0
    for done in range(1, many + 1):
        await once()
        if done == few:
            before = sys.getallocatedblocks()
    return sys.getallocatedblocks() - before


async def test_a_hundred_thousand_linked_children_leave_nothing() -> None:
    """The registries of the parent are empty, and the memory is what it was after ten thousand."""
    async with elsewhere() as parent:

        async def once() -> None:
            with trioctx.with_cancel(parent):
                pass

        more = await grown(once, 10_000, 100_000)
        assert more < 1_000
        nothing_below(parent)


async def test_ten_thousand_of_every_other_kind_leave_nothing() -> None:
    """Nurseries, merges, values, chains not entered, regions, failures: memory stays flat."""
    async with elsewhere() as parent:
        fresh = trioctx.with_value(trioctx.with_cancel(parent), VAR, "fresh")

        async def once() -> None:
            async with trioctx.with_timeout(parent, LONG) as ctx:
                ctx.start_soon(trio.lowlevel.checkpoint)
            with trioctx.merge(parent, ctx, fresh), parent.until_stopping():
                pass
            with trioctx.with_value(fresh, VAR, object()):
                trioctx.with_timeout(trioctx.current(), LONG)
            try:
                with trioctx.with_cancel(fresh):
                    raise ValueError
            except ValueError:
                pass

        more = await grown(once, 1_000, 10_000)
        assert more < 1_000
        nothing_below(parent, fresh)


async def test_a_plain_block_inside_another_is_not_registered() -> None:
    """Only what has something to tell is known to the block around it, until it is left."""
    async with elsewhere() as parent:
        with trioctx.with_cancel(trioctx.background()) as outer:
            with trioctx.with_cancel(outer) as inner:
                nothing_below(outer, inner)
                with inner.until_stopping():
                    assert list(outer._below or ()) == [inner]
                with inner.until_stopping():
                    assert list(outer._below or ()) == [inner]
            nothing_below(outer, parent)


async def test_a_hundred_thousand_derived_contexts_leave_nothing() -> None:
    """What is never entered is not registered anywhere."""
    async with elsewhere() as parent:

        async def once() -> None:
            trioctx.with_timeout(trioctx.with_value(parent, VAR, 1), LONG)

        more = await grown(once, 10_000, 100_000)
        assert more < 1_000
        nothing_below(parent)


# --- every way to end ---------------------------------------------------------------------------

FORMS: dict[str, Callable[[trioctx.Context], trioctx.Context]] = {
    "enclosed": lambda _: trioctx.with_timeout(trioctx.current(), 5),
    "linked": lambda parent: trioctx.with_timeout(trioctx.with_cancel(parent), 5),
    "merged": lambda parent: trioctx.merge(trioctx.with_timeout(trioctx.current(), 5), parent),
    "below one not entered": lambda parent: trioctx.with_timeout(
        trioctx.with_value(trioctx.with_cancel(parent), VAR, "above"), 5
    ),
    "shielded": lambda parent: trioctx.with_timeout(trioctx.without_cancel(parent), 5),
    "values": lambda parent: trioctx.with_value(
        trioctx.with_timeout(parent, 5), VAR, "linked, so it has a scope"
    ),
}


async def finished(_: trioctx.Context) -> None:
    """The body just ends."""


async def cancelled(ctx: trioctx.Context) -> None:
    """Its own cancel."""
    ctx.cancel("enough")
    await trio.sleep_forever()


async def stopped(ctx: trioctx.Context) -> None:
    """Its own stop, to the end of the grace."""
    ctx.stop("enough", grace=1)
    await trio.sleep_forever()


async def too_late(_: trioctx.Context) -> None:
    """The deadline."""
    await trio.sleep_forever()


async def parent_ended(ctx: trioctx.Context) -> None:
    """The end of the context that it was derived from, where that can be ended."""
    assert ctx.parent is not None
    if ctx.parent.state == "new":
        with_scope = ctx.parent if ctx.parent.name != "with_value" else ctx.parent.parent
        assert with_scope is not None
        with_scope.cancel("enough")
    await trio.sleep_forever()


async def checked(ctx: trioctx.Context) -> None:
    """An error from `check()`."""
    ctx.cancel("enough")
    ctx.check()


ENDINGS = (finished, cancelled, stopped, too_late, parent_ended, checked)
forms = pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
endings = pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
Ending = Callable[[trioctx.Context], Awaitable[None]]
Make = Callable[[trioctx.Context], trioctx.Context]


@forms
@endings
async def test_a_context_entered_with_with_dies_at_once(
    make: Make, ending: Ending, autojump_clock: trio.testing.MockClock
) -> None:
    """However its block ended: no cycle, no registry, no task keeps it."""
    async with elsewhere() as parent:

        async def block() -> weakref.ref[object]:
            ctx = make(parent)
            try:
                with ctx:
                    await ending(ctx)
            except trioctx.ContextError:
                pass
            assert ctx.state == "closed"
            return weakref.ref(ctx)

        with trioctx.with_cancel(trioctx.current()) as outer:
            gone = await is_gone(await block())
            nothing_below(outer, parent)
        assert gone


@forms
@endings
async def test_a_context_entered_with_async_with_dies_at_once(
    make: Make, ending: Ending, autojump_clock: trio.testing.MockClock
) -> None:
    """The same with a nursery in which an ordinary child and a service were started."""

    async def started(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()

    async with elsewhere() as parent:

        async def block() -> weakref.ref[object]:
            ctx = make(parent)
            try:
                async with ctx:
                    ctx.start_soon(trio.lowlevel.checkpoint)
                    ctx.start_service(trio.sleep_forever)
                    await ctx.start(started)
                    await ending(ctx)
            except trioctx.ContextError:
                pass
            assert ctx.state == "closed"
            return weakref.ref(ctx)

        with trioctx.with_cancel(trioctx.current()) as outer:
            gone = await is_gone(await block())
            nothing_below(outer, parent)
        assert gone


async def test_a_context_that_was_never_entered_dies_at_once() -> None:
    """Also one that was cancelled, read, printed and derived from."""
    async with elsewhere() as parent:

        def use() -> weakref.ref[object]:
            ctx = trioctx.with_timeout(trioctx.with_value(parent, VAR, 1), LONG)
            assert trioctx.with_cancel(ctx)[VAR] == 1
            ctx.cancel("enough")
            assert ctx.err is not None
            assert "enough" in repr(ctx)
            return weakref.ref(ctx)

        gone = await is_gone(use())
        assert gone


async def test_a_value_block_without_a_scope_dies_at_once() -> None:
    """And so does the value."""

    class Value:
        pass

    async def block() -> tuple[weakref.ref[object], weakref.ref[object]]:
        value = Value()
        with trioctx.with_value(trioctx.current(), VAR, value) as ctx:
            assert ctx[VAR] is value
        return weakref.ref(ctx), weakref.ref(value)

    with trioctx.with_cancel(trioctx.current()) as outer:
        context, value = await block()
        gone = await is_gone(context), await is_gone(value)
        nothing_below(outer)
    assert gone == (True, True)


async def test_a_closed_context_keeps_no_task_and_no_nursery() -> None:
    """Whoever holds a closed context for its `err` does not hold what ran in it."""

    class Payload:
        pass

    kept: list[trioctx.Context] = []

    async def block() -> weakref.ref[object]:
        payload = Payload()

        async def child() -> None:
            assert payload is not None

        async with trioctx.with_cancel(trioctx.current()) as ctx:
            ctx.start_soon(child)
        kept.append(ctx)
        return weakref.ref(payload)

    gone = await is_gone(await block())
    assert gone
    assert kept[0].state == "closed"


# --- what waits for a context -------------------------------------------------------------------


async def test_after_func_lets_go() -> None:
    """Of its context, its function and its handle: called, taken back, or the block just left."""

    class Fn:
        calls = 0

        def __call__(self) -> None:
            Fn.calls += 1

    async def block(ending: Ending, *, taken_back: bool) -> list[weakref.ref[object]]:
        fn = Fn()
        with trioctx.with_cancel(trioctx.current()) as ctx:
            handle = trioctx.after_func(ctx, fn)
            await trio.testing.wait_all_tasks_blocked()
            if taken_back:
                assert handle.stop()
            await ending(ctx)
        await trio.testing.wait_all_tasks_blocked()
        return [weakref.ref(ctx), weakref.ref(fn)]

    with trioctx.with_cancel(trioctx.current()) as outer:
        for ending, taken_back in ((finished, False), (cancelled, False), (finished, True)):
            refs = await block(ending, taken_back=taken_back)
            gone = [await is_gone(ref) for ref in refs]
            assert gone == [True, True]
            nothing_below(outer)
    assert Fn.calls == 1


async def test_waiting_and_regions_let_go() -> None:
    """`wait_done`, `wait_stopping`, `until_stopping`: given up, or come to their end."""
    async with elsewhere() as parent:

        async def block() -> weakref.ref[object]:
            ctx = trioctx.with_cancel(trioctx.with_cancel(parent))

            async def region() -> None:
                with ctx.until_stopping():
                    await trio.sleep_forever()

            async with trio.open_nursery() as nursery:
                for wait in (ctx.wait_done, ctx.wait_stopping, region):
                    nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            nothing_below(ctx, parent)
            async with trio.open_nursery() as nursery:
                for wait in (ctx.wait_done, ctx.wait_stopping, region):
                    nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                ctx.cancel()
            nothing_below(ctx, parent)
            return weakref.ref(ctx)

        gone = await is_gone(await block())
        assert gone


async def test_a_thread_call_lets_go() -> None:
    """Of the context, of what was passed, and of the link, whoever called."""

    class Argument:
        pass

    async with elsewhere() as parent:

        async def block() -> list[weakref.ref[object]]:
            argument = Argument()
            linked = trioctx.with_cancel(parent)
            with trioctx.with_value(trioctx.current(), VAR, 1) as ctx:
                await ctx.run_in_thread(id, argument)
                await linked.run_in_thread(id, argument)
            return [weakref.ref(argument), weakref.ref(linked), weakref.ref(ctx)]

        refs = await block()
        gone = [await is_gone(ref) for ref in refs]
        assert gone == [True, True, True]
        nothing_below(parent)


async def test_a_chain_of_links_is_taken_down() -> None:
    """Open grandparent, parent not entered, open child: registered upward only meanwhile."""
    async with elsewhere() as grandparent:
        middle = trioctx.with_value(grandparent, VAR, 1)
        parent = trioctx.with_cancel(middle)
        for _ in range(2):
            with trioctx.with_cancel(parent):
                assert parent._below
                assert grandparent._below
            nothing_below(parent, middle, grandparent)
        with trioctx.with_cancel(parent), trioctx.with_cancel(parent), parent:
            pass
        nothing_below(parent, middle, grandparent)


async def test_a_moved_task_leaves_nothing_where_it_came_from() -> None:
    """`nursery.start` of a task that opened a context before `started()`."""
    release = trio.Event()

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        with trioctx.with_cancel(trioctx.current()):
            task_status.started()
            await release.wait()

    async with trioctx.with_cancel(trioctx.current()) as home:
        with trioctx.with_cancel(trioctx.current()) as caller:
            await home.nursery.start(serve)
        assert home._below
        release.set()
        await trio.testing.wait_all_tasks_blocked()
        nothing_below(home, caller)


def test_a_run_leaves_no_task_behind() -> None:
    """After `trio.run` no task is known any more, however its blocks ended."""

    async def main() -> None:
        async with elsewhere() as parent:
            for ending in ENDINGS:
                try:
                    async with trioctx.with_timeout(trioctx.with_cancel(parent), 5) as ctx:
                        ctx.start_soon(trio.lowlevel.checkpoint)
                        await ending(ctx)
                except trioctx.ContextError:
                    pass

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    tasks = list(_nesting.innermost)
    assert tasks == []
