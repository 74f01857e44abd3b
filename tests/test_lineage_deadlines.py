"""Deadlines and their owners; of several ends the first in time."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
import trio
from blocks import WHY, Derive, cancelled, ended, every_way, exceeded
from trio.testing import MockClock

import trioctx

# --- deadlines -----------------------------------------------------------------------------------


async def test_the_clock_of_a_timeout_starts_at_the_call(autojump_clock: MockClock) -> None:
    """Fixed when the context is made, not when it is entered."""
    ctx = trioctx.with_timeout(trioctx.background(), 5)
    assert ctx.deadline == trio.current_time() + 5
    await trio.sleep(2)
    assert ctx.remaining() == 3
    with ctx:
        assert ctx.remaining() == 3
        assert trio.current_effective_deadline() == ctx.deadline


@pytest.mark.parametrize("offset", [-math.inf, -5, -1e-9, 0])
async def test_a_deadline_that_has_passed_is_born_expired(
    offset: float, autojump_clock: MockClock
) -> None:
    """Ended at once; its deadline is what was asked for, before, inside and after its block."""
    await trio.sleep(10)
    deadline = trio.current_time() + offset
    ctx = trioctx.with_deadline(trioctx.background(), deadline, cause=WHY)
    assert ended(ctx) == exceeded(ctx, WHY)
    assert ctx.deadline == deadline
    assert ctx.remaining() == 0
    with pytest.raises(trioctx.DeadlineExceeded):
        with ctx:
            assert ctx.deadline == deadline
            await trio.lowlevel.checkpoint()
    assert ctx.deadline == deadline


@pytest.mark.parametrize("form", ["with", "async with"])
async def test_a_zero_timeout_ends_at_the_first_checkpoint(
    form: str, autojump_clock: MockClock
) -> None:
    """Born expired, in both forms."""
    ctx = trioctx.with_timeout(trioctx.background(), 0)
    with pytest.raises(trioctx.DeadlineExceeded):
        if form == "with":
            with ctx:
                await trio.lowlevel.checkpoint()
        else:
            async with ctx:
                await trio.lowlevel.checkpoint()


async def test_infinity_is_no_deadline(autojump_clock: MockClock) -> None:
    """math.inf as timeout and as deadline: nothing of its own."""
    for ctx in (
        trioctx.with_timeout(trioctx.background(), math.inf),
        trioctx.with_deadline(trioctx.background(), math.inf),
        trioctx.with_cancel(trioctx.background()),
    ):
        assert ctx.deadline == math.inf
        assert ctx.remaining() == math.inf
        with ctx:
            await trio.sleep(80_000)
            assert ctx.remaining() == math.inf


@pytest.mark.parametrize(("own", "parents"), [(3, 5), (5, 3), (4, 4), (math.inf, 3)])
async def test_the_deadline_is_the_minimum_with_the_parents(
    own: float, parents: float, autojump_clock: MockClock
) -> None:
    """Not entered, linked and enclosed; and err names the owner, the outer one where equal."""
    start = trio.current_time()
    parent = trioctx.with_timeout(trioctx.background(), parents, cause="parent")
    ctx = trioctx.with_timeout(trioctx.with_cancel(parent), own, cause=WHY)
    enclosed = trioctx.with_timeout(parent, own, cause=WHY)
    assert ctx.deadline == enclosed.deadline == start + min(own, parents)
    with pytest.raises(trioctx.DeadlineExceeded):
        with parent:
            with enclosed:
                assert enclosed.deadline == start + min(own, parents)
                await trio.sleep_forever()
    await trio.sleep(10)
    for one in (ctx, enclosed):
        assert ended(one) == (
            exceeded(one, WHY) if own < parents else exceeded(parent, parent.cause)
        )


@pytest.mark.parametrize(("own", "outers"), [(3, 5), (5, 3), (4, 4)])
async def test_the_deadline_is_the_minimum_with_the_enclosing_contexts(
    own: float, outers: float, autojump_clock: MockClock
) -> None:
    """Once open; before that, and for whom it is no parent, the block around says nothing."""
    start = trio.current_time()
    outer = trioctx.with_timeout(trioctx.background(), outers)
    with pytest.raises(trioctx.DeadlineExceeded) as caught:
        with outer:
            ctx = trioctx.with_timeout(trioctx.background(), own)
            assert ctx.deadline == start + own
            with ctx:
                assert ctx.deadline == start + min(own, outers)
                assert ctx.remaining() == min(own, outers)
                await trio.sleep_forever()
    owner = ctx if own < outers else outer
    assert caught.value.context is owner
    assert ended(ctx) == exceeded(owner)


async def test_remaining_is_never_negative(autojump_clock: MockClock) -> None:
    """0 once the deadline has passed."""
    ctx = trioctx.with_timeout(trioctx.background(), 2)
    await trio.sleep(0.5)
    assert ctx.remaining() == 1.5
    await trio.sleep(10)
    assert ctx.remaining() == 0
    assert trioctx.background().remaining() == math.inf


@pytest.mark.parametrize("order", ["stop, enter", "enter, stop"])
async def test_a_deadline_includes_the_end_of_a_grace(
    order: str, autojump_clock: MockClock
) -> None:
    """Of its own stop, before entering too, and of one above; it ends as cancelled."""
    start = trio.current_time()
    ctx = trioctx.with_timeout(trioctx.background(), 10)
    if order == "stop, enter":
        ctx.stop(WHY, grace=3)
        assert ctx.deadline == start + 3
        assert trioctx.with_cancel(ctx).deadline == start + 3
    with ctx:
        with trioctx.with_cancel(ctx) as inner:
            if order == "enter, stop":
                ctx.stop(WHY, grace=3)
            assert ctx.deadline == inner.deadline == start + 3
            assert not inner.cancelled
            await trio.sleep_forever()
    assert trio.current_time() == start + 3
    assert ended(ctx) == ended(inner) == cancelled(ctx, WHY)


async def test_an_aware_datetime_is_a_deadline(autojump_clock: MockClock) -> None:
    """Of any time zone; converted at the call."""
    for zone in (UTC, timezone(timedelta(hours=9, minutes=30))):
        when = datetime.now(zone) + timedelta(seconds=60)
        ctx = trioctx.with_deadline(trioctx.background(), when)
        assert 50 < ctx.remaining() <= 60
    past = datetime.now(UTC) - timedelta(days=1)
    assert trioctx.with_deadline(trioctx.background(), past).cancelled
    with pytest.raises(ValueError, match="aware"):
        trioctx.with_deadline(trioctx.background(), datetime(2030, 1, 1))


# --- what happened first -------------------------------------------------------------------------


@pytest.mark.parametrize("looks", [True, False])
@every_way
async def test_a_parents_cancel_before_the_deadline_stays(
    derive: Derive, looks: bool, autojump_clock: MockClock
) -> None:
    """Parent cancelled at t=4, own deadline t=5, looked at t=6: ContextCancelled by the parent."""
    parent = trioctx.with_cancel(trioctx.background())
    ctx = trioctx.with_timeout(derive(parent), 5)
    await trio.sleep(4)
    parent.cancel(WHY)
    if looks:
        assert ended(ctx) == cancelled(parent, WHY)
    await trio.sleep(2)
    assert ended(ctx) == cancelled(parent, WHY)


@pytest.mark.parametrize("entered_at", [0, 4.5, 6])
async def test_a_parents_cancel_stays_first_when_the_child_is_entered_under_it(
    entered_at: float, autojump_clock: MockClock
) -> None:
    """Parent cancelled at t=4, own deadline t=5: whenever it is entered, in the parent's block."""
    with trioctx.with_cancel(trioctx.background()) as parent:
        ctx = trioctx.with_timeout(parent, 5)
        with trio.CancelScope(shield=True):
            if entered_at > 4:
                await trio.sleep(4)
                parent.cancel(WHY)
                await trio.sleep(entered_at - 4)
            with ctx:
                if entered_at <= 4:
                    await trio.sleep(4)
                    parent.cancel(WHY)
                assert ended(ctx) == cancelled(parent, WHY)
        await trio.sleep_until(6)
    assert ended(ctx) == cancelled(parent, WHY)


