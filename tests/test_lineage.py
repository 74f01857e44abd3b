"""Lineage: whether, by whom and why a context has ended."""

from __future__ import annotations

import math
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from blocks import VAR, WHY, Derive, Oops, as_values, cancelled, ended, every_way, exceeded
from trio.testing import MockClock

import trioctx

# --- born cancelled, born of a closed parent -----------------------------------------------------


@every_way
async def test_what_is_derived_from_a_cancelled_context_is_born_cancelled(
    derive: Derive, autojump_clock: MockClock
) -> None:
    """With its cause; closed or not."""
    parent = trioctx.with_cancel(trioctx.background())
    parent.cancel(WHY)
    assert ended(derive(parent)) == cancelled(parent, WHY)
    with parent:
        assert ended(derive(parent)) == cancelled(parent, WHY)
    assert ended(derive(parent)) == cancelled(parent, WHY)


@every_way
async def test_what_is_derived_from_an_expired_context_is_born_expired(
    derive: Derive, autojump_clock: MockClock
) -> None:
    """As its parent: DeadlineExceeded, with the owner's cause."""
    parent = trioctx.with_timeout(trioctx.background(), 1, cause=WHY)
    await trio.sleep(2)
    assert ended(derive(parent)) == exceeded(parent, WHY)


async def test_without_cancel_is_not_born_cancelled(autojump_clock: MockClock) -> None:
    """The exception to the rule: nothing passes, whatever became of the parent."""
    parent = trioctx.with_timeout(trioctx.background(), 1)
    await trio.sleep(2)
    child = trioctx.without_cancel(parent)
    assert ended(child) is None
    assert ended(trioctx.with_cancel(child)) is None
    assert child.deadline == math.inf


@every_way
async def test_what_is_derived_from_a_closed_context_is_born_cancelled(
    derive: Derive, autojump_clock: MockClock
) -> None:
    """A ContextCancelled by the closed parent, whose cause is a ContextClosed."""
    with trioctx.with_timeout(trioctx.background(), 5) as parent:
        pass
    await trio.sleep(10)
    child = derive(parent)
    assert isinstance(child.cause, trioctx.ContextClosed)
    assert ended(child) == cancelled(parent, child.cause)
    assert child.cause.context is parent
    assert child.done
    assert ended(parent) is None


async def test_a_closed_value_context_counts_as_closed() -> None:
    """Also one whose block had no scope."""
    with trioctx.with_value(trioctx.background(), VAR, "x") as parent:
        pass
    child = trioctx.with_cancel(parent)
    assert isinstance(child.cause, trioctx.ContextClosed)
    assert ended(child) == cancelled(parent, child.cause)


async def test_a_block_that_closed_first_has_no_err_for_ever(autojump_clock: MockClock) -> None:
    """Neither its deadline, nor a cancel of it or above it, changes that."""
    outer = trioctx.with_timeout(trioctx.background(), 9)
    with outer:
        with trioctx.with_timeout(outer, 5) as inner:
            await trio.sleep(1)
    inner.cancel("late")
    inner.stop("late", grace=0)
    outer.cancel("late")
    await trio.sleep(10)
    assert ended(inner) is None
    assert ended(outer) is None
    assert inner.done
    inner.check()


# --- causes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [None, "text", WHY, KeyboardInterrupt("ctrl-c")])
async def test_a_cause_is_an_exception_a_text_or_none(given: BaseException | str | None) -> None:
    """A str becomes ContextCancelled(text), for cancel, stop and a deadline; an exception stays."""
    by_cancel = trioctx.with_cancel(trioctx.background())
    by_stop = trioctx.with_cancel(trioctx.background())
    by_deadline = trioctx.with_timeout(trioctx.background(), 0, cause=given)
    by_cancel.cancel(given)
    by_stop.stop(given, grace=0)
    for ctx in (by_cancel, by_stop, by_deadline):
        assert ctx.cancelled
        if isinstance(given, str):
            assert type(ctx.cause) is trioctx.ContextCancelled
            assert str(ctx.cause) == given
        else:
            assert ctx.cause is given
        with pytest.raises(trioctx.ContextError) as caught:
            ctx.check()
        assert caught.value.__cause__ is ctx.cause


@pytest.mark.parametrize("wrong", [Oops, 5, True, b"text"])
def test_another_cause_is_refused(wrong: object) -> None:
    """A class is no exception yet; nothing has happened then."""
    ctx = trioctx.with_cancel(trioctx.background())
    cancel: Callable[[Any], None] = ctx.cancel
    with pytest.raises(TypeError, match="cause"):
        cancel(wrong)
    assert ended(ctx) is None


async def test_cancel_is_idempotent_and_the_first_wins(autojump_clock: MockClock) -> None:
    """The second call changes nothing, also later in time."""
    ctx = trioctx.with_cancel(trioctx.background())
    ctx.cancel(WHY)
    ctx.cancel("second")
    await trio.sleep(1)
    ctx.cancel()
    assert ended(ctx) == cancelled(ctx, WHY)


