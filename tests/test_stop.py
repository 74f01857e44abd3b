"""Stopping in two phases: ask everything below to finish, then cancel what has not."""

import itertools
import math
from collections.abc import Callable
from contextlib import suppress
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
    background,
    current,
    merge,
    with_cancel,
    with_timeout,
    with_value,
    without_cancel,
)

USER: ContextVar[str] = ContextVar("user")


class Limited(trio.abc.Instrument):
    """Fails a run that goes round and round without time passing."""

    def __init__(self, steps: int = 5_000) -> None:
        self.left = steps
        self.scope = trio.CancelScope()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if not self.left:
            self.scope.cancel()


async def elsewhere(
    ctx: Context, *, task_status: trio.TaskStatus[Context] = trio.TASK_STATUS_IGNORED
) -> None:
    """Holds the block of `ctx` open in a task of its own, until it is cancelled."""
    try:
        with ctx:
            task_status.started(ctx)
            await trio.sleep_forever()
    except trioctx.ContextError:
        pass


async def until_stopped(ctx: Context, log: list[float]) -> None:
    """A region that takes down when it ended."""
    with ctx.until_stopping():
        await trio.sleep_forever()
    log.append(trio.current_time())


async def stop_later(ctx: Context, after: float, grace: float | None) -> None:
    """Stops `ctx` after a while."""
    await trio.sleep(after)
    ctx.stop("maintenance", grace=grace)


# --- phase one ------------------------------------------------------------------------------------


@pytest.mark.parametrize("grace", [None, math.inf, 0, 1, 10.5])
async def test_a_stop_counts_at_once(
    grace: float | None, autojump_clock: trio.testing.MockClock
) -> None:
    """`stopping` is true for the context and everything below before `stop` returns."""
    ctx = with_cancel(background())
    below = [
        with_cancel(ctx),
        with_value(ctx, USER, "ann"),
        with_timeout(with_value(ctx, USER, "ann"), 100),
        merge(background(), ctx),
    ]
    aside = [with_cancel(background()), without_cancel(ctx), with_cancel(without_cancel(ctx))]
    assert not any(node.stopping for node in [ctx, *below, *aside])
    ctx.stop(grace=grace)
    assert ctx.stopping
    assert all(node.stopping for node in below)
    assert not any(node.stopping for node in aside)
    assert with_cancel(ctx).stopping


async def test_a_stop_does_not_reach_the_parent(autojump_clock: trio.testing.MockClock) -> None:
    """Neither does what follows it."""
    with with_cancel(background()) as outer:
        with with_cancel(outer) as ctx:
            ctx.stop(grace=1)
            assert not outer.stopping
            await trio.sleep_forever()
        assert not outer.stopping
        assert outer.err is None