async def test_an_enclosing_end_counts_from_the_entry(autojump_clock: MockClock) -> None:
    """Around a context of another lineage: cancelled at t=1, own end t=2, entered t=3: its own."""
    with trioctx.with_cancel(trioctx.background()) as outer:
        ctx = trioctx.with_timeout(trioctx.background(), 2)
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
            outer.cancel()
            await trio.sleep(2)
        with ctx:
            assert ended(ctx) == exceeded(ctx)
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("looks", [True, False])
@every_way
async def test_a_deadline_before_the_parents_cancel_stays(
    derive: Derive, looks: bool, autojump_clock: MockClock
) -> None:
    """Own deadline t=3, parent cancelled at t=4: DeadlineExceeded."""
    parent = trioctx.with_cancel(trioctx.background())
    ctx = trioctx.with_timeout(derive(parent), 3, cause=WHY)
    await trio.sleep(3.5)
    if looks:
        assert ctx.cancelled
    await trio.sleep(0.5)
    parent.cancel("later")
    ctx.cancel("later")
    assert ended(ctx) == exceeded(ctx, WHY)


@pytest.mark.parametrize("whose", ["own", "parent's", "enclosing"])
async def test_at_the_same_instant_the_deadline_wins(whose: str, autojump_clock: MockClock) -> None:
    """cancel() at t=5, deadline t=5: DeadlineExceeded."""
    parent = trioctx.with_cancel(trioctx.background())
    ctx = trioctx.with_timeout(trioctx.background() if whose == "own" else parent, 5)
    seen = []
    if whose == "enclosing":
        with parent:
            with ctx:
                with trio.CancelScope(shield=True):
                    await trio.sleep(5)
                parent.cancel()
                seen.append(ended(ctx))
    else:
        await trio.sleep(5)
        (ctx if whose == "own" else parent).cancel()
        seen.append(ended(ctx))
    assert [*seen, ended(ctx)] == [exceeded(ctx)] * 2


