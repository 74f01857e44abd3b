"""Two thousand contexts deep: everything still works, and costs no more than at depth one.

Costs are counted in executed opcodes of the library, never in time.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trio
import trio.testing

import trioctx

DEPTH = 2_000
LONG = 1e6
LIBRARY = str(Path(trioctx.__file__).parent)

VAR: ContextVar[int] = ContextVar("deep")

Derive = Callable[[trioctx.Context], trioctx.Context]


class Opcodes:
    """Counts the opcodes that are executed in the library's own frames."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Opcodes:
        self._previous = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # without one such frame, 3.12 traces no opcodes
        sys.settrace(self._call)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(self._previous)

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(LIBRARY):
            return None
        frame.f_trace = self._opcode  # before the next line: 3.13 looks for it there
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._opcode

    def _opcode(self, frame: FrameType, event: str, arg: object) -> Any:
        self.count += event == "opcode"
        return self._opcode


def cost(use: Callable[[], object]) -> int:
    """How many opcodes `use` takes when it is not called for the first time."""
    use()
    with Opcodes() as opcodes:
        use()
    assert opcodes.count > 0
    return opcodes.count


def cancel_scope(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_cancel(parent)


def timeout(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_timeout(parent, LONG)


def value(parent: trioctx.Context) -> trioctx.Context:
    return trioctx.with_value(parent, VAR, parent.get(VAR, 0) + 1)


derives = pytest.mark.parametrize("derive", [cancel_scope, timeout, value])


def chain(derive: Derive, parent: trioctx.Context, depth: int = DEPTH) -> trioctx.Context:
    """The last of `depth` contexts, each derived from the one before and none entered."""
    for _ in range(depth):
        parent = derive(parent)
    return parent


def nest(stack: contextlib.ExitStack, derive: Derive, depth: int = DEPTH) -> trioctx.Context:
    """The last of `depth` contexts, each entered in the block of the one before."""
    ctx = trioctx.current()
    for _ in range(depth):
        ctx = stack.enter_context(derive(trioctx.current()))
    return ctx


@contextlib.asynccontextmanager
async def elsewhere(depth: int = 1) -> AsyncIterator[trioctx.Context]:
    """A context that is open in a task of its own, `depth` deep."""
    async with trio.open_nursery() as nursery:
        opened: list[trioctx.Context] = []

        async def hold() -> None:
            with contextlib.ExitStack() as stack:
                opened.append(nest(stack, cancel_scope, depth))
                await trio.sleep_forever()

        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        yield opened[0]
        nursery.cancel_scope.cancel()


# --- it works -----------------------------------------------------------------------------------


def read_everything(ctx: trioctx.Context) -> None:
    """Look at all that a context tells."""
    assert repr(ctx).startswith("<trioctx.Context ...")
    assert ctx.remaining() >= 0
    assert ctx.stopping or not ctx.cancelled
    assert len(ctx) == len(dict(ctx.items()))
    assert ctx.get(VAR, 0) == ctx.run(VAR.get, 0)
    assert ctx.state
    assert ctx.done or ctx.err is None


async def test_nested_blocks_end_with_the_outermost() -> None:
    """Deadline, cancel, cause and check reach through 2,000 blocks in one task."""
    why = OSError("outermost")
    with trioctx.with_timeout(trioctx.current(), LONG, name="top") as top:
        with contextlib.ExitStack() as stack:
            ctx = nest(stack, cancel_scope)
            assert trioctx.current() is ctx
            assert ctx.deadline == top.deadline
            read_everything(ctx)
            top.cancel(why)
            assert ctx.cause is why
            assert ctx.err is not None
            assert ctx.err.context is top
            read_everything(ctx)
            with pytest.raises(trioctx.ContextCancelled):
                ctx.check()
            with pytest.raises(trio.Cancelled):
                await trio.lowlevel.checkpoint()
        assert trioctx.current() is top
        assert ctx.state == "closed"
        assert ctx.cause is why


async def test_nested_nurseries_end_with_the_outermost() -> None:
    """The same with 2,000 nurseries, which are left before any `Cancelled` is delivered.

    That many nurseries with a `Cancelled` in each are too much for Trio, which prints them nested.
    """
    async with trioctx.with_cancel(trioctx.current()) as top:
        async with contextlib.AsyncExitStack() as stack:
            ctx = top
            for _ in range(DEPTH):
                ctx = await stack.enter_async_context(trioctx.with_cancel(ctx))
            read_everything(ctx)
            top.stop("enough", grace=None)
            assert ctx.stopping
            top.cancel("enough")
            read_everything(ctx)
    assert str(ctx.cause) == "enough"
    read_everything(ctx)


async def test_an_error_in_the_innermost_comes_out() -> None:
    """Bare, and the cause of each of the 2,000."""
    top = trioctx.with_cancel(trioctx.current())
    with pytest.raises(ZeroDivisionError) as caught:
        with top, contextlib.ExitStack() as stack:
            nest(stack, cancel_scope)
            raise ZeroDivisionError
    assert top.cause is caught.value


@derives
async def test_a_chain_that_is_not_entered_ends_with_its_root(derive: Derive) -> None:
    """And its last can be entered, and be waited for."""
    with trioctx.with_cancel(trioctx.current()) as around:
        root = trioctx.with_cancel(around)
        ctx = chain(derive, root)
        read_everything(ctx)
        assert ctx.get(VAR, 0) == (DEPTH if derive is value else 0)
        waited = trio.Event()

        async def wait() -> None:
            await ctx.wait_done()
            waited.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trioctx.ContextCancelled):
                with ctx:
                    assert ctx.get(VAR, 0) == VAR.get(0)
                    root.cancel("root")
                    await trio.sleep_forever()
            await waited.wait()
        read_everything(ctx)
        assert str(ctx.cause) == "root"
        assert not around._below


@derives
async def test_a_chain_that_is_not_entered_stops_with_its_root(
    derive: Derive, autojump_clock: trio.testing.MockClock
) -> None:
    """Both phases come down: the region at once, the end of the grace as a deadline."""
    root = trioctx.with_cancel(trioctx.current())
    ctx = chain(derive, root)
    with pytest.raises(trioctx.ContextCancelled) as caught:
        with trioctx.with_cancel(ctx) as leaf:
            with leaf.until_stopping():
                root.stop("root", grace=5)
                await trio.sleep_forever()
            assert ctx.stopping
            assert leaf.deadline == trio.current_time() + 5
            await trio.sleep_forever()
    assert caught.value.context is root


async def test_deep_deadlines(autojump_clock: trio.testing.MockClock) -> None:
    """The outermost deadline ends the innermost block, through 2,000 contexts of each kind."""
    with pytest.raises(trioctx.DeadlineExceeded) as caught:
        with trioctx.with_timeout(trioctx.current(), 5) as top:
            with contextlib.ExitStack() as stack:
                nested = nest(stack, timeout)
                derived = chain(timeout, nested)
                assert nested.deadline == derived.deadline == trio.current_time() + 5
                with derived:
                    await trio.sleep_forever()
    assert caught.value.context is top
    for ctx in (nested, derived):
        assert isinstance(ctx.err, trioctx.DeadlineExceeded)
        assert ctx.err.context is top
        read_everything(ctx)


async def test_a_mix_of_nested_linked_and_not_entered() -> None:
    """Each next one of another kind; the end of the parent elsewhere reaches through all."""
    async with elsewhere() as other:
        root = trioctx.with_cancel(other)
        turn = 0

        def mixed(parent: trioctx.Context) -> trioctx.Context:
            nonlocal turn
            turn += 1
            return (
                trioctx.with_cancel(parent),
                trioctx.with_timeout(root, LONG),
                trioctx.with_value(parent, VAR, turn),
                trioctx.merge(parent, root),
                trioctx.with_value(trioctx.with_cancel(parent), VAR, turn),
            )[turn % 5]

        with pytest.raises(trioctx.ContextCancelled) as caught:
            with contextlib.ExitStack() as stack:
                ctx = nest(stack, mixed)
                read_everything(ctx)
                assert ctx[VAR] == VAR.get()
                root.cancel("root")
                read_everything(ctx)
                assert str(ctx.cause) == "root"
                await trio.sleep_forever()
        assert caught.value.context is root
        read_everything(ctx)
        assert not other._below


async def test_a_chain_of_merges_and_links_side_by_side() -> None:
    """A lattice, in which the number of ways up doubles at every step, is seen once."""
    with trioctx.with_cancel(trioctx.current()) as around:
        root = trioctx.with_cancel(around)
        left, right = trioctx.with_cancel(root), trioctx.with_cancel(root)
        for _ in range(DEPTH):
            left, right = trioctx.merge(left, right), trioctx.merge(right, left)
        read_everything(left)
        with pytest.raises(trioctx.ContextCancelled):
            with left:
                root.cancel("root")
                await trio.sleep_forever()
        assert str(right.cause) == "root"
        assert not around._below


async def test_two_thousand_tasks_deep() -> None:
    """Each block in a child of the block before: `current()`, values and the end go all the way."""
    innermost: list[trioctx.Context] = []
    blocked = trio.Event()

    async def level(left: int) -> None:
        async with trioctx.with_value(trioctx.current(), VAR, left) as ctx:
            if left:
                ctx.start_soon(level, left - 1)
            else:
                innermost.append(ctx)
                assert trioctx.current() is ctx
                await blocked.wait()

    async with trioctx.with_cancel(trioctx.current()) as top:
        top.start_soon(level, DEPTH)
        await trio.testing.wait_all_tasks_blocked()
        [ctx] = innermost
        assert ctx[VAR] == 0
        read_everything(ctx)
        top.stop("top", grace=LONG)
        assert ctx.stopping
        assert ctx.deadline == top.deadline
        blocked.set()
    read_everything(ctx)
    assert ctx.err is None


# --- it costs the same --------------------------------------------------------------------------


@derives
async def test_reading_costs_the_same_at_any_depth(derive: Derive) -> None:
    """`ctx.deadline` and `ctx[VAR]`, in nested blocks and in a chain that is not entered."""

    def costs(ctx: trioctx.Context) -> tuple[int, int]:
        assert ctx.deadline < math.inf
        return cost(lambda: ctx.deadline), cost(lambda: ctx[VAR])

    with trioctx.with_value(trioctx.with_timeout(trioctx.current(), LONG), VAR, 0) as ctx:
        derived = costs(chain(derive, ctx, 1))
        assert costs(chain(derive, ctx)) == derived
        with contextlib.ExitStack() as stack:
            entered = costs(nest(stack, derive, 1))
        with contextlib.ExitStack() as stack:
            assert costs(nest(stack, derive)) == entered


def enter_and_leave(derive: Derive, parent: trioctx.Context | None = None) -> None:
    with derive(trioctx.current() if parent is None else parent):
        pass


@derives
async def test_a_block_costs_the_same_at_any_depth(derive: Derive) -> None:
    """Deriving, entering and leaving do not walk up, when the parent is the block around."""
    with trioctx.with_timeout(trioctx.current(), LONG):
        with derive(trioctx.current()):
            shallow = cost(lambda: enter_and_leave(derive))
        with contextlib.ExitStack() as stack:
            nest(stack, derive)
            assert cost(lambda: enter_and_leave(derive)) == shallow


@derives
async def test_a_block_below_the_outermost_costs_the_same_at_any_depth(derive: Derive) -> None:
    """The parent encloses the block from 2,000 blocks further out."""
    with trioctx.with_timeout(trioctx.current(), LONG) as top:
        with cancel_scope(top):
            shallow = cost(lambda: enter_and_leave(derive, top))
        with contextlib.ExitStack() as stack:
            nest(stack, cancel_scope)
            assert cost(lambda: enter_and_leave(derive, top)) == shallow


@derives
async def test_a_linked_block_costs_the_same_at_any_depth(derive: Derive) -> None:
    """However many blocks are around it."""
    async with elsewhere() as parent:
        with trioctx.with_timeout(trioctx.current(), LONG):
            with cancel_scope(trioctx.current()):
                shallow = cost(lambda: enter_and_leave(derive, parent))
            with contextlib.ExitStack() as stack:
                nest(stack, cancel_scope)
                assert cost(lambda: enter_and_leave(derive, parent)) == shallow


@derives
async def test_a_block_linked_to_a_deep_parent_costs_the_same(derive: Derive) -> None:
    """However many blocks are around the parent."""

    async def linked_to(depth: int) -> int:
        async with elsewhere(depth) as parent:
            return cost(lambda: enter_and_leave(derive, parent))

    assert await linked_to(DEPTH) == await linked_to(2)


async def test_leaving_cancelled_blocks_takes_time_in_proportion() -> None:
    """Ten times as many blocks that one cancellation ends: about ten times the work."""

    async def unwinding(depth: int) -> int:
        with trioctx.with_cancel(trioctx.current()) as top:
            with contextlib.ExitStack() as stack:
                nest(stack, cancel_scope, depth)
                top.cancel("top")
                with pytest.raises(trio.Cancelled) as caught:
                    await trio.lowlevel.checkpoint()
                with Opcodes() as opcodes, contextlib.suppress(trio.Cancelled):
                    stack.__exit__(caught.type, caught.value, caught.tb)
        return opcodes.count

    assert await unwinding(DEPTH // 5) < 11 * await unwinding(DEPTH // 50)