@pytest.mark.parametrize("below", ["itself", "enclosed", "enclosed with another parent", "linked"])
async def test_regions_below_end_at_once(
    below: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Every `until_stopping()` region below ends, through links too, and its block goes on."""
    ended: list[float] = []
    finished: list[float] = []

    async def work(ctx: Context) -> None:
        if below == "itself":
            await until_stopped(ctx, ended)
            await trio.sleep(2)
        else:
            parent = background() if below == "enclosed with another parent" else ctx
            with with_cancel(parent) as own:
                await until_stopped(own, ended)
                await trio.sleep(2)
        finished.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        async with with_cancel(background()) as ctx:
            if below == "linked":
                nursery.start_soon(work, ctx)
            else:
                ctx.start_soon(work, ctx)
            await stop_later(ctx, 1, 10)
            await trio.sleep(5)
    assert ended == [1]
    assert finished == [3]
    assert ctx.err is None


async def test_wait_stopping_returns_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """For the context and for those below, entered or not, linked or enclosed."""
    woken: list[tuple[str, float]] = []

    async def wait(name: str, ctx: Context) -> None:
        await ctx.wait_stopping()
        woken.append((name, trio.current_time()))

    async with trio.open_nursery() as nursery:
        ctx = with_cancel(background())
        nursery.start_soon(wait, "itself", ctx)
        nursery.start_soon(wait, "derived", with_cancel(with_value(ctx, USER, "ann")))
        nursery.start_soon(wait, "merged", merge(background(), ctx))
        nursery.start_soon(wait, "linked", await nursery.start(elsewhere, with_cancel(ctx)))
        await stop_later(ctx, 3, 10)
        await trio.testing.wait_all_tasks_blocked()
        ctx.cancel()
    assert sorted(woken) == [("derived", 3), ("itself", 3), ("linked", 3), ("merged", 3)]


async def test_regions_and_waits_wake_across_several_links(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A link to a link, with an enclosed block between."""
    ended: list[float] = []

    async def third(parent: Context) -> None:
        with with_cancel(parent) as ctx:
            await until_stopped(ctx, ended)

    async def second(parent: Context, box: list[Context], ready: trio.Event) -> None:
        with with_cancel(parent):
            with with_value(current(), USER, "ann"):
                with with_cancel(current()) as inner:
                    box.append(inner)
                    ready.set()
                    await until_stopped(inner, ended)
                    await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        with with_cancel(background()) as first:
            box: list[Context] = []
            ready = trio.Event()
            nursery.start_soon(second, first, box, ready)
            await ready.wait()
            nursery.start_soon(third, box[0])
            await stop_later(first, 1, 10)
            await trio.testing.wait_all_tasks_blocked()
            assert ended == [1, 1]
            await trio.sleep(2)
    assert first.err is None


async def test_a_shield_of_trioctx_does_not_pass_a_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Neither phase reaches `without_cancel`."""
    with with_cancel(background()) as ctx:
        with without_cancel(ctx) as shielded:
            with with_cancel(shielded) as inner:
                ctx.stop(grace=1)
                assert not shielded.stopping
                assert not inner.stopping
                assert inner.deadline == math.inf
                with trio.move_on_after(5) as scope:
                    with inner.until_stopping():
                        await trio.sleep_forever()
                assert scope.cancelled_caught
                assert trio.current_time() == 5
                assert inner.err is None
        await trio.sleep_forever()
    assert isinstance(ctx.err, ContextCancelled)


async def test_a_plain_shield_does_not_hide_a_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A plain Trio shield keeps the cancellation away, and hides neither deadline nor stopping."""
    with with_cancel(background()) as ctx:
        with trio.CancelScope(shield=True):
            with with_cancel(ctx) as inner:
                ctx.stop(grace=1)
                assert inner.stopping
                assert inner.deadline == 1
                with inner.until_stopping():
                    await trio.sleep_forever()
                assert trio.current_time() == 0
                await trio.sleep(2)
                assert isinstance(inner.err, ContextCancelled)
                assert inner.err.context is ctx
        await trio.sleep_forever()


# --- phase two ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["with", "async with"])
@pytest.mark.parametrize("grace", [0, 1, 2.5])
async def test_after_the_grace_it_is_cancelled(
    grace: float, how: str, autojump_clock: trio.testing.MockClock
) -> None:
    """With the stop's cause; a cancellation, not a timeout, so the block ends quietly."""
    error = OSError("maintenance")
    if how == "with":
        with with_cancel(background()) as ctx:
            ctx.stop(error, grace=grace)
            await trio.sleep_forever()
    else:
        async with with_cancel(background()) as ctx:
            ctx.stop(error, grace=grace)
            ctx.start_soon(trio.sleep_forever)
    assert trio.current_time() == grace
    assert type(ctx.err) is ContextCancelled
    assert ctx.err.context is ctx
    assert ctx.cause is error


@pytest.mark.parametrize("grace", [None, math.inf])
async def test_without_a_grace_there_is_no_phase_two(
    grace: float | None, autojump_clock: trio.testing.MockClock
) -> None:
    """Only phase one."""
    with with_cancel(background()) as ctx:
        ctx.stop(grace=grace)
        assert ctx.deadline == math.inf
        await trio.sleep(1_000)
    assert ctx.err is None


@pytest.mark.parametrize("linked", [False, True])
async def test_work_that_finishes_within_the_grace_is_not_interrupted(
    linked: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """It ends as if nothing had been."""
    finished: list[float] = []

    async def work(ctx: Context) -> None:
        with with_cancel(ctx) as own:
            await trio.sleep(4)
        finished.append(trio.current_time())
        assert own.err is None

    async with trio.open_nursery() as nursery:
        async with with_cancel(background()) as ctx:
            (nursery if linked else ctx.nursery).start_soon(work, ctx)
            await stop_later(ctx, 1, 3.5)
            await trio.sleep(3.25)
    assert finished == [4]
    assert ctx.err is None


async def test_the_end_of_the_grace_goes_through_links(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A linked child ends with `ContextCancelled` and the stop's cause, also below another link."""
    ended: list[tuple[float, BaseException | None, Context | None]] = []

    async def work(parent: Context, box: list[Context]) -> None:
        try:
            with with_cancel(parent) as own:
                box.append(own)
                await trio.sleep_forever()
        except ContextCancelled as error:
            ended.append((trio.current_time(), error.cause, error.context))

    cause = OSError()
    async with trio.open_nursery() as nursery:
        with with_cancel(background()) as ctx:
            box: list[Context] = []
            nursery.start_soon(work, ctx, box)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(work, box[0], box)
            await trio.testing.wait_all_tasks_blocked()
            ctx.stop(cause, grace=2)
            assert [node.deadline for node in box] == [2, 2]
            await trio.sleep_forever()
    assert ended == [(2, cause, ctx), (2, cause, ctx)]


async def test_the_grace_of_a_stop_is_no_timeout_in_the_blocks_inside(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An enclosed block has `ContextCancelled` by the stopped one."""
    with with_cancel(background()) as ctx:
        with with_timeout(ctx, 100) as inner:
            ctx.stop("maintenance", grace=1)
            await trio.sleep_forever()
    for node in (ctx, inner):
        assert type(node.err) is ContextCancelled
        assert node.err.context is ctx
        assert str(node.cause) == "maintenance"


async def test_a_deadline_within_the_grace_is_a_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What comes first counts; at the same instant the deadline."""
    for timeout, expected in ((1.0, DeadlineExceeded), (2.0, DeadlineExceeded)):
        with pytest.raises(DeadlineExceeded):
            with with_timeout(background(), timeout) as ctx:
                ctx.stop(grace=2)
                await trio.sleep_forever()
        assert isinstance(ctx.err, expected)
    with with_timeout(background(), 3) as ctx:
        ctx.stop(grace=2)
        await trio.sleep_forever()
    assert isinstance(ctx.err, ContextCancelled)


# --- deadline -------------------------------------------------------------------------------------


async def test_deadline_and_remaining_include_the_grace(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """For the context and for all below that are open, and for what is derived afterwards."""
    async with trio.open_nursery() as nursery:
        with with_cancel(background()) as ctx:
            with with_cancel(ctx) as inner:
                linked = with_cancel(ctx)
                nursery.start_soon(elsewhere, linked)
                await trio.testing.wait_all_tasks_blocked()
                ctx.stop(grace=5)
                for node in (ctx, inner, linked, with_cancel(ctx), with_timeout(linked, 10)):
                    assert node.deadline == 5
                    assert node.remaining() == 5
                assert with_timeout(ctx, 3).deadline == 3
                await trio.sleep(2)
                assert inner.remaining() == 3
                assert trio.current_effective_deadline() == 5


async def test_a_later_deadline_is_shortened_by_the_grace(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """And an earlier one stays."""
    early, late = with_timeout(background(), 1), with_timeout(background(), 9)
    for ctx in (early, late):
        ctx.stop(grace=5)
    assert (early.deadline, late.deadline) == (1, 5)


# --- a second stop, a cancel ----------------------------------------------------------------------


async def test_the_grace_is_in_the_deadline_of_every_block_inside(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also in a child task, and inside a linked context, though none of them is linked itself."""
    deadlines: dict[str, float] = {}
    async with with_cancel(background()) as around, with_cancel(background()) as parent:

        async def look(what: str) -> None:
            with with_value(current(), USER, "ann") as value:
                with with_timeout(value, 50) as inner:
                    await trio.sleep(1)
                    deadlines[what] = inner.deadline
                    await trio.sleep_forever()

        async def link() -> None:
            with suppress(ContextCancelled):
                async with with_cancel(parent) as linked:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(look, "in a task of a linked one")
                        with with_cancel(linked) as inner:
                            await trio.sleep(1)
                            deadlines["in a linked one"] = inner.deadline
                            await trio.sleep_forever()

        around.start_soon(link)
        parent.start_soon(look, "in a task")
        await trio.testing.wait_all_tasks_blocked()
        with with_timeout(parent, 50) as inner:
            parent.stop(grace=7)
            assert inner.deadline == 7
            await trio.sleep_forever()
    assert deadlines == dict.fromkeys(
        ["in a linked one", "in a task of a linked one", "in a task"], 7.0
    )


@pytest.mark.parametrize(
    ("first", "second", "end"),
    [
        (5, 2, 3),
        (5, 0, 1),
        (5, 100, 5),
        (5, None, 5),
        (5, math.inf, 5),
        (None, 2, 3),
        (math.inf, 0, 1),
        (4, 3, 4),
    ],
)
@pytest.mark.parametrize("where", ["own", "enclosed", "linked"])
async def test_a_second_stop_shortens_and_never_lengthens(
    first: float | None,
    second: float | None,
    end: float,
    where: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The grace of the second counts from its call; the first cause stays."""
    ended: list[float] = []

    async def work(parent: Context) -> None:
        try:
            with with_cancel(parent) as own:
                await trio.sleep_forever()
        except ContextCancelled:
            pass
        ended.append(trio.current_time())
        assert str(own.cause) == "first"

    async def stops(ctx: Context) -> None:
        ctx.stop("first", grace=first)
        await trio.sleep(1)
        ctx.stop("second", grace=second)
        assert ctx.deadline == end

    async with trio.open_nursery() as nursery:
        async with with_cancel(background()) as ctx:
            nursery.start_soon(stops, ctx)
            if where == "linked":
                nursery.start_soon(work, ctx)
                await trio.sleep_forever()
            elif where == "enclosed":
                await work(ctx)
            else:
                await trio.sleep_forever()
        assert trio.current_time() == end
    assert ended == ([] if where in {"own", "enclosed"} else [end])
    assert str(ctx.cause) == "first"


async def test_a_cancel_during_the_grace_brings_its_own_cause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It ends the context at once."""
    with with_cancel(background()) as ctx:
        ctx.stop("stop", grace=5)
        await trio.sleep(1)
        ctx.cancel("cancel")
        await trio.sleep_forever()
    assert trio.current_time() == 1
    assert str(ctx.cause) == "cancel"


async def test_a_stop_after_a_cancel_changes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The context has ended already."""
    with with_cancel(background()) as ctx:
        ctx.cancel("cancel")
        ctx.stop("stop", grace=0)
        await trio.sleep_forever()
    assert str(ctx.cause) == "cancel"


@pytest.mark.parametrize("looked_at", [False, True])
@pytest.mark.parametrize("by", ["itself", "its parent", "a failure"])
async def test_what_ended_first_stays_the_end_at_the_same_instant(
    by: str, looked_at: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """A stop without grace after an end changes nothing, whether somebody looked before or not."""
    error = OSError()
    with with_cancel(background()) as parent:
        ctx = with_cancel(parent)
        try:
            with ctx:
                if by == "a failure":
                    raise error
                (ctx if by == "itself" else parent).cancel(error)
                if looked_at:
                    assert ctx.cause is error
                ctx.stop("stop", grace=0)
                await trio.sleep_forever()
        except OSError:
            pass
        ctx.stop("stop", grace=0)
    assert ctx.cause is error


async def test_cancel_implies_stopping(autojump_clock: trio.testing.MockClock) -> None:
    """For the context and for all below, and it ends their regions."""
    ended: list[float] = []
    async with trio.open_nursery() as nursery:
        ctx = with_cancel(background())
        linked = await nursery.start(elsewhere, with_cancel(ctx))
        nursery.start_soon(until_stopped, ctx, ended)
        nursery.start_soon(until_stopped, linked, ended)
        await trio.sleep(1)
        assert not linked.stopping
        ctx.cancel()
        assert ctx.stopping
        assert linked.stopping
        assert with_cancel(ctx).stopping
        await ctx.wait_stopping()
    assert ended == [1, 1]


async def test_a_deadline_implies_stopping(autojump_clock: trio.testing.MockClock) -> None:
    """`stopping` is true once a context has ended, and `wait_stopping()` returns."""
    ctx = with_timeout(background(), 3)
    child = with_cancel(ctx)
    await child.wait_stopping()
    assert trio.current_time() == 3
    assert ctx.stopping
    assert child.stopping


@pytest.mark.parametrize("how", ["with", "async with", "value"])
async def test_closing_implies_stopping(how: str, autojump_clock: trio.testing.MockClock) -> None:
    """`stopping` is true once a context is closed, for what is derived from it too."""
    ctx = with_value(background(), USER, "x") if how == "value" else with_cancel(background())
    child = with_cancel(ctx)
    if how == "async with":
        async with ctx:
            assert not ctx.stopping
    else:
        with ctx:
            assert not ctx.stopping
    assert ctx.stopping
    assert child.stopping
    await ctx.wait_stopping()
    await child.wait_stopping()


async def test_a_plain_trio_cancellation_implies_stopping(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also one that came about without trioctx."""
    with with_cancel(background()) as ctx:
        ctx.cancel_scope.cancel()
        assert ctx.stopping


async def test_stopping_stays(autojump_clock: trio.testing.MockClock) -> None:
    """Once true it stays true, also after the block."""
    with with_cancel(background()) as ctx:
        with with_cancel(ctx) as inner:
            ctx.stop(grace=None)
        assert inner.stopping
    assert ctx.stopping
    assert ctx.err is None


# --- before entering, after leaving ---------------------------------------------------------------


@pytest.mark.parametrize("how", ["with", "async with"])
async def test_a_stop_before_entering_counts(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    """The grace runs from the stop, is part of `deadline`, and ends the block."""
    ctx = with_cancel(background())
    ctx.stop("early", grace=3)
    assert ctx.stopping
    assert ctx.deadline == 3
    assert ctx.remaining() == 3
    await trio.sleep(1)
    if how == "with":
        with ctx:
            await until_stopped(ctx, [])
            assert trio.current_time() == 1
            await trio.sleep_forever()
    else:
        async with ctx:
            await trio.sleep_forever()
    assert trio.current_time() == 3
    assert type(ctx.err) is ContextCancelled
    assert str(ctx.cause) == "early"


async def test_entered_after_the_grace(autojump_clock: trio.testing.MockClock) -> None:
    """Never entered it ends all the same; entered late it is born cancelled."""
    ctx = with_cancel(background())
    ctx.stop("early", grace=3)
    await ctx.wait_done()
    assert trio.current_time() == 3
    assert type(ctx.err) is ContextCancelled
    with ctx:
        await trio.sleep_forever()
    assert str(ctx.cause) == "early"


async def test_a_child_of_a_stopped_context_entered_late(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Derived before the stop, entered after it, the grace ends it too."""
    ctx = with_cancel(background())
    child = with_cancel(ctx)
    ctx.stop("early", grace=3)
    await trio.sleep(1)
    with pytest.raises(ContextCancelled) as info:
        with child:
            assert child.stopping
            assert child.deadline == 3
            await trio.sleep_forever()
    assert info.value.context is ctx
    assert trio.current_time() == 3


async def test_a_stop_on_a_closed_context_has_no_effect(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nothing is told any more, and nothing ends."""
    with with_cancel(background()) as ctx:
        pass
    deadline = ctx.deadline
    ctx.stop("late", grace=0)
    assert ctx.err is None
    assert ctx.cause is None
    assert ctx.deadline == deadline


def test_a_stop_outside_a_run() -> None:
    """A context made outside any run can be stopped without a grace; a grace needs a clock."""
    ctx = with_cancel(background())
    child = with_cancel(ctx)
    with pytest.raises(RuntimeError, match="grace"):
        ctx.stop(grace=1)
    assert not ctx.stopping
    ctx.stop(grace=None)
    assert ctx.stopping
    assert child.stopping
    assert ctx.err is None


@pytest.mark.parametrize("make", [background, trioctx.todo])
def test_a_root_is_never_stopped(make: Callable[[], Context]) -> None:
    """A RuntimeError that says what to make."""
    with pytest.raises(RuntimeError, match="with_cancel"):
        make().stop(grace=None)
    assert not make().stopping


# --- from threads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("linked", [False, True])
async def test_a_stop_from_a_thread(linked: bool, mock_clock: trio.testing.MockClock) -> None:
    """Counts at once in the thread, and wakes the tasks that wait."""
    seen: list[bool] = []
    done = trio.Event()

    def thread() -> None:
        ctx.stop("from a thread", grace=5)
        seen.append(ctx.stopping)
        seen.append(child.stopping)

    async def region(watched: Context) -> None:
        with watched.until_stopping():
            await trio.sleep_forever()
        done.set()

    async with trio.open_nursery() as nursery:
        ctx = with_cancel(background())
        child = with_cancel(ctx)
        nursery.start_soon(region, child if linked else ctx)
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(thread)
        await done.wait()
    assert seen == [True, True]
    assert ctx.deadline == 5


async def test_a_grace_from_a_thread_ends_the_block(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Phase two of a stop from a thread."""
    with with_cancel(background()) as ctx:
        await trio.to_thread.run_sync(lambda: ctx.stop("from a thread", grace=5))
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_effective_deadline() == 5
        mock_clock.jump(6)
        await trio.sleep_forever()
    assert str(ctx.cause) == "from a thread"


# --- until_stopping -------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["stop", "cancel"])
@pytest.mark.parametrize("entered", ["new", "open elsewhere", "own"])
async def test_a_region_ends_quietly(
    end: str, entered: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Of a context that is not entered, open in another task, or around the region itself."""
    log: list[float] = []

    def finish() -> None:
        if end == "stop":
            ctx.stop(grace=10)
        else:
            ctx.cancel()

    async def later() -> None:
        await trio.sleep(1)
        finish()

    async with trio.open_nursery() as nursery:
        ctx = with_cancel(background())
        nursery.start_soon(later)
        if entered == "own":
            with ctx:
                await until_stopped(ctx, log)
                await trio.sleep(1)
            assert log == ([1] if end == "stop" else [])
        else:
            if entered == "open elsewhere":
                await nursery.start(elsewhere, ctx)
            await until_stopped(ctx, log)
            assert log == [1]
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["stopped", "cancelled", "closed", "expired"])
async def test_a_region_of_a_context_that_is_stopping_already(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    """It ends at its first checkpoint, and the code before that runs."""
    ctx = with_timeout(background(), 0) if how == "expired" else with_cancel(background())
    if how == "stopped":
        ctx.stop(grace=None)
    elif how == "cancelled":
        ctx.cancel()
    elif how == "closed":
        with ctx:
            pass
    steps: list[str] = []
    with ctx.until_stopping():
        steps.append("before")
        await trio.lowlevel.checkpoint()
        steps.append("after")
    assert steps == ["before"]


async def test_a_region_that_is_left_in_time(autojump_clock: trio.testing.MockClock) -> None:
    """Left before the stop it does nothing; afterwards the stop does nothing to what follows."""
    with with_cancel(background()) as ctx:
        with ctx.until_stopping():
            await trio.sleep(1)
        ctx.stop(grace=None)
        await trio.sleep(1)
    assert trio.current_time() == 2


async def test_a_region_without_a_checkpoint(autojump_clock: trio.testing.MockClock) -> None:
    """A body that never waits is not interrupted."""
    with with_cancel(background()) as ctx:
        ctx.stop(grace=None)
        with ctx.until_stopping():
            pass
        await trio.lowlevel.checkpoint()


async def test_regions_nest(autojump_clock: trio.testing.MockClock) -> None:
    """Of one context the outer one ends with the inner; of two each ends with its own."""
    log: list[str] = []
    outer, inner = with_cancel(background()), with_cancel(background())

    async def stops() -> None:
        await trio.sleep(1)
        inner.stop(grace=None)
        await trio.sleep(1)
        outer.stop(grace=None)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stops)
        with outer.until_stopping():
            with outer.until_stopping():
                with inner.until_stopping():
                    await trio.sleep_forever()
                log.append(f"inner {trio.current_time():g}")
                await trio.sleep_forever()
            log.append("never")
        log.append(f"outer {trio.current_time():g}")
    assert log == ["inner 1", "outer 2"]


async def test_a_region_passes_errors_on(autojump_clock: trio.testing.MockClock) -> None:
    """An error in the region is raised, also while it is being ended."""
    with with_cancel(background()) as ctx:
        with pytest.raises(OSError):
            with ctx.until_stopping():
                raise OSError
        with pytest.raises(OSError):
            with ctx.until_stopping():
                ctx.stop(grace=None)
                try:
                    await trio.sleep_forever()
                finally:
                    raise OSError


async def test_the_cancellation_of_an_enclosing_block_passes_through_a_region(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A cancel of the block itself is not swallowed by a region in it."""
    steps: list[str] = []
    with with_cancel(background()) as ctx:
        with ctx.until_stopping():
            ctx.cancel()
            await trio.sleep_forever()
        steps.append("after the region")
    assert steps == []
    with pytest.raises(DeadlineExceeded):
        with with_timeout(background(), 1) as ctx:
            with ctx.until_stopping():
                await trio.sleep_forever()
            steps.append("after the region")
    assert steps == []


async def test_a_region_holds_a_nursery(autojump_clock: trio.testing.MockClock) -> None:
    """Tasks in a region end with it."""
    ended: list[float] = []

    async def accept() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async with with_cancel(background()) as ctx:
        ctx.start_soon(stop_later, ctx, 1, 10)
        with ctx.until_stopping():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept)
                nursery.start_soon(accept)
        await trio.sleep(2)
    assert ended == [1, 1]
    assert trio.current_time() == 3


async def test_a_region_is_entered_once(autojump_clock: trio.testing.MockClock) -> None:
    """A second time is a RuntimeError, also while it is open; then it still ends as it should."""
    ctx = with_cancel(background())
    region = ctx.until_stopping()
    with region:
        with pytest.raises(RuntimeError):
            region.__enter__()
        ctx.stop(grace=None)
        await trio.sleep_forever()
    with pytest.raises(RuntimeError):
        with region:
            pass


async def test_a_region_of_a_root_never_ends(autojump_clock: trio.testing.MockClock) -> None:
    """background() is never stopping."""
    with trio.move_on_after(5) as scope:
        with background().until_stopping():
            await trio.sleep_forever()
    assert scope.cancelled_caught


def test_a_region_outside_a_run() -> None:
    """A RuntimeError on entry."""
    with pytest.raises(RuntimeError, match=r"trio\.run"):
        with background().until_stopping():
            pass


async def test_an_accept_loop(autojump_clock: trio.testing.MockClock) -> None:
    """The use it is made for: no new work after the stop, what has begun is finished."""
    log: list[str] = []
    send, receive = trio.open_memory_channel[int](0)

    async def handle(number: int) -> None:
        await trio.sleep(2)
        log.append(f"done {number}")

    async def clients() -> None:
        for number in range(10):
            await send.send(number)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(clients)
        async with with_cancel(background()) as ctx:
            ctx.start_soon(stop_later, ctx, 2.5, 10)
            with ctx.until_stopping():
                async for number in receive:
                    ctx.start_soon(handle, number)
        assert trio.current_time() == 4
        nursery.cancel_scope.cancel()
    assert log == ["done 0", "done 1", "done 2"]


# --- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["wait_done", "wait_stopping"])
@pytest.mark.parametrize("how", ["cancelled", "closed", "expired"])
async def test_waiting_for_what_has_happened(
    method: str, how: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Returns at once, and is a checkpoint all the same."""
    ctx = with_timeout(background(), 0) if how == "expired" else with_cancel(background())
    if how == "cancelled":
        ctx.cancel()
    elif how == "closed":
        with ctx:
            pass
    with trio.testing.assert_checkpoints():
        await getattr(ctx, method)()
    assert trio.current_time() == 0


@pytest.mark.parametrize("method", ["wait_done", "wait_stopping"])
@pytest.mark.parametrize(
    ("how", "state"),
    [
        *itertools.product(["cancel", "deadline", "parent", "linked deadline"], ["new", "open"]),
        ("closed", "open"),
    ],
)
async def test_waiting_for_an_end(
    method: str, how: str, state: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Wakes at the moment it comes."""
    woken: list[float] = []

    async def wait() -> None:
        await getattr(ctx, method)()
        woken.append(trio.current_time())

    parent = with_timeout(background(), 1 if how == "linked deadline" else math.inf)
    ctx = with_timeout(parent, 1 if how == "deadline" else math.inf)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        if state == "open":
            await nursery.start(elsewhere, ctx)
        await trio.sleep(1)
        if how == "cancel":
            ctx.cancel()
        elif how == "parent":
            parent.cancel()
        elif how == "closed":
            ctx.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert woken == [1]
        nursery.cancel_scope.cancel()


async def test_wait_done_does_not_return_for_a_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A stop is no end; that of its grace is."""
    ctx = with_cancel(background())
    ctx.stop(grace=4)
    await ctx.wait_stopping()
    assert trio.current_time() == 0
    assert not ctx.done
    await ctx.wait_done()
    assert trio.current_time() == 4


async def test_wait_done_of_a_stop_during_the_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The grace of a stop wakes one that waits already, also through a link."""
    woken: list[float] = []

    async def wait(waited_for: Context) -> None:
        await waited_for.wait_done()
        woken.append(trio.current_time())

    ctx = with_cancel(background())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, ctx)
        nursery.start_soon(wait, with_cancel(ctx))
        await stop_later(ctx, 1, 3)
    assert woken == [4, 4]


@pytest.mark.parametrize("method", ["wait_done", "wait_stopping"])
async def test_waiting_for_a_root_is_for_ever(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """background() never ends; the wait itself can be cancelled."""
    with trio.move_on_after(5) as scope:
        await getattr(background(), method)()
    assert scope.cancelled_caught


@pytest.mark.parametrize("method", ["wait_done", "wait_stopping"])
async def test_a_wait_that_is_cancelled_leaves_nothing(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A wait given up goes on neither in the context nor in what comes later."""
    ctx = with_cancel(background())
    with trio.move_on_after(1):
        await getattr(ctx, method)()
    ctx.cancel()
    await trio.sleep(1)
    assert trio.current_time() == 2


@pytest.mark.parametrize("method", ["wait_done", "wait_stopping"])
async def test_inside_its_own_block_the_cancellation_comes_first(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Trio's `Cancelled` ends the wait."""
    steps: list[str] = []
    with with_cancel(background()) as ctx:
        ctx.cancel()
        await getattr(ctx, method)()
        steps.append("woken")
    assert steps == []


@pytest.mark.parametrize("what", ["wait_done", "run_in_thread", "until_stopping"])
def test_an_unentered_child_of_a_block_that_moves(what: str) -> None:
    """After `started()` the caller's deadline is no end of what waits for a child made before."""
    limited = Limited()
    woken: list[str] = []

    async def task(*, task_status: trio.TaskStatus[None]) -> None:
        with with_cancel(current()) as own:
            child = with_cancel(own)
            task_status.started()
            with trio.move_on_after(10):
                if what == "wait_done":
                    await child.wait_done()
                elif what == "run_in_thread":
                    await child.run_in_thread(lambda: None)
                    return
                else:
                    with child.until_stopping():
                        await trio.sleep_forever()
                woken.append(what)

    async def main() -> None:
        with limited.scope:
            async with trio.open_nursery() as older:
                try:
                    with with_timeout(background(), 5):
                        await older.start(task)
                        await trio.sleep_forever()
                except DeadlineExceeded:
                    pass
                await trio.sleep(20)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[limited])
    assert not limited.scope.cancelled_caught
    assert woken == []


@pytest.mark.parametrize("bad", [-1, math.nan, True, "5", object()], ids=repr)
async def test_a_wrong_grace(bad: Any, autojump_clock: trio.testing.MockClock) -> None:
    """An error at the call that names it, and nothing is stopped."""
    ctx = with_cancel(background())
    with pytest.raises((TypeError, ValueError), match="grace"):
        ctx.stop(grace=bad)
    assert not ctx.stopping