async def test_at_the_same_instant_the_deadline_wins_over_the_grace(
    autojump_clock: MockClock,
) -> None:
    """A grace that ends when the deadline passes: DeadlineExceeded, raised by the block."""
    ctx = trioctx.with_timeout(trioctx.background(), 5)
    with pytest.raises(trioctx.DeadlineExceeded):
        with ctx:
            ctx.stop(grace=5)
            await trio.sleep_forever()
    assert ended(ctx) == exceeded(ctx)


async def test_at_the_same_instant_a_linked_deadline_wins_over_an_own_cancel(
    autojump_clock: MockClock,
) -> None:
    """cancel() at t=5, a linked parent's deadline t=5: the block raises DeadlineExceeded."""
    parent = trioctx.with_timeout(trioctx.background(), 5)
    ctx = trioctx.with_cancel(parent)
    with pytest.raises(trioctx.DeadlineExceeded) as caught:
        with ctx:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
            ctx.cancel()
            await trio.sleep_forever()
    assert caught.value.context is parent
    assert ended(ctx) == exceeded(parent)


async def test_of_equal_deadlines_the_outermost_is_the_owner(autojump_clock: MockClock) -> None:
    """In a chain of blocks and in one that was never entered, and it alone raises."""
    a = trioctx.with_timeout(trioctx.background(), 5, cause="a")
    b = trioctx.with_timeout(a, 5, cause="b")
    c = trioctx.with_timeout(b, 5, cause="c")
    never = trioctx.with_timeout(b, 5)
    with pytest.raises(trioctx.DeadlineExceeded) as caught:
        with a:
            with b:
                with c:
                    await trio.sleep_forever()
    assert caught.value.context is a
    assert [ended(one) for one in (a, b, c, never)] == [exceeded(a, a.cause)] * 4


async def test_the_first_of_two_cancels_in_one_instant_wins(autojump_clock: MockClock) -> None:
    """Time alone does not tell them apart; their order does."""
    parent = trioctx.with_cancel(trioctx.background())
    first, second = trioctx.with_cancel(parent), trioctx.with_cancel(parent)
    first.cancel("first")
    parent.cancel(WHY)
    second.cancel("late")
    assert ended(first) == cancelled(first, first.cause)
    assert str(first.cause) == "first"
    assert ended(second) == cancelled(parent, WHY)