async def test_the_first_without_a_cause_wins_too() -> None:
    """A cause that comes later does not fill it in."""
    ctx = trioctx.with_cancel(trioctx.background())
    ctx.cancel()
    ctx.cancel("second")
    assert ended(ctx) == cancelled(ctx)


async def test_a_cancel_during_the_grace_brings_its_own_cause(autojump_clock: MockClock) -> None:
    """The first stop's cause stays that of the stop; a cancel before its end comes first."""
    with trioctx.with_cancel(trioctx.background()) as ctx:
        ctx.stop("stop", grace=5)
        ctx.stop("again", grace=4)
        await trio.sleep(1)
        ctx.cancel(WHY)
        await trio.sleep_forever()
    assert ended(ctx) == cancelled(ctx, WHY)


async def test_the_first_stop_gives_the_cause(autojump_clock: MockClock) -> None:
    """A second stop can shorten the grace; the cause is the first one's."""
    with trioctx.with_cancel(trioctx.background()) as ctx:
        ctx.stop(WHY, grace=5)
        ctx.stop("again", grace=3)
        ctx.stop("and again", grace=8)
        await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(3)
    assert ended(ctx) == cancelled(ctx, WHY)


@every_way
async def test_a_parent_never_takes_over_its_childs_cancellation(derive: Derive) -> None:
    """What ends a child leaves its parent and its siblings alone."""
    parent = trioctx.with_cancel(trioctx.background())
    child, sibling = trioctx.with_cancel(derive(parent)), trioctx.with_cancel(parent)
    child.cancel(WHY)
    assert ended(parent) is None
    assert ended(sibling) is None
    with parent:
        with trioctx.with_cancel(parent) as inner:
            inner.cancel(WHY)
            await trio.sleep_forever()
        assert ended(parent) is None
        await trio.lowlevel.checkpoint()
    assert ended(parent) is None


@pytest.mark.parametrize("service", [True, False])
async def test_a_failing_child_is_the_cause_before_its_siblings_are_told(service: bool) -> None:
    """The siblings see cause and err when they are cancelled, as with Go's errgroup."""
    seen: list[object] = []
    told: list[str | None] = []

    async def sibling(ctx: trioctx.Context) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            seen.append(ended(ctx))
            told.append(exc.reason)
            raise

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise WHY

    with pytest.raises(ExceptionGroup) as caught:
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            ctx.start_soon(sibling, ctx)
            start: Callable[[Callable[[], Awaitable[None]]], None] = (
                ctx.start_service if service else ctx.start_soon
            )
            start(fail)
            await sibling(ctx)
    assert caught.value.exceptions == (WHY,)
    assert seen == [cancelled(ctx, WHY)] * 2
    assert [reason is not None and "why" in reason for reason in told] == [True] * 2


async def test_of_a_failing_group_the_first_other_leaf_is_the_cause() -> None:
    """Depth first, in order; a Cancelled among them does not count."""
    group: list[BaseExceptionGroup[BaseException]] = []

    async def child() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as exc:
                one = BaseExceptionGroup("one", [exc, ExceptionGroup("two", [WHY, ValueError()])])
                group.append(one)
        raise group[0]

    with pytest.raises(BaseExceptionGroup):
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            ctx.start_soon(child)
    assert ctx.cause is WHY


async def test_a_failing_body_ends_its_children_with_its_error() -> None:
    """The body's exception is the cause, recorded before the children are told."""
    seen: list[object] = []

    async def child(ctx: trioctx.Context) -> None:
        try:
            await trio.sleep_forever()
        finally:
            seen.append(ended(ctx))

    with pytest.raises(ExceptionGroup):
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            ctx.start_soon(child, ctx)
            await trio.lowlevel.checkpoint()
            raise WHY
    assert seen == [cancelled(ctx, WHY)]


@pytest.mark.parametrize(
    ("cause", "text"), [(None, None), ("gone", "gone"), (Oops("why"), "why"), (Oops(), "Oops")]
)
@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("early", [True, False])
async def test_the_text_of_the_cause_is_the_cancel_reason(
    cause: BaseException | str | None, text: str | None, linked: bool, early: bool
) -> None:
    """Of a cancel before and after entry, here and in what is linked."""
    parent = trioctx.with_cancel(trioctx.background())
    ctx = trioctx.with_cancel(parent) if linked else parent
    if early:
        parent.cancel(cause)
    with trio.CancelScope(), trioctx.with_cancel(trioctx.background()):
        try:
            with ctx:
                parent.cancel(cause)
                with pytest.raises(trio.Cancelled) as caught:
                    await trio.sleep_forever()
                raise caught.value
        except trioctx.ContextCancelled:
            assert linked
    reason = caught.value.reason
    assert reason is None if text is None else reason is not None and text in reason


