"""Threads: a context's functions in worker threads, and a context used from any thread."""

import math
import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, TypeVar

import pytest
import trio
import trio.testing

import trioctx
from trioctx import (
    Context,
    ContextCancelled,
    ContextClosed,
    DeadlineExceeded,
    background,
    current,
    merge,
    with_cancel,
    with_timeout,
    with_value,
    with_values,
    without_cancel,
)

T = TypeVar("T")

USER: ContextVar[str] = ContextVar("user")
COUNT: ContextVar[int] = ContextVar("count")


def in_plain_thread(fn: Callable[[], T]) -> T:
    """What `fn` returns in a thread that knows nothing of Trio and has no ContextVars."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(fn()))
    thread.start()
    thread.join()
    return results[0]


async def elsewhere(ctx: Context) -> None:
    """Holds the block of `ctx` open in a task of its own, until it is cancelled."""
    try:
        with ctx:
            await trio.sleep_forever()
    except trioctx.ContextError:
        pass


async def open_in(nursery: trio.Nursery, ctx: Context) -> Context:
    """`ctx`, entered in a task of its own."""
    nursery.start_soon(elsewhere, ctx)
    await trio.testing.wait_all_tasks_blocked()
    assert ctx.state == "open"
    return ctx


class Blocking:
    """A function for a thread that lasts until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.finished = threading.Event()

    def __call__(self) -> str:
        self.began.set()
        self.go_on.wait()
        self.finished.set()
        return "result"

    async def has_begun(self) -> None:
        await trio.to_thread.run_sync(self.began.wait)


# --- run_in_thread --------------------------------------------------------------------------------


async def test_it_passes_arguments_and_returns_the_result(
    mock_clock: trio.testing.MockClock,
) -> None:
    """In another thread than Trio's."""

    def work(one: int, two: int) -> tuple[int, int]:
        return one + two, threading.get_ident()

    async with with_cancel(background()) as ctx:
        result, thread = await ctx.run_in_thread(work, 1, 2)
    assert result == 3
    assert thread != threading.get_ident()


async def test_it_passes_an_exception_on(mock_clock: trio.testing.MockClock) -> None:
    """The function's error is raised where it is awaited, and leaves the context alone."""
    error = OSError()

    def fail() -> None:
        raise error

    with with_cancel(background()) as ctx:
        with pytest.raises(OSError) as info:
            await ctx.run_in_thread(fail)
        assert info.value is error
        assert ctx.err is None


@pytest.mark.parametrize("which", ["enclosing", "new", "linked", "closed", "root", "value"])
async def test_it_has_the_values_of_the_context(
    which: str, mock_clock: trio.testing.MockClock
) -> None:
    """Of any context, entered or not; what the caller set shows only from its own block."""
    values = with_values(background(), {USER: "ann"})
    async with trio.open_nursery() as nursery:
        linked = await open_in(nursery, with_cancel(values))
        with with_value(background(), USER, "before") as outer:
            if which == "closed":
                with with_cancel(without_cancel(values)) as closed:
                    pass
                with pytest.raises(ContextCancelled) as info:
                    await closed.run_in_thread(USER.get)
                assert isinstance(info.value.cause, ContextClosed)
            elif which == "root":
                assert await background().run_in_thread(USER.get, "unset") in {"unset", "before"}
            elif which == "enclosing":
                assert await outer.run_in_thread(USER.get) == "before"
            elif which == "value":
                with with_value(outer, USER, "inner"):
                    assert await outer.run_in_thread(USER.get) == "before"
                    assert await current().run_in_thread(USER.get) == "inner"
            else:
                ctx = linked if which == "linked" else with_cancel(values)
                assert await ctx.run_in_thread(USER.get) == "ann"
            assert USER.get() == "before"
        linked.cancel()


async def test_plain_sets_of_the_block_are_seen(mock_clock: trio.testing.MockClock) -> None:
    """As in a task that the context starts."""
    with with_value(background(), USER, "ann") as ctx:
        USER.set("bob")
        COUNT.set(1)
        assert await ctx.run_in_thread(USER.get) == "bob"
        assert await ctx.run_in_thread(COUNT.get) == 1


async def test_what_the_thread_sets_stays_there(mock_clock: trio.testing.MockClock) -> None:
    """A thread works on a copy."""
    with with_value(background(), USER, "ann") as ctx:
        await ctx.run_in_thread(USER.set, "bob")
        assert USER.get() == ctx[USER] == "ann"


