"""after_func: a call that waits for a context to end."""

import gc
import logging
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
import trio
import trio.testing

import trioctx
from trioctx import (
    Context,
    ContextCancelled,
    DeadlineExceeded,
    after_func,
    background,
    current,
    merge,
    with_cancel,
    with_timeout,
    with_value,
    without_cancel,
)

USER: ContextVar[str] = ContextVar("user")


async def settle() -> None:
    """Let everything happen that can happen now."""
    await trio.testing.wait_all_tasks_blocked()


class Calls:
    """Takes down its calls, and when they were made."""

    def __init__(self) -> None:
        self.made: list[tuple[object, ...]] = []
        self.times: list[float] = []

    def __call__(self, *args: object) -> None:
        self.made.append(args)
        self.times.append(trio.current_time())


@pytest.fixture
def calls() -> Calls:
    """A function to wait with."""
    return Calls()


async def elsewhere(ctx: Context) -> None:
    """Holds the block of `ctx` open in a task of its own, until it ends."""
    try:
        with ctx:
            await trio.sleep_forever()
    except trioctx.ContextError:
        pass


# --- called ---------------------------------------------------------------------------------------


async def test_called_once_after_a_cancel(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """With its arguments, however often the context is cancelled."""
    ctx = with_cancel(background())
    after_func(ctx, calls, 1, "two")
    await settle()
    assert calls.made == []
    ctx.cancel()
    ctx.cancel()
    await settle()
    ctx.cancel()
    await settle()
    assert calls.made == [(1, "two")]


async def test_never_called_inside_cancel(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """Soon, but not before `cancel()` returns, nor before `after_func` does."""
    ctx = with_cancel(background())
    after_func(ctx, calls, "before")
    await settle()
    ctx.cancel()
    assert calls.made == []
    after_func(ctx, calls, "after")
    assert calls.made == []
    await settle()
    assert sorted(calls.made) == [("after",), ("before",)]


async def test_called_at_the_deadline(calls: Calls, autojump_clock: trio.testing.MockClock) -> None:
    """Of a context that was never entered, and of one that is open."""
    after_func(with_timeout(background(), 2), calls, "new")
    with pytest.raises(DeadlineExceeded):
        with with_timeout(background(), 3) as ctx:
            after_func(ctx, calls, "open")
            await trio.sleep_forever()
    await settle()
    assert calls.made == [("new",), ("open",)]
    assert calls.times == [2, 3]


async def test_called_at_the_deadline_while_the_block_goes_on(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """A block that is shielded from its own end does not keep the call back."""
    with pytest.raises(DeadlineExceeded):
        with with_timeout(background(), 1) as ctx:
            after_func(ctx, calls)
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
            await trio.sleep_forever()
    assert calls.times == [1]


@pytest.mark.parametrize("how", ["cancelled", "expired", "parent", "closed cancelled"])
async def test_called_soon_if_it_has_happened(
    how: str, calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """A context that has ended already; also one that is closed since."""
    parent = with_cancel(background())
    ctx = with_timeout(parent, 0) if how == "expired" else with_cancel(parent)
    if how == "parent":
        parent.cancel()
    elif how != "expired":
        ctx.cancel()
    if how == "closed cancelled":
        with ctx:
            pass
        assert ctx.state == "closed"
    after_func(ctx, calls)
    await settle()
    assert calls.made == [()]
    assert trio.current_time() == 0


@pytest.mark.parametrize("how", ["with", "async with", "value", "error"])
async def test_called_or_not_when_the_context_closes(
    how: str, calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """Never when it closes normally; a failing body is a cancellation."""
    parent = with_cancel(background())
    ctx = with_value(parent, USER, "ann") if how == "value" else with_cancel(parent)
    handle = after_func(ctx, calls)
    if how == "async with":
        async with ctx:
            await settle()
    elif how == "error":
        with pytest.raises(OSError):
            with ctx:
                raise OSError
    else:
        with ctx:
            await settle()
    await settle()
    parent.cancel()
    await trio.sleep(1)
    assert calls.made == ([()] if how == "error" else [])
    if how == "error":
        assert not handle.stop()


async def test_a_context_that_closed_before(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """On one that closed normally it is never called."""
    with with_cancel(background()) as ctx:
        pass
    after_func(ctx, calls)
    await trio.sleep(1)
    assert calls.made == []
    assert ctx.err is None


async def test_what_is_derived_from_a_closed_context(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """It is born cancelled, so the call is made; also for one derived before its parent closed."""
    parent = with_cancel(background())
    after_func(with_cancel(parent), calls, "before")
    with parent:
        await settle()
    after_func(with_cancel(parent), calls, "after")
    await settle()
    assert sorted(calls.made) == [("after",), ("before",)]


@pytest.mark.parametrize("state", ["new", "open elsewhere"])
@pytest.mark.parametrize(
    "derive",
    [
        with_cancel,
        lambda parent: with_value(parent, USER, "ann"),
        lambda parent: merge(background(), parent),
        lambda parent: with_cancel(with_value(with_cancel(parent), USER, "ann")),
    ],
    ids=["with_cancel", "with_value", "merge", "chain"],
)
async def test_called_for_the_end_of_a_parent(
    derive: Callable[[Context], Context],
    state: str,
    calls: Calls,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Linked or not entered: the parent's end is the context's."""
    parent = with_cancel(background())
    ctx = derive(parent)
    async with trio.open_nursery() as nursery:
        if state != "new":
            nursery.start_soon(elsewhere, ctx)
            await settle()
        after_func(ctx, calls)
        await trio.sleep(1)
        assert calls.made == []
        parent.cancel()
        await settle()
        assert calls.times == [1]


async def test_called_for_the_deadline_of_a_linked_parent(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """A link has no timer, and the call comes in time all the same."""
    parent = with_timeout(background(), 2)
    async with trio.open_nursery() as nursery:
        child = with_cancel(parent)
        nursery.start_soon(elsewhere, child)
        await settle()
        after_func(child, calls)
    await settle()
    assert calls.times == [2]


async def test_called_for_the_end_of_an_enclosing_block(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """While open a context ends with what encloses it, whatever its parent."""
    with with_cancel(background()) as outer:
        with with_cancel(background()) as ctx:
            after_func(ctx, calls)
            await settle()
            outer.cancel()
            with trio.CancelScope(shield=True):
                await settle()
            assert calls.made == [()]


async def test_not_called_for_what_does_not_reach_it(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """`without_cancel` and the context's parent hear nothing."""
    with with_cancel(background()) as outer:
        ctx = with_cancel(outer)
        after_func(without_cancel(ctx), calls)
        after_func(outer, calls)
        after_func(background(), calls)
        ctx.cancel()
        await settle()
    assert calls.made == []


async def test_called_at_the_end_of_a_grace_and_not_before(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """A stop is no end; its phase two is."""
    ctx = with_cancel(background())
    after_func(ctx, calls)
    await settle()
    ctx.stop(grace=3)
    await settle()
    assert calls.made == []
    await trio.sleep(5)
    assert calls.times == [3]


async def test_called_for_a_failing_child(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """A failure cancels the context; the cause is known in the call."""
    error = OSError()
    causes: list[BaseException | None] = []

    async def fail() -> None:
        raise error

    with pytest.raises(ExceptionGroup):
        async with with_cancel(background()) as ctx:
            after_func(ctx, lambda: causes.append(ctx.cause))
            ctx.start_soon(fail)
    await settle()
    assert causes == [error]


async def test_called_after_a_plain_trio_cancellation(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """Noticed at the latest on exit."""
    with with_cancel(background()) as ctx:
        after_func(ctx, calls)
        await settle()
        ctx.cancel_scope.cancel()
        await trio.sleep_forever()
    await settle()
    assert calls.made == [()]


async def test_several_functions(calls: Calls, autojump_clock: trio.testing.MockClock) -> None:
    """Each is called, also one that was given twice."""
    ctx = with_cancel(background())
    for number in (1, 2, 2):
        after_func(ctx, calls, number)
    ctx.cancel()
    await settle()
    assert sorted(calls.made) == [(1,), (2,), (2,)]


async def test_cancelled_before_the_wait_began(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """In the same step as `after_func`."""
    ctx = with_cancel(background())
    after_func(ctx, calls)
    ctx.cancel()
    await settle()
    assert calls.made == [()]


async def test_cancelled_from_a_thread(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """The call is made in Trio's thread."""
    threads: list[int] = []
    ctx = with_cancel(background())
    after_func(ctx, lambda: threads.append(threading.get_ident()))
    await settle()
    thread = threading.Thread(target=ctx.cancel)
    thread.start()
    thread.join()
    await trio.sleep(1)
    assert threads == [threading.get_ident()]


async def test_a_call_may_cancel_and_wait_for_others(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """The function can end another context, or ask for a call in its turn."""
    one, two = with_cancel(background()), with_cancel(background())

    def chain() -> None:
        two.cancel(one.cause)
        after_func(one, calls, "inner")

    after_func(one, chain)
    after_func(two, calls, "two")
    one.cancel("enough")
    await settle()
    await settle()
    assert sorted(calls.made) == [("inner",), ("two",)]
    assert str(two.cause) == "enough"


# --- where it runs --------------------------------------------------------------------------------


async def test_the_contextvars_are_those_of_the_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Not those of whoever cancels; what the function sets is forgotten; it is in no block."""
    seen: list[tuple[str, Context]] = []

    def look() -> None:
        seen.append((USER.get(), current()))
        USER.set("changed")

    ctx = with_cancel(background())
    with with_value(background(), USER, "ann"):
        after_func(ctx, look)
    with with_value(background(), USER, "bob"):
        ctx.cancel()
        await settle()
        assert USER.get() == "bob"
    assert seen == [("ann", background())]


# --- stop -----------------------------------------------------------------------------------------


async def test_stop_in_time(calls: Calls, autojump_clock: trio.testing.MockClock) -> None:
    """True, once; then the function is never called."""
    ctx = with_cancel(background())
    handle = after_func(ctx, calls)
    await settle()
    assert handle.stop() is True
    assert handle.stop() is False
    ctx.cancel()
    await settle()
    assert calls.made == []


async def test_stop_too_late(calls: Calls, autojump_clock: trio.testing.MockClock) -> None:
    """False once the call was made."""
    ctx = with_cancel(background())
    handle = after_func(ctx, calls)
    ctx.cancel()
    await settle()
    assert handle.stop() is False
    assert calls.made == [()]


@pytest.mark.parametrize("waiting", [False, True])
async def test_stop_between_the_end_and_the_call(
    waiting: bool, calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """What it returns is what happens."""
    ctx = with_cancel(background())
    handle = after_func(ctx, calls)
    if waiting:
        await settle()
    ctx.cancel()
    kept = handle.stop()
    await settle()
    assert calls.made == ([] if kept else [()])


async def test_stop_in_the_call_itself(autojump_clock: trio.testing.MockClock) -> None:
    """Too late."""
    results: list[bool] = []
    ctx = with_cancel(background())

    def stop_itself() -> None:
        results.append(handle.stop())

    handle = after_func(ctx, stop_itself)
    ctx.cancel()
    await settle()
    assert results == [False]


async def test_stop_at_once(calls: Calls, autojump_clock: trio.testing.MockClock) -> None:
    """Before the wait has begun, of a context that has ended, and of a root."""
    ended = with_cancel(background())
    ended.cancel()
    for ctx in (with_cancel(background()), ended, background()):
        assert after_func(ctx, calls).stop() is True
        if ctx is not background():
            ctx.cancel()
        await settle()
    assert calls.made == []


@pytest.mark.parametrize("waiting", [False, True])
async def test_stop_from_a_thread(
    waiting: bool, calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """Works there as well, and leaves no task behind."""
    ctx = with_cancel(background())
    before = trio.lowlevel.current_statistics().tasks_living
    handle = after_func(ctx, calls)
    if waiting:
        await settle()
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(handle.stop()))
    thread.start()
    thread.join()
    assert results == [True]
    await trio.sleep(1)
    assert trio.lowlevel.current_statistics().tasks_living == before
    ctx.cancel()
    await settle()
    assert calls.made == []


async def test_only_one_of_many_is_stopped(
    calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """Handles are independent."""
    ctx = with_cancel(background())
    handles = [after_func(ctx, calls, number) for number in range(3)]
    assert handles[1].stop()
    ctx.cancel()
    await settle()
    assert sorted(calls.made) == [(0,), (2,)]


@pytest.mark.parametrize("how", ["called", "stopped", "closed"])
async def test_nothing_is_left_behind(
    how: str, calls: Calls, autojump_clock: trio.testing.MockClock
) -> None:
    """No task outlives the call, the stop or the block."""
    before = trio.lowlevel.current_statistics().tasks_living
    with with_cancel(background()) as ctx:
        handle = after_func(ctx, calls)
        await settle()
        if how == "stopped":
            handle.stop()
        elif how == "called":
            ctx.cancel()
    await settle()
    assert trio.lowlevel.current_statistics().tasks_living == before


@pytest.mark.parametrize("how", ["called", "stopped", "closed"])
async def test_no_reference_cycle_is_left(how: str, autojump_clock: trio.testing.MockClock) -> None:
    """A context somebody waited for is freed without the garbage collector."""

    async def use() -> weakref.ref[Context]:
        ctx = with_cancel(background())
        handle = after_func(ctx, int)
        await settle()
        if how == "called":
            ctx.cancel()
        elif how == "stopped":
            handle.stop()
        else:
            async with ctx:
                await settle()
        await settle()
        return weakref.ref(ctx)

    gc.collect()
    gc.disable()
    try:
        ref = await use()
        assert ref() is None
    finally:
        gc.enable()


# --- errors in the function -----------------------------------------------------------------------


async def test_an_exception_is_logged(
    calls: Calls, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """With its traceback and the function, to the logger `trioctx`; nothing else is lost."""
    error = OSError("disk")

    def fail_to_close() -> None:
        raise error

    ctx = with_cancel(background())
    after_func(ctx, calls, 1)
    handle = after_func(ctx, fail_to_close)
    after_func(ctx, calls, 2)
    with caplog.at_level(logging.ERROR, logger="trioctx"):
        ctx.cancel()
        await settle()
    (record,) = caplog.records
    assert record.name == "trioctx"
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert "in fail_to_close" in caplog.text
    assert sorted(calls.made) == [(1,), (2,)]
    assert handle.stop() is False


async def test_the_log_names_the_function(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """The message says which function failed."""

    def fail_to_close() -> None:
        raise OSError

    ctx = with_cancel(background())
    after_func(ctx, fail_to_close)
    ctx.cancel()
    await settle()
    (record,) = caplog.records
    assert "fail_to_close" in record.getMessage()


async def test_wrong_arguments_are_logged(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """A function that does not take what it was given fails like any other."""
    wrong: Any = len
    ctx = with_cancel(background())
    after_func(ctx, wrong, 1, 2, 3)
    ctx.cancel()
    await settle()
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], TypeError)


async def test_a_trioctx_error_in_the_function_is_logged_too(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """`ctx.check` as the function raises; that ends nothing else."""
    ctx = with_cancel(background())
    after_func(ctx, ctx.check)
    with with_cancel(background()) as other:
        ctx.cancel()
        await settle()
    assert other.err is None
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ContextCancelled)


# --- the run --------------------------------------------------------------------------------------


def test_a_run_that_shuts_down(calls: Calls) -> None:
    """A wait does not keep the run from ending; a context that has not ended makes no call."""

    async def main() -> Context:
        ctx = with_cancel(background())
        after_func(ctx, calls)
        await settle()
        return ctx

    ctx = trio.run(main)
    ctx.cancel()
    assert calls.made == []


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("how", ["new", "block"])
def test_cancelled_in_the_last_step_of_the_run(how: str, waiting: bool, calls: Calls) -> None:
    """The call is made even if the run is being shut down by then."""

    async def main() -> None:
        ctx = with_cancel(background())
        if how == "new":
            after_func(ctx, calls)
            if waiting:
                await settle()
            ctx.cancel()
        else:
            with ctx:
                after_func(ctx, calls)
                if waiting:
                    await settle()
                ctx.cancel()

    trio.run(main)
    assert calls.made == [()]


def test_a_run_that_crashes(calls: Calls) -> None:
    """Also if the run ends with an error."""

    async def main() -> None:
        with with_cancel(background()) as ctx:
            after_func(ctx, calls)
            await settle()
            raise OSError

    with pytest.raises(OSError):
        trio.run(main)
    assert calls.made == [()]


def test_an_exception_while_the_run_shuts_down(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged all the same, and the run ends as it would."""

    def fail() -> None:
        raise OSError

    async def main() -> int:
        ctx = with_cancel(background())
        after_func(ctx, fail)
        ctx.cancel()
        return 3

    assert trio.run(main) == 3
    assert len(caplog.records) == 1


# --- wrong calls ----------------------------------------------------------------------------------


def test_outside_a_run() -> None:
    """A RuntimeError that says where to call it."""
    with pytest.raises(RuntimeError, match=r"trio\.run"):
        after_func(with_cancel(background()), print)


def test_with_a_context_of_another_run() -> None:
    """A RuntimeError."""

    async def make() -> Context:
        return with_cancel(background())

    async def use(ctx: Context) -> None:
        with pytest.raises(RuntimeError, match="run"):
            after_func(ctx, print)

    trio.run(use, trio.run(make))


@pytest.mark.parametrize("fn", [None, "close", 3], ids=repr)
async def test_what_cannot_be_called(fn: Any, autojump_clock: trio.testing.MockClock) -> None:
    """A TypeError that names the parameter and shows the value."""
    with pytest.raises(TypeError, match="fn") as info:
        after_func(with_cancel(background()), fn)
    assert repr(fn) in str(info.value)


async def test_a_coroutine_object(autojump_clock: trio.testing.MockClock) -> None:
    """A TypeError, and nothing is left un-awaited."""

    async def goodbye() -> None:
        """Not for after_func."""

    made: Any = goodbye()
    with pytest.raises(TypeError, match="fn"):
        after_func(with_cancel(background()), made)


async def test_an_async_function(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """It would do nothing: refused at the call or logged, and nothing is left un-awaited."""

    async def goodbye() -> None:
        """Not for after_func."""

    ctx = with_cancel(background())
    ctx.cancel()
    refused = False
    try:
        after_func(ctx, goodbye)
    except TypeError:
        refused = True
    await settle()
    assert refused or caplog.records