# --- threads, and outside any run ----------------------------------------------------------------


async def test_cancel_from_another_thread_ends_the_block() -> None:
    """Recorded at once, delivered soon."""
    with trioctx.with_cancel(trioctx.background()) as ctx:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(ctx.cancel, WHY)
        assert ended(ctx) == cancelled(ctx, WHY)
        await trio.sleep_forever()
    assert ctx.cause is WHY


async def test_many_threads_cancel_and_one_wins() -> None:
    """Whoever was first, all see the same afterwards."""
    ctx = trioctx.with_cancel(trioctx.background())
    seen: set[str] = set()
    go = threading.Barrier(8)

    def end(number: int) -> None:
        go.wait()
        ctx.cancel(str(number))
        seen.add(str(ctx.cause))

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(trio.to_thread.run_sync, end, number)
    assert seen == {str(ctx.cause)}


def test_contexts_work_outside_any_run() -> None:
    """Derived, cancelled and looked at without Trio."""
    parent = trioctx.with_cancel(trioctx.background())
    child = trioctx.with_cancel(as_values(parent))
    assert ended(child) is None
    assert child.deadline == child.remaining() == math.inf
    child.check()
    parent.cancel(WHY)
    child.cancel("late")
    assert ended(child) == cancelled(parent, WHY)
    assert ended(trioctx.with_cancel(child)) == cancelled(parent, WHY)


def chain(top: trioctx.Context, length: int) -> list[trioctx.Context]:
    nodes = [top]
    for _ in range(length):
        nodes.append(trioctx.with_cancel(nodes[-1]))
    return nodes


@pytest.mark.parametrize("end", ["cancel", "deadline", "grace"])
async def test_a_chain_may_be_deep(end: str, autojump_clock: MockClock) -> None:
    """Nothing recurses: 5,000 contexts that are not entered, and a block below them."""
    start = trio.current_time()
    top = trioctx.with_timeout(trioctx.background(), 3 if end == "deadline" else 1000, cause=WHY)
    nodes = chain(top, 5000)
    with pytest.raises(trioctx.ContextError) as caught:
        with nodes[-1] as ctx:
            await trio.sleep(1)
            if end == "cancel":
                top.cancel(WHY)
            elif end == "grace":
                top.stop(WHY, grace=2)
                assert ctx.stopping
            await trio.sleep_forever()
    assert (caught.value.context, caught.value.cause) == (top, WHY)
    assert trio.current_time() == start + (1 if end == "cancel" else 3)


@pytest.mark.parametrize("when", ["before", "inside", "thread"])
def test_a_context_made_outside_a_run_ends_what_is_in_one(when: str) -> None:
    """Cancelled before the run, in it, or from a thread beside it, on a clock that stands still."""

    async def main() -> None:
        ctx = trioctx.with_timeout(parent, 5)
        if when == "before":
            assert ended(ctx) == cancelled(parent, WHY)
        with pytest.raises(trioctx.ContextCancelled) as caught:
            with ctx:
                if when == "inside":
                    parent.cancel(WHY)
                elif when == "thread":
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(parent.cancel, WHY)
                await trio.sleep_forever()
        assert caught.value.context is parent
        assert ended(ctx) == cancelled(parent, WHY)

    parent = trioctx.with_cancel(trioctx.background())
    if when == "before":
        parent.cancel(WHY)
    trio.run(main, clock=MockClock())


def test_a_context_made_outside_can_serve_several_runs() -> None:
    """Never entered, it is a parent in each of them; what a run saw stays true in it."""
    parent = trioctx.with_cancel(trioctx.background())
    kept: list[trioctx.Context] = []

    async def main(cancels: bool) -> None:
        ctx = trioctx.with_timeout(parent, 5, cause="slow")
        kept.append(ctx)
        await trio.sleep(10)
        if cancels:
            parent.cancel(WHY)
        assert ended(ctx) == exceeded(ctx, ctx.cause)

    trio.run(main, False, clock=MockClock(autojump_threshold=0))
    trio.run(main, True, clock=MockClock(autojump_threshold=0))
    assert [type(ctx.err) for ctx in kept] == [trioctx.DeadlineExceeded] * 2
    assert trioctx.with_cancel(parent).cause is WHY


async def test_the_closings_of_one_context_are_equal() -> None:
    """Made for each who asks, so that nothing is kept; in a set they are one."""
    with trioctx.with_cancel(trioctx.background()) as closed:
        pass
    with trioctx.with_cancel(trioctx.background()) as other:
        pass
    causes = {trioctx.with_cancel(closed).cause, trioctx.with_timeout(closed, 1).cause}
    assert len(causes) == 1
    assert trioctx.with_cancel(other).cause not in causes