async def test_current_in_the_thread(mock_clock: trio.testing.MockClock) -> None:
    """The block of the caller."""
    with with_cancel(background()) as outer:
        with with_value(outer, USER, "ann") as inner:
            assert await inner.run_in_thread(current) is inner
            assert await outer.run_in_thread(current) is inner
        assert await inner_or_outer(outer) is outer


async def inner_or_outer(ctx: Context) -> Context:
    return await ctx.run_in_thread(current)


async def test_it_is_a_checkpoint(mock_clock: trio.testing.MockClock) -> None:
    """Like `trio.to_thread.run_sync`."""
    with with_cancel(background()) as ctx:
        with trio.testing.assert_checkpoints():
            await ctx.run_in_thread(int)


async def test_the_limiter_bounds_the_threads(mock_clock: trio.testing.MockClock) -> None:
    """`limiter=` is Trio's; without it Trio's default limiter counts."""
    limiter = trio.CapacityLimiter(1)
    blocking = Blocking()
    default = trio.to_thread.current_default_thread_limiter()
    async with with_cancel(background()) as ctx:

        async def limited() -> None:
            assert await ctx.run_in_thread(blocking, limiter=limiter) == "result"

        ctx.start_soon(limited)
        ctx.start_soon(limited)
        await blocking.has_begun()
        await trio.testing.wait_all_tasks_blocked()
        assert limiter.borrowed_tokens == 1
        assert limiter.statistics().tasks_waiting == 1
        assert default.borrowed_tokens == 0
        blocking.go_on.set()


@pytest.mark.parametrize("linked", [False, True])
async def test_a_thread_is_waited_for(linked: bool, mock_clock: trio.testing.MockClock) -> None:
    """Without `abandon_on_cancel` a cancellation waits for the thread, whose result is kept."""
    blocking = Blocking()
    async with trio.open_nursery() as nursery:
        ctx = with_cancel(background())
        if linked:
            await open_in(nursery, ctx)
        results: list[str] = []

        async def work() -> None:
            results.append(await ctx.run_in_thread(blocking))

        async def enclosed() -> None:
            with ctx:
                await work()

        nursery.start_soon(work if linked else enclosed)
        await blocking.has_begun()
        ctx.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert results == []
        blocking.go_on.set()
    assert results == ["result"]


async def test_an_abandoned_thread_of_an_enclosing_context(
    mock_clock: trio.testing.MockClock,
) -> None:
    """With `abandon_on_cancel` the block ends at once, and the thread goes on alone."""
    blocking = Blocking()
    with with_cancel(background()) as ctx:
        async with trio.open_nursery() as nursery:

            async def work() -> None:
                await ctx.run_in_thread(blocking, abandon_on_cancel=True)

            nursery.start_soon(work)
            await blocking.has_begun()
            ctx.cancel()
    assert ctx.cancel_scope.cancelled_caught
    assert not blocking.finished.is_set()
    blocking.go_on.set()
    blocking.finished.wait()


@pytest.mark.parametrize("how", ["cancel", "closed", "deadline", "cancelled before"])
@pytest.mark.parametrize("which", ["new", "open"])
async def test_the_end_of_a_context_that_does_not_enclose_the_caller(
    how: str, which: str, mock_clock: trio.testing.MockClock
) -> None:
    """It reaches the call as it reaches a linked child, and is raised there."""
    blocking = Blocking()
    errors: list[trioctx.ContextError] = []
    ctx = with_timeout(background(), 5, cause="slow", name="mine")
    closing = trio.Event()

    async def hold() -> None:
        try:
            with ctx:
                await closing.wait()
        except DeadlineExceeded:
            pass

    async def work() -> None:
        try:
            await ctx.run_in_thread(blocking, abandon_on_cancel=True)
        except trioctx.ContextError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        if which == "open" or how == "closed":
            nursery.start_soon(hold)
            await trio.testing.wait_all_tasks_blocked()
        if how == "cancelled before":
            ctx.cancel("gone")
        nursery.start_soon(work)
        if how == "cancelled before":
            await trio.testing.wait_all_tasks_blocked()
        else:
            await blocking.has_begun()
            if how == "cancel":
                ctx.cancel("gone")
            elif how == "closed":
                closing.set()
            else:
                mock_clock.jump(5)
    blocking.go_on.set()
    (error,) = errors
    assert error.context is ctx
    if how == "deadline":
        assert isinstance(error, DeadlineExceeded)
        assert str(error.cause) == "slow"
    else:
        assert isinstance(error, ContextCancelled)
        assert isinstance(error.cause, ContextClosed if how == "closed" else ContextCancelled)
    assert error.__cause__ is error.cause


