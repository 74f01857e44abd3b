"""Shields and cleanup: `without_cancel`, plain Trio shields, and what is linked because of them."""

from __future__ import annotations

import math

import pytest
import trio
from blocks import VAR, WHY, Block, Derive, Oops, both_forms, tells
from trio.testing import MockClock

import trioctx


def itself(ctx: trioctx.Context) -> trioctx.Context:
    return ctx


def with_values(ctx: trioctx.Context) -> trioctx.Context:
    return trioctx.with_value(ctx, VAR, "y")


def merged(ctx: trioctx.Context) -> trioctx.Context:
    return trioctx.merge(ctx, trioctx.with_cancel(trioctx.background()))


def a_chain(ctx: trioctx.Context) -> trioctx.Context:
    return with_values(trioctx.with_cancel(trioctx.with_timeout(ctx, 1000)))


from_a_shield = pytest.mark.parametrize(
    "derive", [itself, trioctx.with_cancel, with_values, merged, a_chain]
)


# --- cleanup ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["cancel", "deadline", "stop", "linked"])
@from_a_shield
@both_forms
async def test_cleanup_runs_in_a_cancelled_block(
    block: Block, derive: Derive, end: str, autojump_clock: MockClock
) -> None:
    """What is derived from without_cancel is shielded too, has the values, and has not ended."""
    start = trio.current_time()
    clean = False
    linked = trioctx.with_cancel(trioctx.background())

    async def goodbye(inner: trioctx.Context) -> None:
        nonlocal clean
        assert VAR.get() == inner[VAR]
        assert VAR.get() in ("x", "y")
        await trio.sleep(5)
        assert inner.err is None
        assert not inner.stopping
        clean = True

    outer = trioctx.with_timeout(linked, 1 if end == "deadline" else 1000)
    try:
        with outer:
            with trioctx.with_value(outer, VAR, "x") as ctx:
                try:
                    if end == "cancel":
                        outer.cancel(WHY)
                    elif end == "stop":
                        outer.stop(WHY, grace=1)
                    elif end == "linked":
                        linked.cancel(WHY)
                    await trio.sleep_forever()
                finally:
                    await block(derive(trioctx.without_cancel(ctx)), goodbye)
    except trioctx.ContextError:
        assert end in ("deadline", "linked")
    assert clean
    assert trio.current_time() == start + (5 if end in ("cancel", "linked") else 6)


@both_forms
async def test_cleanup_can_have_a_limit_of_its_own(block: Block, autojump_clock: MockClock) -> None:
    """with_timeout(without_cancel(ctx), 5): its own deadline, and nothing else, ends it."""
    start = trio.current_time()

    async def body(inner: trioctx.Context) -> None:
        assert inner.deadline == start + 6
        assert trio.current_effective_deadline() == start + 6
        await trio.sleep_forever()

    with trioctx.with_timeout(trioctx.background(), 1) as ctx:
        try:
            with pytest.raises(trio.Cancelled) as cancelled:
                await trio.sleep_forever()
        finally:
            inner = trioctx.with_timeout(trioctx.without_cancel(ctx), 5, cause=WHY)
            with pytest.raises(trioctx.DeadlineExceeded) as caught:
                await block(inner, body)
            assert tells(caught.value) == (trioctx.DeadlineExceeded, inner, WHY)
        assert ctx.cancelled
        with pytest.raises(trio.Cancelled):
            await trio.lowlevel.checkpoint()
        assert cancelled.value is not None


@both_forms
async def test_a_shield_is_ended_by_its_own_cancel(block: Block, autojump_clock: MockClock) -> None:
    """without_cancel is a context like any other in itself, and quiet after cancel()."""

    async def body(ctx: trioctx.Context) -> None:
        ctx.cancel(WHY)
        await trio.sleep_forever()

    ctx = trioctx.without_cancel(trioctx.background())
    await block(ctx, body)
    assert tells(ctx.err) == (trioctx.ContextCancelled, ctx, WHY)


@pytest.mark.parametrize("end", ["cancel", "deadline", "stop", "close"])
async def test_nothing_passes_a_shield(end: str, autojump_clock: MockClock) -> None:
    """Neither cancellation nor deadline, closing or stop: entered elsewhere or never."""
    parent = trioctx.with_timeout(trioctx.background(), 1 if end == "deadline" else 1000)
    never = trioctx.without_cancel(parent)
    with trioctx.with_timeout(trioctx.without_cancel(parent), 500) as ctx:
        assert ctx.remaining() == 500
        if end == "cancel":
            parent.cancel()
        elif end == "stop":
            parent.stop(grace=1)
        elif end == "close":
            with parent:
                pass
        await trio.sleep(5)
        for one in (ctx, never, trioctx.with_cancel(never)):
            assert one.err is None
            assert not one.stopping
        assert (never.deadline, ctx.remaining()) == (math.inf, 495)


