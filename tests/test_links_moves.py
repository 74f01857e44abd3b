"""`nursery.start` moves a task: what its contexts end with before and after `started()`."""

from __future__ import annotations

import contextlib
import gc
import math
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from blocks import WHY, Derive, Oops, as_values, tells
from trio.testing import MockClock, wait_all_tasks_blocked

import trioctx

Status = trio.TaskStatus[trioctx.Context]


@asynccontextmanager
async def opened(home: trioctx.Context) -> AsyncIterator[None]:
    """`home` is entered with `async with` in a task beside this one, and left at the end."""
    release = trio.Event()

    async def hold() -> None:
        with suppress(trioctx.ContextError):
            async with home:
                await release.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await wait_all_tasks_blocked()
        yield
        release.set()


class Moving:
    """A task that enters a context derived from where it stands, and is moved inside its block."""

    def __init__(self, derive: Derive = trioctx.with_cancel) -> None:
        self.derive = derive
        self.raised: BaseException | None = None
        self.finished = False

    async def run(self, task_status: Status) -> None:
        try:
            with self.derive(trioctx.current()) as ctx:
                await trio.sleep(1)
                task_status.started(ctx)
                await trio.sleep(10)
                self.finished = True
        except BaseException as exc:
            self.raised = exc
            raise