async def test_the_end_of_the_callers_block_is_trios(
    mock_clock: trio.testing.MockClock,
) -> None:
    """A call on another context is still ended by the blocks around it, with Trio's `Cancelled`."""
    blocking = Blocking()
    other = with_cancel(background())
    with with_cancel(background()) as ctx:
        async with trio.open_nursery() as nursery:

            async def work() -> None:
                await other.run_in_thread(blocking, abandon_on_cancel=True)

            nursery.start_soon(work)
            await blocking.has_begun()
            ctx.cancel()
    assert ctx.cancel_scope.cancelled_caught
    assert other.err is None
    blocking.go_on.set()


async def test_a_check_in_the_thread(mock_clock: trio.testing.MockClock) -> None:
    """`ctx.check()` lets the function notice; the error is raised where it is awaited."""
    began, looked = threading.Event(), threading.Event()

    def work(ctx: Context) -> None:
        ctx.check()
        began.set()
        looked.wait()
        ctx.check()

    with with_cancel(background()) as ctx:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ctx.run_in_thread, work, ctx)
            await trio.to_thread.run_sync(began.wait)
            ctx.cancel("enough")
            looked.set()
    assert str(ctx.cause) == "enough"


async def test_a_check_in_the_thread_of_another_context(
    mock_clock: trio.testing.MockClock,
) -> None:
    """The error names the context that ended."""
    other = with_cancel(background(), name="other")
    child = with_cancel(other)
    other.cancel("gone")
    with with_cancel(background()) as ctx:
        with pytest.raises(ContextCancelled) as info:
            await ctx.run_in_thread(child.check)
        assert info.value.context is other
        assert ctx.err is None


@pytest.mark.parametrize("fn", [None, "query", 3])
async def test_what_cannot_be_called(fn: Any, mock_clock: trio.testing.MockClock) -> None:
    """A TypeError that names the parameter and shows the value."""
    with with_cancel(background()) as ctx:
        with pytest.raises(TypeError, match="sync_fn") as info:
            await ctx.run_in_thread(fn)
        assert repr(fn) in str(info.value)


async def test_an_async_function(mock_clock: trio.testing.MockClock) -> None:
    """A TypeError that shows the function, and leaves nothing un-awaited."""

    async def query() -> None:
        """Not for a thread."""

    wrong: Any = query
    with with_cancel(background()) as ctx:
        with pytest.raises(TypeError) as info:
            await ctx.run_in_thread(wrong)
        assert "query" in str(info.value)
        assert ctx.err is None


async def test_a_coroutine_object(mock_clock: trio.testing.MockClock) -> None:
    """A TypeError that says to pass the function, and leaves nothing un-awaited."""

    async def query() -> None:
        """Not for a thread."""

    made: Any = query()
    with with_cancel(background()) as ctx:
        with pytest.raises(TypeError, match="sync_fn"):
            await ctx.run_in_thread(made)


async def test_wrong_arguments(mock_clock: trio.testing.MockClock) -> None:
    """The function's own TypeError."""
    work: Any = in_plain_thread
    with with_cancel(background()) as ctx:
        with pytest.raises(TypeError, match="in_plain_thread"):
            await ctx.run_in_thread(work)


def test_a_context_of_another_run() -> None:
    """A RuntimeError."""

    async def make() -> Context:
        return with_cancel(background())

    async def use(ctx: Context) -> None:
        with pytest.raises(RuntimeError, match="run"):
            await ctx.run_in_thread(int)

    trio.run(use, trio.run(make))


# --- contexts travel ------------------------------------------------------------------------------


async def test_into_to_thread_run_sync(mock_clock: trio.testing.MockClock) -> None:
    """Values and `current()` are there in a plain Trio thread as well."""
    with with_value(background(), USER, "ann") as ctx:
        assert await trio.to_thread.run_sync(USER.get) == "ann"
        assert await trio.to_thread.run_sync(current) is ctx
        assert await trio.to_thread.run_sync(lambda: current()[USER]) == "ann"