async def test_what_is_derived_from_an_open_shield_is_not_shielded_from_it(
    autojump_clock: MockClock,
) -> None:
    """Inside its block it encloses; derived before or after it was entered."""
    shield = trioctx.without_cancel(trioctx.background())
    before = trioctx.with_cancel(shield)
    with shield:
        after = trioctx.with_cancel(shield)
        with before:
            with after:
                shield.cancel(WHY)
                await trio.sleep_forever()
    assert tells(before.err) == tells(after.err) == (trioctx.ContextCancelled, shield, WHY)


# --- an enclosing parent behind a shield --------------------------------------------------------


@pytest.mark.parametrize("further", [False, True])
@pytest.mark.parametrize("end", ["cancel", "deadline", "stop"])
@both_forms
async def test_a_parent_behind_a_trioctx_shield_is_linked(
    block: Block, end: str, further: bool, autojump_clock: MockClock
) -> None:
    """Its end passes the shield for its child only, which raises it; the parent takes it back."""
    start = trio.current_time()
    outer = trioctx.with_timeout(trioctx.background(), 3 if end == "deadline" else 1000, cause=WHY)
    quiet = end != "deadline"

    async def body(ctx: trioctx.Context) -> None:
        assert ctx.deadline == outer.deadline
        await trio.sleep(1)
        if end == "cancel":
            outer.cancel(WHY)
        elif end == "stop":
            outer.stop(WHY, grace=2)
            assert ctx.stopping
        await trio.sleep_forever()

    try:
        with outer:
            with trioctx.without_cancel(outer) as shield:
                parent = trioctx.with_value(outer, VAR, "x") if further else outer
                inner = trioctx.with_cancel(parent)
                with pytest.raises(trioctx.ContextError) as caught:
                    await block(inner, body)
                assert shield.err is None
                assert shield.state == "open"
                await trio.sleep(1)
                raise caught.value
    except trioctx.DeadlineExceeded:
        assert not quiet
    error = trioctx.ContextCancelled if quiet else trioctx.DeadlineExceeded
    assert tells(caught.value) == tells(inner.err) == (error, outer, WHY)
    assert tells(outer.err) == (error, outer, WHY)
    assert shield.cause is not caught.value
    assert trio.current_time() == start + (2 if end == "cancel" else 4)


async def test_check_in_children_behind_a_shield_is_one_bare_error(
    autojump_clock: MockClock,
) -> None:
    """An error from ctx.check() counts as its cancellation there too."""

    async def child(ctx: trioctx.Context) -> None:
        ctx.check()

    with trioctx.with_cancel(trioctx.background()) as outer:
        with trioctx.without_cancel(outer):
            with pytest.raises(trioctx.ContextCancelled) as caught:
                async with trioctx.with_cancel(outer) as ctx:
                    outer.cancel(WHY)
                    ctx.start_soon(child, ctx)
                    ctx.start_soon(child, ctx)
    assert tells(caught.value) == (trioctx.ContextCancelled, outer, WHY)


@pytest.mark.parametrize("end", ["cancel", "deadline"])
@both_forms
async def test_a_parent_behind_a_plain_shield_encloses(
    block: Block, end: str, autojump_clock: MockClock
) -> None:
    """Trio delivers nothing through its own shield; err tells it all the same."""
    finished = False

    async def body(ctx: trioctx.Context) -> None:
        nonlocal finished
        if end == "cancel":
            outer.cancel(WHY)
        await trio.sleep(3)
        assert tells(ctx.err) == tells(outer.err)
        finished = True

    outer = trioctx.with_timeout(trioctx.background(), 1 if end == "deadline" else 1000, cause=WHY)
    inner = trioctx.with_cancel(outer)
    try:
        with outer:
            with trio.CancelScope(shield=True):
                await block(inner, body)
            assert finished
            await trio.sleep_forever()
    except trioctx.DeadlineExceeded:
        assert end == "deadline"
    assert tells(inner.err)[1:] == (outer, WHY)


async def test_a_value_block_behind_a_trioctx_shield_has_a_scope() -> None:
    """Its parent is linked, so it can be cancelled like any other; behind a plain shield not."""
    with trioctx.with_cancel(trioctx.background()) as outer:
        with trioctx.without_cancel(outer):
            with trioctx.with_value(outer, VAR, "x") as ctx:
                ctx.cancel(WHY)
                await trio.sleep_forever()
            assert ctx.cause is WHY
        with trio.CancelScope(shield=True):
            with trioctx.with_value(outer, VAR, "x") as ctx:
                with pytest.raises(RuntimeError, match="with_cancel"):
                    ctx.cancel()


async def test_an_error_of_the_shielded_block_comes_out() -> None:
    """A shield keeps cancellations from coming in, not errors from coming out."""
    with pytest.raises(Oops) as caught:
        with trioctx.with_cancel(trioctx.background()) as outer:
            with trioctx.without_cancel(outer) as shield:
                raise WHY
    assert caught.value is WHY
    assert shield.cause is outer.cause is WHY