def deeper(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_timeout(parent, 1000)


derivations = pytest.mark.parametrize("derive", [trioctx.with_cancel, deeper, as_values])


def background_cancel() -> trioctx.Context:
    return trioctx.with_cancel(trioctx.background())


# --- the old place lets go ----------------------------------------------------------------------


@pytest.mark.parametrize("after", ["cancel", "stop", "grace", "close", "fail"])
@derivations
async def test_after_the_move_the_old_parents_end_does_not_reach_it(
    derive: Derive, after: str, autojump_clock: MockClock
) -> None:
    """Its cancellation, its stop, its closing: the block runs on, and err stays None."""
    home, caller, task = background_cancel(), background_cancel(), Moving(derive)
    async with opened(home):
        with suppress(Oops):
            with caller:
                ctx: trioctx.Context = await home.nursery.start(task.run)
                assert ctx.parent is caller
                if after == "cancel":
                    caller.cancel(WHY)
                elif after == "stop":
                    caller.stop(WHY, grace=None)
                elif after == "grace":
                    caller.stop(WHY, grace=1)
                    await trio.sleep_forever()
                elif after == "fail":
                    raise WHY
        assert caller.state == "closed"
        assert (ctx.state, ctx.err, ctx.stopping) == ("open", None, False)
        await trio.sleep(5)
        assert (ctx.state, ctx.err, ctx.stopping) == ("open", None, False)
    assert task.finished
    assert ctx.err is None


async def test_after_the_move_the_old_parents_deadline_does_not_reach_it(
    autojump_clock: MockClock,
) -> None:
    """deadline follows the nursery at once, though it was looked at before."""
    start = trio.current_time()
    home, caller = background_cancel(), trioctx.with_timeout(trioctx.background(), 3)
    seen = []

    async def task(task_status: Status) -> None:
        with trioctx.with_timeout(trioctx.current(), 8) as ctx:
            seen.append(ctx.deadline)
            task_status.started(ctx)
            seen.append(ctx.deadline)
            await trio.sleep(6)
            seen.append(ctx.remaining())

    async with opened(home):
        with pytest.raises(trioctx.DeadlineExceeded):
            with caller:
                ctx: trioctx.Context = await home.nursery.start(task)
                await trio.sleep_forever()
        assert ctx.err is None
    # "the minimum with the parent's": that of a parent that let go no longer counts
    assert seen == [start + 3, start + 8, 2]
    assert ctx.err is None


async def test_all_parents_around_the_old_place_let_go(autojump_clock: MockClock) -> None:
    """Also one further out, and also if it was named as the parent."""
    home, outer, task = background_cancel(), background_cancel(), Moving(lambda _: deeper(outer))
    async with opened(home):
        with outer:
            with trioctx.with_cancel(outer):
                ctx: trioctx.Context = await home.nursery.start(task.run)
            outer.cancel()
        assert ctx.parent is outer
        assert ctx.err is None
    assert task.finished


async def test_blocks_and_tasks_inside_the_moved_one_go_with_it(
    autojump_clock: MockClock,
) -> None:
    """Nested contexts, and those of tasks in nurseries that the task opened before the move."""
    home, caller = background_cancel(), background_cancel()
    inside: list[trioctx.Context] = []
    finished = 0

    async def further(parent: trioctx.Context) -> None:
        nonlocal finished
        with as_values(trioctx.current()), trioctx.with_cancel(parent) as ctx:
            inside.append(ctx)
            await trio.sleep(10)
            finished += 1

    async def task(task_status: Status) -> None:
        async with trioctx.with_cancel(trioctx.current()) as ctx, trio.open_nursery() as nursery:
            ctx.start_soon(further, ctx)
            ctx.start_soon(further, caller)
            nursery.start_soon(further, ctx)
            await wait_all_tasks_blocked()
            task_status.started(ctx)
            await further(ctx)

    async with opened(home):
        with caller:
            ctx: trioctx.Context = await home.nursery.start(task)
            caller.cancel(WHY)
        await wait_all_tasks_blocked()
        assert [one.err for one in (ctx, *inside)] == [None] * 5
        await trio.sleep(2)
        assert not any(one.stopping for one in inside)
    assert finished == 4


async def test_what_is_linked_to_the_moved_one_goes_with_it(autojump_clock: MockClock) -> None:
    """The old parent's end does not reach it either; the new nursery's does."""
    home, caller, task = background_cancel(), background_cancel(), Moving()
    async with opened(home):
        with caller:
            ctx: trioctx.Context = await home.nursery.start(task.run)
            never = trioctx.with_cancel(ctx)
            with pytest.raises(trioctx.ContextCancelled) as caught:
                with trioctx.without_cancel(trioctx.background()), never:
                    caller.cancel("the old place")
                    await trio.sleep(1)
                    assert never.err is None
                    home.cancel(WHY)
                    await trio.sleep_forever()
    assert tells(caught.value) == tells(ctx.err) == (trioctx.ContextCancelled, home, WHY)


async def test_what_is_linked_before_the_move_loses_the_old_deadline(
    autojump_clock: MockClock,
) -> None:
    """A child linked to the block that moves has its deadline, which follows the nursery."""
    start = trio.current_time()
    home, caller = background_cancel(), trioctx.with_timeout(trioctx.background(), 3)
    moving: list[trioctx.Context] = []
    linked: list[trioctx.Context] = []

    def derive(parent: trioctx.Context) -> trioctx.Context:
        moving.append(trioctx.with_cancel(parent))
        return moving[0]

    async def link() -> None:
        with trioctx.with_cancel(moving[0]) as ctx:
            linked.append(ctx)
            await trio.sleep(6)
            assert ctx.deadline == math.inf
        assert trio.current_time() == start + 6.5

    task = Moving(derive)
    async with opened(home), trio.open_nursery() as nursery:
        with caller:

            async def start_link() -> None:
                await trio.sleep(0.5)
                await link()

            nursery.start_soon(start_link)
            await home.nursery.start(task.run)
    assert task.finished
    assert linked[0].err is None


# --- the new place takes over -------------------------------------------------------------------


@pytest.mark.parametrize("after", ["cancel", "deadline", "grace"])
@derivations
async def test_after_the_move_the_end_of_the_new_nursery_reaches_it(
    derive: Derive, after: str, autojump_clock: MockClock
) -> None:
    """err and deadline tell of it; Cancelled travels on to that nursery."""
    start = trio.current_time()
    timeout = 3 if after == "deadline" else 1000
    home = trioctx.with_timeout(trioctx.background(), timeout, cause=WHY)
    caller, task = background_cancel(), Moving(derive)
    async with opened(home):
        with caller:
            ctx: trioctx.Context = await home.nursery.start(task.run)
        assert ctx.deadline == start + timeout
        if after == "cancel":
            home.cancel(WHY)
        elif after == "grace":
            home.stop(WHY, grace=2)
            assert ctx.stopping
            assert ctx.deadline == start + 3
    error = trioctx.DeadlineExceeded if after == "deadline" else trioctx.ContextCancelled
    assert tells(ctx.err) == (error, home, WHY)
    assert isinstance(task.raised, trio.Cancelled)
    assert caller.err is None


async def test_a_stop_of_the_new_nursery_ends_regions_inside(autojump_clock: MockClock) -> None:
    """until_stopping() and wait_stopping() in the moved block, begun before or after the move."""
    home, caller = background_cancel(), background_cancel()
    done: list[str] = []

    async def before(ctx: trioctx.Context) -> None:
        with ctx.until_stopping():
            await trio.sleep_forever()
        done.append("before")

    async def task(task_status: Status) -> None:
        async with trioctx.with_cancel(trioctx.current()) as ctx:
            ctx.start_soon(before, ctx)
            await wait_all_tasks_blocked()
            task_status.started(ctx)
            await ctx.wait_stopping()
            done.append("after")

    async with opened(home):
        with caller:
            ctx: trioctx.Context = await home.nursery.start(task)
            caller.stop(grace=None)
            await wait_all_tasks_blocked()
            assert done == []
        await wait_all_tasks_blocked()
        assert done == []
        home.stop("drain", grace=None)
        await trio.sleep(1)
        assert sorted(done) == ["after", "before"]
    assert ctx.err is None


async def test_an_own_end_before_the_move_stays_first(autojump_clock: MockClock) -> None:
    """Moved at t=2 to a nursery cancelled at t=1, itself cancelled at t=1.5: an enclosing end
    counts from when it encloses."""
    home = background_cancel()

    async def task(task_status: Status) -> None:
        with trioctx.with_cancel(trioctx.current()) as ctx:
            with trio.CancelScope(shield=True):
                await trio.sleep(1.5)
                ctx.cancel(WHY)
                await trio.sleep(0.5)
                task_status.started(ctx)
            await trio.sleep_forever()

    async def end_home() -> None:
        await trio.sleep(1)
        home.cancel("home")

    async with opened(home), trio.open_nursery() as nursery:
        nursery.start_soon(end_home)
        home.nursery.start_soon(trio.sleep_forever)
        with background_cancel():
            with trio.CancelScope(shield=True):
                ctx: trioctx.Context = await home.nursery.start(task)
    assert tells(ctx.err) == (trioctx.ContextCancelled, ctx, WHY)


# --- what the move does not change --------------------------------------------------------------


@pytest.mark.parametrize("after", ["cancel", "deadline", "close"])
async def test_a_parent_that_did_not_enclose_it_stays_linked(
    after: str, autojump_clock: MockClock
) -> None:
    """Its cancellation, its deadline and its closing reach the block after the move."""
    start = trio.current_time()
    linked = trioctx.with_timeout(trioctx.background(), 5 if after == "deadline" else 1000)
    home, caller = background_cancel(), background_cancel()
    task = Moving(lambda _: trioctx.with_cancel(linked))
    with pytest.raises(ExceptionGroup) as caught:
        async with home:
            with caller:
                ctx: trioctx.Context = await home.nursery.start(task.run)
                assert ctx.deadline == linked.deadline
            if after == "cancel":
                linked.cancel(WHY)
            elif after == "close":
                with linked:
                    pass
    assert caught.value.exceptions == (task.raised,)
    assert task.raised is not None
    error = trioctx.DeadlineExceeded if after == "deadline" else trioctx.ContextCancelled
    assert tells(task.raised)[:2] == tells(ctx.err)[:2] == (error, linked)
    assert trio.current_time() == start + (5 if after == "deadline" else 1)


@pytest.mark.parametrize("through", ["nursery.start", "ctx.start"])
async def test_a_parent_around_both_places_encloses_it_still(
    through: str, autojump_clock: MockClock
) -> None:
    """home is the parent, and around the caller as well: Cancelled travels on to it."""
    home = background_cancel()
    task = Moving(lambda _: trioctx.with_cancel(home))
    async with home:
        with trioctx.with_cancel(home) as caller:
            start: Callable[..., Awaitable[trioctx.Context]] = (
                home.start if through == "ctx.start" else home.nursery.start
            )
            ctx = await start(task.run)
            caller.cancel()
        assert ctx.err is None
        home.cancel(WHY)
    assert isinstance(task.raised, trio.Cancelled)
    assert tells(ctx.err) == (trioctx.ContextCancelled, home, WHY)


async def test_a_linked_parent_may_become_the_enclosing_one(autojump_clock: MockClock) -> None:
    """home is the parent but not around the caller: linked, then enclosing; home stays quiet."""
    home, task = background_cancel(), Moving(lambda _: trioctx.with_cancel(home))
    quiet = False

    async def hold() -> None:
        nonlocal quiet
        async with home:
            await trio.sleep(3)
            home.cancel(WHY)
        quiet = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await wait_all_tasks_blocked()
        with background_cancel():
            ctx: trioctx.Context = await home.nursery.start(task.run)
    assert quiet
    assert tells(ctx.err) == (trioctx.ContextCancelled, home, WHY)


@pytest.mark.parametrize("end", ["cancel", "deadline"])
async def test_before_the_move_it_ends_with_the_caller(end: str, autojump_clock: MockClock) -> None:
    """Not with the nursery that it would have been moved to."""
    timeout = 0.5 if end == "deadline" else 1000
    home, caller = background_cancel(), trioctx.with_timeout(trioctx.background(), timeout)
    inside: list[trioctx.Context] = []

    def derive(parent: trioctx.Context) -> trioctx.Context:
        assert parent is caller
        inside.append(trioctx.with_cancel(parent))
        return inside[0]

    async def cancel() -> None:
        await trio.sleep(0.25)
        home.cancel("home")
        assert inside[0].err is None
        if end == "cancel":
            caller.cancel(WHY)

    task = Moving(derive)
    async with opened(home), trio.open_nursery() as nursery:
        home.nursery.start_soon(shielded_sleep, 2)
        nursery.start_soon(cancel)
        with suppress(trioctx.DeadlineExceeded):
            with caller:
                await home.nursery.start(task.run)
                pytest.fail("start() returned")
    assert tells(inside[0].err)[1] is caller
    assert isinstance(task.raised, trio.Cancelled)


async def shielded_sleep(seconds: float) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)