async def test_values_from_a_foreign_thread(mock_clock: trio.testing.MockClock) -> None:
    """The whole mapping, `run` and `lookup`, entered or not."""

    def read(ctx: Context) -> tuple[object, ...]:
        assert {USER, COUNT} <= set(ctx)
        return ctx[USER], ctx.get(COUNT), USER in ctx, ctx.lookup("user"), ctx.run(USER.get)

    with with_values(background(), {USER: "ann", COUNT: 3}) as ctx:
        for node in (ctx, with_cancel(ctx), with_value(ctx, COUNT, 3)):
            assert in_plain_thread(partial(read, node)) == ("ann", 3, True, "ann", "ann")


async def test_deriving_in_a_thread(mock_clock: trio.testing.MockClock) -> None:
    """What needs no clock can be derived in any thread, and ends with its parent."""
    with with_cancel(background()) as ctx:
        derived = in_plain_thread(
            lambda: [
                with_cancel(ctx),
                with_value(ctx, USER, "ann"),
                merge(background(), ctx),
                with_cancel(with_value(ctx, USER, "ann")),
            ]
        )
        free = in_plain_thread(lambda: without_cancel(ctx))
        assert not any(node.done for node in derived)
        ctx.cancel()
        assert all(node.cancelled for node in derived)
        assert not free.cancelled
        with derived[0] as inner:
            assert inner.cancelled


@pytest.mark.parametrize("derive", [with_timeout, trioctx.with_deadline])
async def test_a_deadline_cannot_be_made_in_a_thread(
    derive: Callable[[Context, float], Context], mock_clock: trio.testing.MockClock
) -> None:
    """Outside a Trio run there is no clock: a RuntimeError that says so."""

    def refused() -> str:
        with pytest.raises(RuntimeError, match=r"trio\.run") as info:
            derive(ctx, 1)
        return str(info.value)

    with with_cancel(background()) as ctx:
        assert "clock" in in_plain_thread(refused)


# --- any thread -----------------------------------------------------------------------------------


async def test_reading_from_a_foreign_thread(mock_clock: trio.testing.MockClock) -> None:
    """Whatever is asked, the answer is that of Trio's thread."""

    def read(ctx: Context) -> tuple[object, ...]:
        ctx.check()
        return (
            ctx.err,
            ctx.cause,
            ctx.cancelled,
            ctx.done,
            ctx.stopping,
            ctx.state,
            ctx.deadline,
            ctx.remaining(),
            repr(ctx),
        )

    with with_timeout(background(), 5) as ctx:
        for node in (ctx, with_cancel(ctx), with_cancel(background())):
            assert in_plain_thread(partial(read, node)) == read(node)
        mock_clock.jump(2)
        assert in_plain_thread(ctx.remaining) == 3


async def test_a_deadline_is_seen_from_a_foreign_thread(
    mock_clock: trio.testing.MockClock,
) -> None:
    """By the clock of the run, also while Trio's thread is busy."""

    def read() -> tuple[object, ...]:
        with pytest.raises(DeadlineExceeded) as info:
            ctx.check()
        return ctx.cancelled, info.value.context, str(ctx.cause), ctx.remaining()

    with pytest.raises(DeadlineExceeded):
        with with_timeout(background(), 5, cause="slow") as ctx:
            mock_clock.jump(6)
            assert in_plain_thread(read) == (True, ctx, "slow", 0)
            await trio.sleep_forever()


@pytest.mark.parametrize("how", ["with", "async with", "new", "linked"])
async def test_cancel_from_a_foreign_thread(how: str, mock_clock: trio.testing.MockClock) -> None:
    """Counts at once in the thread, and ends the block in Trio's."""
    ctx = with_cancel(background())

    def cancel() -> tuple[bool, bool, str]:
        ctx.cancel("from a thread")
        return ctx.cancelled, ctx.stopping, str(ctx.cause)

    seen: tuple[bool, bool, str]
    if how == "with":
        with ctx:
            seen = in_plain_thread(cancel)
            await trio.sleep_forever()
    elif how == "async with":
        async with ctx:
            ctx.start_soon(trio.sleep_forever)
            seen = in_plain_thread(cancel)
    elif how == "new":
        seen = in_plain_thread(cancel)
        await ctx.wait_done()
    else:
        with pytest.raises(ContextCancelled) as info:
            with with_cancel(ctx) as child:
                seen = in_plain_thread(cancel)
                assert child.cancelled
                await trio.sleep_forever()
        assert info.value.context is ctx
    assert seen == (True, True, "from a thread")
    assert ctx.err is not None
    assert ctx.err.context is ctx