async def test_where_trio_does_not_move_it_stays_with_the_caller(
    autojump_clock: MockClock,
) -> None:
    """started() in a start() that was cancelled leaves the task where it is."""
    home, caller = background_cancel(), background_cancel()
    inside: list[trioctx.Context] = []

    async def task(task_status: Status) -> None:
        with trioctx.with_cancel(trioctx.current()) as ctx:
            inside.append(ctx)
            caller.cancel(WHY)
            task_status.started(ctx)
            await trio.sleep_forever()

    async with opened(home):
        with caller:
            await home.nursery.start(task)
    assert tells(inside[0].err) == (trioctx.ContextCancelled, caller, WHY)
    assert home.err is None


async def test_a_start_inside_a_start_moves_twice(autojump_clock: MockClock) -> None:
    """The inner task goes to the outer one's nursery, and on with it to home."""
    home, caller = background_cancel(), background_cancel()
    seen: list[float] = []
    inner: list[trioctx.Context] = []

    async def innermost(task_status: Status) -> None:
        with trioctx.with_cancel(trioctx.current()) as ctx:
            inner.append(ctx)
            seen.append(ctx.deadline)
            task_status.started(ctx)
            seen.append(ctx.deadline)
            await trio.sleep(10)
            seen.append(ctx.deadline)

    async def task(task_status: Status) -> None:
        async with trioctx.with_timeout(trioctx.current(), 100) as ctx:
            with trioctx.with_timeout(ctx, 50):
                await ctx.nursery.start(innermost)
            await trio.sleep(1)
            task_status.started(ctx)

    start = trio.current_time()
    async with opened(home):
        with caller:
            await home.nursery.start(task)
            caller.cancel(WHY)
    assert seen == [start + 50, start + 100, start + 100]
    assert inner[0].err is None


async def test_a_context_entered_after_the_move_is_in_the_new_place(
    autojump_clock: MockClock,
) -> None:
    """And one derived from the old caller is linked to it."""
    home, caller = background_cancel(), background_cancel()
    raised: list[BaseException] = []

    async def task(task_status: trio.TaskStatus[None]) -> None:
        old = trioctx.current()
        assert old is caller
        task_status.started()
        assert trioctx.current() is home
        with pytest.raises(trioctx.ContextCancelled) as caught:
            with trioctx.with_cancel(old):
                await trio.sleep_forever()
        raised.append(caught.value)

    async with opened(home):
        with caller:
            await home.nursery.start(task)
            await wait_all_tasks_blocked()
            caller.cancel(WHY)
    assert tells(raised[0]) == (trioctx.ContextCancelled, caller, WHY)
    assert home.err is None


async def test_nothing_is_kept_of_a_moved_context(autojump_clock: MockClock) -> None:
    """Neither by the old place nor by the new one."""
    home, caller = background_cancel(), background_cancel()
    refs: list[weakref.ref[trioctx.Context]] = []

    async def task(task_status: trio.TaskStatus[None]) -> None:
        with trioctx.with_cancel(trioctx.current()) as ctx:
            refs.append(weakref.ref(ctx))
            task_status.started()
            await trio.sleep(1)
        del ctx

    async with opened(home):
        with caller:
            await home.nursery.start(task)
            await trio.sleep(2)
            gc.collect()
            assert [ref() for ref in refs] == [None]