async def test_the_first_of_many_threads_wins(mock_clock: trio.testing.MockClock) -> None:
    """Each thread sees the same cause after its own cancel."""
    ctx = with_cancel(background())
    barrier = threading.Barrier(8, timeout=10)
    seen: list[BaseException | None] = []

    def cancel(error: BaseException) -> None:
        barrier.wait()
        ctx.cancel(error)
        seen.append(ctx.cause)

    threads = [threading.Thread(target=cancel, args=(OSError(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert set(seen) == {ctx.cause}


async def test_a_foreign_thread_with_copied_variables(
    mock_clock: trio.testing.MockClock,
) -> None:
    """`current()` there is the context, and can be used like it."""
    with with_cancel(background()) as ctx:
        variables = copy_context()
        in_plain_thread(lambda: variables.run(lambda: current().cancel("from a thread")))
        await trio.sleep_forever()
    assert str(ctx.cause) == "from a thread"


@pytest.mark.parametrize("use", ["wait_done", "wait_stopping", "enter"])
async def test_waiting_and_entering_need_the_run(
    use: str, mock_clock: trio.testing.MockClock
) -> None:
    """What is for the tasks of the run says so in a foreign thread."""
    ctx = with_cancel(background())

    def refused() -> bool:
        with pytest.raises(RuntimeError):
            if use == "enter":
                ctx.__enter__()
            else:
                getattr(ctx, use)().send(None)
        return True

    assert in_plain_thread(refused)
    assert ctx.state == "new"


# --- after the run --------------------------------------------------------------------------------


def test_after_the_run_has_ended() -> None:
    """What was made in a run can be read and cancelled after it."""
    error = OSError()

    async def main() -> tuple[Context, Context, Context]:
        closed = with_value(background(), USER, "ann")
        with closed:
            pass
        return closed, with_cancel(background()), with_timeout(with_cancel(background()), 1_000)

    closed, new, timed = trio.run(main)
    assert closed[USER] == "ann"
    assert closed.err is None
    assert closed.done
    assert not new.done
    assert new.deadline == math.inf
    for ctx in (new, timed):
        child = with_cancel(ctx)
        ctx.cancel(error)
        ctx.cancel("later")
        assert ctx.cause is error
        assert child.cause is error
        with pytest.raises(ContextCancelled):
            child.check()
    assert in_plain_thread(lambda: new.cause) is error
    repr([closed, new, timed])


def test_stop_after_the_run_has_ended() -> None:
    """Phase one counts; there is nobody left to tell."""

    async def main() -> Context:
        return with_cancel(background())

    ctx = trio.run(main)
    ctx.stop("late", grace=None)
    assert ctx.stopping
    assert ctx.err is None
    other = trio.run(main)
    other.stop("late", grace=0)
    assert other.cancelled


def test_a_thread_that_outlives_the_run() -> None:
    """An abandoned thread may go on using its context."""
    go_on, done = threading.Event(), threading.Event()
    seen: list[object] = []

    def work(ctx: Context) -> None:
        go_on.wait()
        try:
            seen.append(current())
            seen.append(ctx.cancelled)
            ctx.cancel()
            ctx.check()
        except ContextCancelled as error:
            seen.append(str(error.cause))
        finally:
            done.set()

    async def main() -> None:
        async with with_cancel(background()) as ctx:

            async def thread() -> None:
                await ctx.run_in_thread(work, ctx, abandon_on_cancel=True)

            ctx.start_soon(thread)
            await trio.testing.wait_all_tasks_blocked()
            ctx.cancel("enough")

    trio.run(main)
    go_on.set()
    done.wait()
    assert seen == [background(), True, "enough"]


async def test_a_function_that_returns_a_coroutine(autojump_clock: trio.testing.MockClock) -> None:
    """Async in disguise: refused when it shows, and the coroutine is closed."""

    async def query() -> None:
        raise AssertionError

    def disguised() -> object:
        return query()

    with pytest.raises(TypeError, match="sync_fn must be a sync function"):
        await trioctx.background().run_in_thread(disguised)