async def test_a_parent_further_out_in_a_task_that_may_move(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """With nothing but the task's own blocks around: the parent encloses, and is no link."""
    seen: list[trioctx.Context] = []

    async def child(task_status: trio.TaskStatus[None]) -> None:
        with trioctx.with_cancel(trioctx.background()) as outer:
            with trioctx.with_cancel(trioctx.background()):
                with trioctx.with_timeout(outer, 5) as inner:
                    seen.append(inner)
                    outer.cancel("enough")
                    await trio.sleep_forever()
        task_status.started()

    async with trio.open_nursery() as nursery:
        await nursery.start(child)
    assert str(seen[0].cause) == "enough"
    assert trio.current_time() == 0


@pytest.mark.parametrize("shielded", [False, True])
async def test_a_block_that_has_moved_comes_to_rest(
    shielded: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """What is opened in it afterwards finds everything as in a task that was always there."""
    server: list[trioctx.Context] = []
    other = trioctx.with_cancel(trioctx.background())

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        parent = trioctx.without_cancel(trioctx.current()) if shielded else trioctx.current()
        with contextlib.suppress(trioctx.ContextCancelled):  # what other raises, a linked parent
            with trioctx.merge(parent, other) as ctx, trioctx.with_cancel(ctx) as inner:
                server.append(inner)
                with inner.until_stopping():
                    task_status.started()
                    await trio.sleep(1)
                with trioctx.with_timeout(ctx, 100) as request:
                    assert request.deadline == (101 if shielded else home.deadline)
                    with request.until_stopping():
                        await trio.sleep_forever()
                    assert request.stopping
                    await trio.sleep_forever()

    async with trioctx.with_timeout(trioctx.background(), 50, name="home") as home:
        with trioctx.with_timeout(trioctx.background(), 3):
            await home.start(serve)
        await trio.sleep(5)
        assert server[0].state == "open"
        (other if shielded else home).stop("enough", grace=7)
        home.start_soon(trio.sleep, 1)
    assert trio.current_time() == 12
    assert str(server[0].cause) == "enough"
