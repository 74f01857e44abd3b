"""Counterparts of Go's `context/x_test.go`, `net_test.go` and `example_test.go`.

Most contexts here are never entered: as in Go they are derived, cancelled and looked at. Where a
promise is about a block of Trio code, there is a second test that enters it.
"""

import contextlib
import gc
import random
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar

import attrs
import pytest
import trio
import trio.testing

import trioctx

SHORT = 0.001
VERY_LONG = 1000 * 3600.0
FOREVER = 1e6
STUCK = 60  # a hang fails on the wall clock after this many seconds; nothing sleeps that long

K1: ContextVar[str | None] = ContextVar("k1")
K2: ContextVar[str | None] = ContextVar("k2")
K2_NAMESAKE: ContextVar[str | None] = ContextVar("k2")

Seen = tuple[str | None, str | None, str | None]


def own_end(ctx: trioctx.Context) -> trioctx.Context:
    """Derive a context with the values of ctx that ends only when its maker ends it.

    In Go this takes a Context type of one's own, with its own `Done`.
    """
    return trioctx.with_cancel(trioctx.without_cancel(ctx))


async def wait_until_done(ctx: trioctx.Context) -> None:
    """Wait for ctx; fail rather than hang if it never ends."""
    with trio.fail_after(10 * VERY_LONG):
        await ctx.wait_done()


async def never_done(ctx: trioctx.Context) -> bool:
    """Wait for ctx as long as anyone would."""
    with trio.move_on_after(VERY_LONG) as patience:
        await ctx.wait_done()
    return patience.cancelled_caught


# Roots.


async def test_background_never_ends(autojump_clock: trio.testing.MockClock) -> None:
    """TestBackground: no end, no deadline, no values, and it shows what it is."""
    ctx = trioctx.background()
    assert ctx.parent is None
    assert ctx.deadline == float("inf")
    assert (ctx.err, ctx.cause, ctx.done, len(ctx)) == (None, None, False, 0)
    assert "background" in repr(ctx)
    assert await never_done(ctx)


async def test_todo_never_ends_and_shows_that_it_is_a_placeholder(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestTODO: as background, under another name."""
    ctx = trioctx.todo()
    assert ctx.parent is None
    assert ctx.deadline == float("inf")
    assert (ctx.err, ctx.cause, ctx.done, len(ctx)) == (None, None, False, 0)
    assert "todo" in repr(ctx)
    assert "background" not in repr(ctx)
    assert await never_done(ctx)


# Cancellation.


def test_cancel_propagates_synchronously_to_what_is_derived() -> None:
    """TestWithCancel: when cancel() returns, every context below has ended."""
    first = trioctx.with_cancel(trioctx.background(), name="first")
    wrapped = trioctx.with_value(first, K1, "wrapped")
    second = trioctx.with_cancel(wrapped, name="second")
    contexts = [first, wrapped, second]
    for ctx in contexts:
        assert (ctx.done, ctx.cancelled, ctx.err, ctx.cause) == (False, False, None, None)
        ctx.check()
    shown = repr(second)
    assert shown.index("background") < shown.index("first") < shown.index("second")

    first.cancel()

    for ctx in contexts:
        assert ctx.done
        assert ctx.cancelled
        assert isinstance(ctx.err, trioctx.ContextCancelled)
        assert ctx.err.context is first
        with pytest.raises(trioctx.ContextCancelled):
            ctx.check()


async def test_cancel_wakes_those_who_wait_for_a_derived_context(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestWithCancel: what Go waits for on Done() is wait_done() here."""
    first = trioctx.with_cancel(trioctx.background())
    contexts = [first, trioctx.with_value(first, K1, "v"), trioctx.with_cancel(first)]
    woken: list[trioctx.Context] = []

    async def waiter(ctx: trioctx.Context) -> None:
        await wait_until_done(ctx)
        woken.append(ctx)

    async with trio.open_nursery() as nursery:
        for ctx in contexts:
            nursery.start_soon(waiter, ctx)
        await trio.testing.wait_all_tasks_blocked()
        assert woken == []
        first.cancel()
    assert len(woken) == len(contexts)
    assert trio.current_time() == 0


def test_a_context_derived_from_a_cancelled_one_is_born_cancelled() -> None:
    """TestWithCancelCanceledParent: with the cause of the parent, and naming the parent."""
    cause = Exception("Because!")
    parent = trioctx.with_cancel(trioctx.background())
    parent.cancel(cause)

    child = trioctx.with_cancel(parent)

    assert child.done
    assert isinstance(child.err, trioctx.ContextCancelled)
    assert child.err.context is parent
    assert child.cause is cause


async def test_a_block_born_cancelled_stops_at_its_first_checkpoint(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestWithCancelCanceledParent: entering a context that has ended already ends its block."""
    cause = Exception("Because!")
    parent = trioctx.with_cancel(trioctx.background())
    parent.cancel(cause)
    reached = []
    with pytest.raises(trioctx.ContextCancelled) as caught, trioctx.with_cancel(parent):
        reached.append("body")
        await trio.lowlevel.checkpoint()
        reached.append("after the checkpoint")
    assert reached == ["body"]
    assert caught.value.context is parent
    assert caught.value.cause is cause
    assert caught.value.__cause__ is cause


def test_a_child_derived_while_its_parent_is_being_cancelled_ends_with_it() -> None:
    """TestWithCancelSimultaneouslyCanceledParent: derived before or after, it is cancelled."""
    for _ in range(100):
        cause = Exception("Because!")
        parent = trioctx.with_cancel(trioctx.background())
        thread = threading.Thread(target=parent.cancel, args=(cause,))
        thread.start()
        child = trioctx.with_cancel(parent)
        thread.join()
        assert isinstance(child.err, trioctx.ContextCancelled)
        assert child.err.context is parent
        assert child.cause is cause


def wide_tree() -> list[trioctx.Context]:
    """Derive a little over a hundred contexts, four from each."""
    root = trioctx.with_cancel(trioctx.background())
    contexts = [root]
    queue = deque([root])
    while len(contexts) < 100:
        parent = queue.popleft()
        for _ in range(4):
            ctx = trioctx.with_cancel(parent)
            contexts.append(ctx)
            queue.append(ctx)
    return contexts


def ancestry(ctx: trioctx.Context) -> list[trioctx.Context]:
    """List ctx and all it was derived from."""
    line = []
    node: trioctx.Context | None = ctx
    while node is not None:
        line.append(node)
        node = node.parent
    return line


def test_cancels_from_many_threads_all_take_effect() -> None:
    """TestSimultaneousCancels: a tree cancelled everywhere at once is cancelled everywhere."""
    contexts = wide_tree()
    threads = [threading.Thread(target=ctx.cancel) for ctx in contexts]
    random.Random(1).shuffle(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ctx in contexts:
        assert isinstance(ctx.err, trioctx.ContextCancelled)
        assert ctx.err.context in ancestry(ctx)


async def test_blocks_cancelled_from_many_threads_all_end() -> None:
    """TestSimultaneousCancels: the same with a task in the block of every context."""
    contexts = wide_tree()

    async def hold(ctx: trioctx.Context) -> None:
        with contextlib.suppress(trioctx.ContextCancelled), ctx:
            await trio.sleep_forever()

    async def cancel_in_thread(ctx: trioctx.Context) -> None:
        await trio.to_thread.run_sync(ctx.cancel)

    shuffled = random.Random(2).sample(contexts, len(contexts))
    with trio.fail_after(STUCK):
        async with trio.open_nursery() as nursery:
            for ctx in contexts:
                nursery.start_soon(hold, ctx)
            await trio.testing.wait_all_tasks_blocked()
            for ctx in shuffled:
                nursery.start_soon(cancel_in_thread, ctx)
    for ctx in contexts:
        assert ctx.state == "closed"
        assert isinstance(ctx.err, trioctx.ContextCancelled)
        assert ctx.err.context in ancestry(ctx)


async def test_a_child_cancelled_in_answer_to_its_parents_end_keeps_the_parents_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestInterlockedCancels: cancelling a child because its parent is done changes nothing."""
    cause = Exception("parent first")
    parent = trioctx.with_cancel(trioctx.background())
    child = trioctx.with_cancel(parent)

    async def echo() -> None:
        await wait_until_done(parent)
        child.cancel(Exception("child second"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo)
        await trio.testing.wait_all_tasks_blocked()
        parent.cancel(cause)
        await wait_until_done(child)
    assert isinstance(child.err, trioctx.ContextCancelled)
    assert child.err.context is parent
    assert child.cause is cause


# Deadlines. Each maker returns the context whose deadline it is, and the one to look at.

Maker = Callable[[float], tuple[trioctx.Context, trioctx.Context]]


def deadline_alone(now: float) -> tuple[trioctx.Context, trioctx.Context]:
    ctx = trioctx.with_deadline(trioctx.background(), now + SHORT)
    return ctx, ctx


def deadline_with_value(now: float) -> tuple[trioctx.Context, trioctx.Context]:
    owner = trioctx.with_deadline(trioctx.background(), now + SHORT)
    return owner, trioctx.with_value(owner, K1, "v")


def deadline_with_value_and_later_deadline(now: float) -> tuple[trioctx.Context, trioctx.Context]:
    owner, wrapped = deadline_with_value(now)
    return owner, trioctx.with_deadline(wrapped, now + VERY_LONG)


def deadline_in_the_past(now: float) -> tuple[trioctx.Context, trioctx.Context]:
    ctx = trioctx.with_deadline(trioctx.background(), now - SHORT)
    return ctx, ctx


def deadline_now(now: float) -> tuple[trioctx.Context, trioctx.Context]:
    ctx = trioctx.with_deadline(trioctx.background(), now)
    return ctx, ctx


def timeout_alone(now: float) -> tuple[trioctx.Context, trioctx.Context]:
    ctx = trioctx.with_timeout(trioctx.background(), SHORT)
    return ctx, ctx


def timeout_with_value(now: float) -> tuple[trioctx.Context, trioctx.Context]:
    owner = trioctx.with_timeout(trioctx.background(), SHORT)
    return owner, trioctx.with_value(owner, K1, "v")


def timeout_with_value_and_later_timeout(now: float) -> tuple[trioctx.Context, trioctx.Context]:
    owner, wrapped = timeout_with_value(now)
    return owner, trioctx.with_timeout(wrapped, VERY_LONG)


DEADLINES = [
    deadline_alone,
    deadline_with_value,
    deadline_with_value_and_later_deadline,
    deadline_in_the_past,
    deadline_now,
]
TIMEOUTS = [timeout_alone, timeout_with_value, timeout_with_value_and_later_timeout]


async def ends_at_its_deadline(make: Maker) -> None:
    await trio.sleep(100)
    start = trio.current_time()
    owner, ctx = make(start)
    assert ctx.deadline == owner.deadline
    assert repr(owner).index("background") < repr(owner).index("with_")
    end = max(start, owner.deadline)
    assert ctx.remaining() == pytest.approx(end - start)

    await wait_until_done(ctx)

    assert trio.current_time() == pytest.approx(end, abs=SHORT / 100)
    assert ctx.remaining() == 0
    assert isinstance(ctx.err, trioctx.DeadlineExceeded)
    assert ctx.err.context is owner
    assert ctx.cause is None
    with pytest.raises(trioctx.DeadlineExceeded):
        ctx.check()


async def block_ends_at_its_deadline(make: Maker) -> None:
    await trio.sleep(100)
    start = trio.current_time()
    owner, ctx = make(start)
    with pytest.raises(trioctx.DeadlineExceeded) as caught, ctx:
        await trio.sleep(VERY_LONG)
    assert trio.current_time() == pytest.approx(max(start, owner.deadline), abs=SHORT / 100)
    assert caught.value.context is owner
    assert isinstance(ctx.err, trioctx.DeadlineExceeded)
    assert ctx.err.context is owner


@pytest.mark.parametrize("make", DEADLINES)
async def test_a_context_ends_at_its_deadline(
    make: Maker, autojump_clock: trio.testing.MockClock
) -> None:
    """TestDeadline: alone, through a value, under a later deadline, in the past, and now."""
    await ends_at_its_deadline(make)


@pytest.mark.parametrize("make", DEADLINES)
async def test_a_block_ends_at_its_deadline(
    make: Maker, autojump_clock: trio.testing.MockClock
) -> None:
    """TestDeadline: the same for the block of the context."""
    await block_ends_at_its_deadline(make)


@pytest.mark.parametrize("make", TIMEOUTS)
async def test_a_context_ends_after_its_timeout(
    make: Maker, autojump_clock: trio.testing.MockClock
) -> None:
    """TestTimeout: alone, through a value, and under a longer timeout."""
    await ends_at_its_deadline(make)


@pytest.mark.parametrize("make", TIMEOUTS)
async def test_a_block_ends_after_its_timeout(
    make: Maker, autojump_clock: trio.testing.MockClock
) -> None:
    """TestTimeout: the same for the block of the context."""
    await block_ends_at_its_deadline(make)


async def test_a_cancel_before_the_deadline_is_not_a_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestCanceledTimeout: and stays none when the deadlines have passed."""
    outer = trioctx.with_timeout(trioctx.background(), 1)
    ctx = trioctx.with_timeout(trioctx.with_value(outer, K1, "v"), VERY_LONG)
    ctx.cancel()
    assert ctx.done
    assert isinstance(ctx.err, trioctx.ContextCancelled)
    assert outer.err is None

    await trio.sleep(2 * VERY_LONG)

    assert isinstance(ctx.err, trioctx.ContextCancelled)
    assert isinstance(outer.err, trioctx.DeadlineExceeded)


async def test_a_block_cancelled_before_its_deadline_ends_quietly(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestCanceledTimeout: its own cancel() ends a block without an exception, as in Trio."""
    with trioctx.with_timeout(trioctx.background(), 1) as ctx:
        ctx.cancel()
        await trio.sleep_forever()
    await trio.sleep(2)
    assert isinstance(ctx.err, trioctx.ContextCancelled)


async def test_a_deadline_is_a_too_slow_error(autojump_clock: trio.testing.MockClock) -> None:
    """TestDeadlineExceededSupportsTimeout: to code without trioctx it says that time was up."""
    assert issubclass(trioctx.DeadlineExceeded, trio.TooSlowError)
    ctx = trioctx.with_timeout(trioctx.background(), 0)
    assert isinstance(ctx.err, trio.TooSlowError)
    with pytest.raises(trio.TooSlowError):
        ctx.check()


async def test_code_that_knows_only_trio_tells_a_deadline_from_a_cancellation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestDeadlineExceededIsNetError: a handler for trio.fail_after catches only the one."""

    async def attempt(ctx: trioctx.Context) -> str:
        try:
            with ctx:
                await trio.sleep_forever()
        except trio.TooSlowError:
            return "too slow"
        return "ended"

    assert await attempt(trioctx.with_timeout(trioctx.background(), 1)) == "too slow"

    parent = trioctx.with_cancel(trioctx.background())
    parent.cancel()
    with pytest.raises(trioctx.ContextCancelled) as caught:
        await attempt(trioctx.with_timeout(parent, 1))
    assert not isinstance(caught.value, trio.TooSlowError)


# Values.


def seen(ctx: trioctx.Context) -> Seen:
    return ctx.get(K1, None), ctx.get(K2, None), ctx.get(K2_NAMESAKE, None)


async def test_values_are_inherited_shadowed_and_told_apart_by_identity(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestValues: two variables of one name are two keys, the nearest value wins."""
    c0 = trioctx.background()
    assert seen(c0) == (None, None, None)

    c1 = trioctx.with_value(c0, K1, "c1k1")
    assert seen(c1) == ("c1k1", None, None)
    assert repr(c1).index("background") < repr(c1).index("with_value")

    c2 = trioctx.with_value(c1, K2, "c2k2")
    assert seen(c2) == ("c1k1", "c2k2", None)

    c3 = trioctx.with_value(c2, K2_NAMESAKE, "c3k3")
    assert seen(c3) == ("c1k1", "c2k2", "c3k3")

    c4 = trioctx.with_value(c3, K1, None)
    assert seen(c4) == (None, "c2k2", "c3k3")
    assert K1 in c4
    assert c4[K1] is None
    assert seen(c3) == ("c1k1", "c2k2", "c3k3")

    for wrap in (trioctx.with_cancel, trioctx.without_cancel):
        assert seen(wrap(c0)) == (None, None, None)
        assert seen(wrap(c1)) == ("c1k1", None, None)
        assert seen(trioctx.with_value(wrap(c1), K2, "o2k2")) == ("c1k1", "o2k2", None)
        assert seen(wrap(c4)) == (None, "c2k2", "c3k3")
        assert seen(trioctx.with_value(wrap(c4), K2_NAMESAKE, None)) == (None, "c2k2", None)
    assert seen(trioctx.with_timeout(c4, 1)) == (None, "c2k2", "c3k3")


async def test_a_block_has_its_values_in_the_variables_themselves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestValues: VAR.get() agrees with ctx[VAR] in the block, and is restored after it."""
    c1 = trioctx.with_value(trioctx.background(), K1, "c1k1")
    c2 = trioctx.with_values(c1, {K2: "c2k2", K2_NAMESAKE: "c2k3"})
    with trioctx.with_value(c2, K1, None) as c3:
        assert seen(c3) == (None, "c2k2", "c2k3")
        assert (K1.get(), K2.get(), K2_NAMESAKE.get()) == (None, "c2k2", "c2k3")
    for var in (K1, K2, K2_NAMESAKE):
        with pytest.raises(LookupError):
            var.get()


@pytest.mark.parametrize("key", [b"foo", None, "foo"], ids=repr)
def test_a_value_needs_a_context_variable_as_key(key: object) -> None:
    """TestWithValueChecksKey: the error names the parameter and shows the value."""
    with_value: Callable[..., trioctx.Context] = trioctx.with_value
    with pytest.raises(TypeError, match="var") as caught:
        with_value(trioctx.background(), key, "bar")
    assert repr(key) in str(caught.value)


async def test_a_parent_that_is_no_context_is_refused_at_the_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestInvalidDerivedFail: neither None nor an object that only looks like a context."""

    class Lookalike:
        def __init__(self) -> None:
            self.deadline = 1.0
            self.err = None
            self.cancelled = False

    constructors: list[Callable[..., trioctx.Context]] = [
        trioctx.with_cancel,
        trioctx.without_cancel,
        trioctx.merge,
        lambda parent: trioctx.with_deadline(parent, trio.current_time() + SHORT),
        lambda parent: trioctx.with_timeout(parent, SHORT),
        lambda parent: trioctx.with_value(parent, K1, "bar"),
        lambda parent: trioctx.with_values(parent, {K1: "bar"}),
        lambda parent: trioctx.with_signals(parent),
    ]
    for construct in constructors:
        for parent in (None, Lookalike()):
            with pytest.raises(TypeError, match="parent") as caught:
                construct(parent)
            assert repr(parent) in str(caught.value)


# Layers.


@attrs.frozen
class Layers:
    """A line of derived contexts, outermost first, and what is known of them."""

    contexts: list[trioctx.Context]
    cancellable: list[trioctx.Context]
    timed: list[trioctx.Context]
    values: dict[ContextVar[int], int]

    @classmethod
    def derive(cls, rng: random.Random, timeout: float) -> "Layers":
        """Derive thirty contexts or more, of kinds chosen at random, and some of every kind."""
        made = cls([], [], [], {})
        last = trioctx.background()
        while len(made.contexts) < 30 or not (made.values and made.timed and made.cancellable):
            kind = rng.randrange(3)
            if kind == 0:
                var: ContextVar[int] = ContextVar(f"layer {len(made.contexts)}")
                made.values[var] = len(made.contexts)
                last = trioctx.with_value(last, var, made.values[var])
            elif kind == 1:
                last = trioctx.with_cancel(last)
                made.cancellable.append(last)
            else:
                last = trioctx.with_timeout(last, timeout)
                made.cancellable.append(last)
                made.timed.append(last)
            made.contexts.append(last)
        return made

    def check_values(self) -> None:
        """Assert that the last context has the values of all layers."""
        last = self.contexts[-1]
        assert {var: last[var] for var in self.values} == self.values


@pytest.mark.parametrize("seed", range(20))
async def test_a_cancel_in_any_layer_reaches_the_last_one(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    """TestLayersCancel: through any mixture of layers, whose values stay readable."""
    rng = random.Random(seed)
    layers = Layers.derive(rng, VERY_LONG)
    last = layers.contexts[-1]
    assert not last.done
    layers.check_values()

    cancelled = rng.choice(layers.cancellable)
    cancelled.cancel()

    assert isinstance(last.err, trioctx.ContextCancelled)
    assert last.err.context is cancelled
    layers.check_values()
    position = layers.contexts.index(cancelled)
    assert all(ctx.err is None for ctx in layers.contexts[:position])
    assert all(ctx.done for ctx in layers.contexts[position:])


@pytest.mark.parametrize("seed", range(20))
async def test_a_cancel_in_any_entered_layer_ends_the_blocks_below_it(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    """TestLayersCancel: with a block for every layer, exactly those below the cancelled one end."""
    rng = random.Random(seed)
    layers = Layers.derive(rng, VERY_LONG)
    cancelled = rng.choice(layers.cancellable)
    position = layers.contexts.index(cancelled)
    above, below = layers.contexts[:position], layers.contexts[position:]

    with contextlib.ExitStack() as outer:
        for ctx in above:
            outer.enter_context(ctx)
        with contextlib.ExitStack() as inner:
            for ctx in below:
                inner.enter_context(ctx)
            layers.check_values()
            cancelled.cancel()
            await trio.sleep(1)
            pytest.fail("the body went on after its context was cancelled")
        await trio.sleep(1)
        assert all(ctx.err is None for ctx in above)

    assert trio.current_time() == 1
    assert all(ctx.err is None for ctx in above)
    for ctx in below:
        assert isinstance(ctx.err, trioctx.ContextCancelled)
        assert ctx.err.context is cancelled
    layers.check_values()


@pytest.mark.parametrize("seed", range(20))
async def test_a_deadline_in_any_layer_reaches_the_last_one(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    """TestLayersTimeout: of equal deadlines the outermost is the one that counts."""
    layers = Layers.derive(random.Random(seed), SHORT)
    last = layers.contexts[-1]
    assert not last.done
    layers.check_values()

    await wait_until_done(last)

    assert trio.current_time() == pytest.approx(SHORT)
    assert isinstance(last.err, trioctx.DeadlineExceeded)
    assert last.err.context is layers.timed[0]
    layers.check_values()


@pytest.mark.parametrize("seed", range(20))
async def test_a_deadline_in_any_entered_layer_ends_the_blocks_below_it(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    """TestLayersTimeout: the outermost block with the deadline raises, and all below name it."""
    layers = Layers.derive(random.Random(seed), SHORT)
    owner = layers.timed[0]

    with pytest.raises(trioctx.DeadlineExceeded) as caught, contextlib.ExitStack() as stack:
        for ctx in layers.contexts:
            stack.enter_context(ctx)
        await trio.sleep(VERY_LONG)

    assert trio.current_time() == pytest.approx(SHORT)
    assert caught.value.context is owner
    for ctx in layers.contexts[layers.contexts.index(owner) :]:
        assert isinstance(ctx.err, trioctx.DeadlineExceeded)
        assert ctx.err.context is owner
    layers.check_values()


# Causes.

PARENT_CAUSE = Exception("parent cause")
CHILD_CAUSE = Exception("child cause")
TOO_SLOW = Exception("too slow")
FINISHED_EARLY = Exception("finished early")

Outcome = tuple[type[trioctx.ContextError] | None, BaseException | None]
CANCELLED = trioctx.ContextCancelled
EXCEEDED = trioctx.DeadlineExceeded


def cancelled_without_cause() -> trioctx.Context:
    ctx = trioctx.with_cancel(trioctx.background())
    ctx.cancel()
    return ctx


def cancelled_with_cause() -> trioctx.Context:
    ctx = trioctx.with_cancel(trioctx.background())
    ctx.cancel(PARENT_CAUSE)
    return ctx


def cancelled_with_none() -> trioctx.Context:
    ctx = trioctx.with_cancel(trioctx.background())
    ctx.cancel(None)
    return ctx


def pair() -> tuple[trioctx.Context, trioctx.Context]:
    parent = trioctx.with_cancel(trioctx.background())
    return parent, trioctx.with_cancel(parent)


def parent_cause_before_child() -> trioctx.Context:
    parent, child = pair()
    parent.cancel(PARENT_CAUSE)
    child.cancel(CHILD_CAUSE)
    return child


def parent_cause_after_child() -> trioctx.Context:
    parent, child = pair()
    child.cancel(CHILD_CAUSE)
    parent.cancel(PARENT_CAUSE)
    return child


def parent_cause_before_none() -> trioctx.Context:
    parent, child = pair()
    parent.cancel(PARENT_CAUSE)
    child.cancel()
    return child


def parent_cause_after_none() -> trioctx.Context:
    parent, child = pair()
    child.cancel()
    parent.cancel(PARENT_CAUSE)
    return child


def child_cause_after_none() -> trioctx.Context:
    parent, child = pair()
    parent.cancel()
    child.cancel(CHILD_CAUSE)
    return child


def child_cause_before_none() -> trioctx.Context:
    parent, child = pair()
    child.cancel(CHILD_CAUSE)
    parent.cancel()
    return child


def expired() -> trioctx.Context:
    ctx = trioctx.with_timeout(trioctx.background(), 0)
    ctx.cancel()
    return ctx


def timeout_cancelled() -> trioctx.Context:
    ctx = trioctx.with_timeout(trioctx.background(), FOREVER)
    ctx.cancel()
    return ctx


def expired_with_cause() -> trioctx.Context:
    ctx = trioctx.with_timeout(trioctx.background(), 0, cause=TOO_SLOW)
    ctx.cancel()
    return ctx


def timeout_with_cause_cancelled() -> trioctx.Context:
    ctx = trioctx.with_timeout(trioctx.background(), FOREVER, cause=TOO_SLOW)
    ctx.cancel()
    return ctx


def expired_before_its_parent_was_cancelled() -> trioctx.Context:
    parent = trioctx.with_cancel(trioctx.background())
    ctx = trioctx.with_timeout(parent, 0, cause=TOO_SLOW)
    parent.cancel(FINISHED_EARLY)
    return ctx


def parent_cancelled_before_the_timeout() -> trioctx.Context:
    parent = trioctx.with_cancel(trioctx.background())
    ctx = trioctx.with_timeout(parent, FOREVER, cause=TOO_SLOW)
    parent.cancel(FINISHED_EARLY)
    return ctx


def without_cancel() -> trioctx.Context:
    return trioctx.without_cancel(trioctx.background())


def without_cancel_of_cancelled() -> trioctx.Context:
    parent = trioctx.with_cancel(trioctx.background())
    ctx = trioctx.without_cancel(parent)
    parent.cancel(FINISHED_EARLY)
    return ctx


def without_cancel_of_expired() -> trioctx.Context:
    parent = trioctx.with_timeout(trioctx.background(), 0, cause=TOO_SLOW)
    ctx = trioctx.without_cancel(parent)
    parent.cancel()
    return ctx


@pytest.mark.parametrize(
    ("make", "outcome"),
    [
        (trioctx.background, (None, None)),
        (trioctx.todo, (None, None)),
        (cancelled_without_cause, (CANCELLED, None)),
        (cancelled_with_cause, (CANCELLED, PARENT_CAUSE)),
        (cancelled_with_none, (CANCELLED, None)),
        (parent_cause_before_child, (CANCELLED, PARENT_CAUSE)),
        (parent_cause_after_child, (CANCELLED, CHILD_CAUSE)),
        (parent_cause_before_none, (CANCELLED, PARENT_CAUSE)),
        (parent_cause_after_none, (CANCELLED, None)),
        (child_cause_after_none, (CANCELLED, None)),
        (child_cause_before_none, (CANCELLED, CHILD_CAUSE)),
        (expired, (EXCEEDED, None)),
        (timeout_cancelled, (CANCELLED, None)),
        (expired_with_cause, (EXCEEDED, TOO_SLOW)),
        (timeout_with_cause_cancelled, (CANCELLED, None)),
        (expired_before_its_parent_was_cancelled, (EXCEEDED, TOO_SLOW)),
        (parent_cancelled_before_the_timeout, (CANCELLED, FINISHED_EARLY)),
        (without_cancel, (None, None)),
        (without_cancel_of_cancelled, (None, None)),
        (without_cancel_of_expired, (None, None)),
    ],
)
async def test_the_first_end_gives_the_error_and_the_cause(
    make: Callable[[], trioctx.Context], outcome: Outcome, autojump_clock: trio.testing.MockClock
) -> None:
    """TestCause: every case of Go's table; a cancellation without a cause has none."""
    ctx = make()
    kind, cause = outcome
    assert ctx.cause is cause
    assert ctx.cancelled is (kind is not None)
    if kind is None:
        assert ctx.err is None
        ctx.check()
        return
    assert ctx.err is not None
    assert type(ctx.err) is kind
    assert ctx.err.cause is cause
    with pytest.raises(kind) as caught:
        ctx.check()
    assert caught.value.cause is cause
    assert caught.value.__cause__ is cause


def test_a_cause_read_while_a_thread_cancels_is_none_or_the_cause() -> None:
    """TestCauseRace: and an error that can be seen has its cause already."""
    for _ in range(20):
        cause = Exception("race")
        ctx = trioctx.with_cancel(trioctx.background())
        ready = threading.Barrier(2)

        def cancel(
            ctx: trioctx.Context = ctx,
            cause: Exception = cause,
            ready: threading.Barrier = ready,
        ) -> None:
            ready.wait()
            ctx.cancel(cause)

        thread = threading.Thread(target=cancel)
        thread.start()
        ready.wait()
        while thread.is_alive():
            err = ctx.err
            assert ctx.cause is cause if err else ctx.cause in (None, cause)
        thread.join()
        assert ctx.cause is cause


# What is left.


@pytest.mark.parametrize("ended", ["dropped", "cancelled", "expired", "closed"])
@pytest.mark.parametrize(
    "derive",
    [
        lambda parent: trioctx.with_cancel(parent),
        lambda parent: trioctx.with_cancel(trioctx.with_value(parent, K1, None)),
        lambda parent: trioctx.with_timeout(parent, 15),
        lambda parent: trioctx.merge(parent, trioctx.with_timeout(parent, 5)),
        lambda parent: trioctx.with_cancel(trioctx.without_cancel(parent)),
    ],
    ids=["with_cancel", "with_value", "with_timeout", "merge", "without_cancel"],
)
async def test_contexts_that_are_dropped_leave_nothing_behind(
    derive: Callable[[trioctx.Context], trioctx.Context],
    ended: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestAllocs: however it ended, or if it never did, a long-lived parent does not keep it."""

    async def use(parent: trioctx.Context) -> list[weakref.ref[trioctx.Context]]:
        ctx = derive(parent)
        left = [weakref.ref(ctx)]
        if ctx.parent is not None and ctx.parent is not parent:
            left.append(weakref.ref(ctx.parent))
        if ended == "cancelled":
            ctx.cancel()
            assert ctx.cancelled
        elif ended == "expired":
            await trio.sleep(20)
            assert ctx.cancelled is (ctx.deadline != float("inf"))
        elif ended == "closed":
            with ctx:
                await trio.lowlevel.checkpoint()
        return left

    parent = trioctx.with_cancel(trioctx.background())
    tasks = trio.lowlevel.current_statistics().tasks_living
    left = await use(parent)
    await trio.lowlevel.checkpoint()
    gc.collect()
    assert [ref() for ref in left] == [None] * len(left)
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert parent.err is None


# Contexts without cancellation, and ends made by hand.


async def test_without_cancel_keeps_the_values_and_nothing_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestWithoutCancel: no deadline, no end, whatever happens to the parent."""
    parent = trioctx.with_timeout(trioctx.with_value(trioctx.background(), K1, "value"), 1)
    ctx = trioctx.without_cancel(parent)
    assert ctx.deadline == float("inf")
    assert (ctx.err, ctx.done, ctx[K1]) == (None, False, "value")
    parent.cancel()
    assert await never_done(ctx)
    assert (ctx.err, ctx.done, ctx[K1]) == (None, False, "value")


async def test_the_block_of_a_without_cancel_is_shielded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestWithoutCancel: cancelling and closing around it do not stop its block."""
    with trioctx.with_cancel(trioctx.background()) as parent:
        parent.cancel()
        with trioctx.without_cancel(parent) as ctx:
            await trio.sleep(5)
            assert ctx.err is None
    assert trio.current_time() == 5


def test_an_end_made_by_hand_hands_on_the_cause_it_was_given() -> None:
    """TestCustomContextPropagation: the cause of the first comes out below the hand-made end."""
    cause = Exception("the first context's")
    first = trioctx.with_cancel(trioctx.background())
    middle = own_end(first)
    last = trioctx.with_cancel(middle)

    first.cancel(cause)
    assert not last.done

    middle.cancel(first.cause)
    assert isinstance(last.err, trioctx.ContextCancelled)
    assert last.err.context is middle
    assert last.cause is cause


def test_a_parent_with_its_own_end_and_its_child_keep_their_own_causes() -> None:
    """TestCustomContextCause: the four combinations of Go's test."""
    parent = own_end(trioctx.background())
    parent.cancel()
    assert isinstance(parent.err, trioctx.ContextCancelled)
    assert parent.cause is None

    parent = own_end(trioctx.background())
    child = trioctx.with_cancel(parent)
    cause = Exception("the child's")
    child.cancel(cause)
    assert isinstance(child.err, trioctx.ContextCancelled)
    assert child.cause is cause
    assert (parent.err, parent.cause) == (None, None)

    parent.cancel()
    assert child.err.context is child
    assert child.cause is cause
    assert isinstance(parent.err, trioctx.ContextCancelled)
    assert parent.cause is None

    parent = own_end(trioctx.background())
    child = trioctx.with_cancel(parent)
    parent.cancel()
    child.cancel()
    assert isinstance(child.err, trioctx.ContextCancelled)
    assert child.err.context is parent
    assert (child.cause, parent.cause) == (None, None)


# after_func.


async def test_after_func_is_called_after_a_cancel(autojump_clock: trio.testing.MockClock) -> None:
    """TestAfterFuncCalledAfterCancel: once, not before, and stop() then says it was too late."""
    calls: list[str] = []
    called = trio.Event()

    def note(word: str) -> None:
        calls.append(word)
        called.set()

    ctx = trioctx.with_cancel(trioctx.background())
    handle = trioctx.after_func(ctx, note, "called")
    await trio.sleep(SHORT)
    assert calls == []

    ctx.cancel()
    with trio.fail_after(VERY_LONG):
        await called.wait()
    assert handle.stop() is False
    ctx.cancel()
    await trio.sleep(SHORT)
    assert calls == ["called"]


async def test_after_func_is_called_after_the_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestAfterFuncCalledAfterTimeout: without anybody entering the context or waiting for it."""
    ctx = trioctx.with_timeout(trioctx.background(), SHORT)
    called = trio.Event()
    trioctx.after_func(ctx, called.set)
    await trio.testing.wait_all_tasks_blocked()
    assert not called.is_set()
    with trio.fail_after(VERY_LONG):
        await called.wait()
    assert trio.current_time() == pytest.approx(SHORT)


async def test_after_func_on_a_cancelled_context_is_called_soon(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestAfterFuncCalledImmediately: soon, and not inside after_func() itself."""
    ctx = trioctx.with_cancel(trioctx.background())
    ctx.cancel()
    called = trio.Event()
    handle = trioctx.after_func(ctx, called.set)
    assert not called.is_set()
    with trio.fail_after(VERY_LONG):
        await called.wait()
    assert trio.current_time() == 0
    assert handle.stop() is False


async def test_after_func_is_not_called_after_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestAfterFuncNotCalledAfterStop: the first stop() kept it from being called."""
    ctx = trioctx.with_cancel(trioctx.background())
    called = trio.Event()
    handle = trioctx.after_func(ctx, called.set)
    assert handle.stop() is True
    ctx.cancel()
    await trio.sleep(SHORT)
    assert not called.is_set()
    assert handle.stop() is False


async def test_cancel_returns_before_the_after_func_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestAfterFuncCalledAsynchronously: cancel() calls nobody."""
    order: list[str] = []
    called = trio.Event()

    def note() -> None:
        order.append("after_func")
        called.set()

    with trioctx.with_cancel(trioctx.background()) as ctx:
        trioctx.after_func(ctx, note)
        ctx.cancel()
        order.append("cancel returned")
    with trio.fail_after(VERY_LONG):
        await called.wait()
    assert order == ["cancel returned", "after_func"]


# Examples.


async def test_a_producer_ends_with_the_context_it_was_started_in(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """ExampleWithCancel: nothing is left running when the consumer has enough."""
    left: list[str] = []

    async def count(channel: trio.MemorySendChannel[int]) -> None:
        try:
            n = 1
            while True:
                await channel.send(n)
                n += 1
        finally:
            left.append("count")

    numbers: list[int] = []
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        send, receive = trio.open_memory_channel[int](0)
        ctx.start_soon(count, send)
        async for n in receive:
            numbers.append(n)
            if n == 5:
                break
        ctx.cancel()
    assert numbers == [1, 2, 3, 4, 5]
    assert left == ["count"]


async def test_a_block_abandons_its_work_at_a_given_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """ExampleWithDeadline: the work that would take longer is not waited for."""
    ctx = trioctx.with_deadline(trioctx.background(), trio.current_time() + 0.05)
    with pytest.raises(trioctx.DeadlineExceeded), ctx:
        await trio.sleep(1)
    assert trio.current_time() == pytest.approx(0.05)


async def test_a_block_abandons_its_work_after_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """ExampleWithTimeout: and work that is done in time is left alone."""
    with pytest.raises(trioctx.DeadlineExceeded), trioctx.with_timeout(trioctx.background(), 0.05):
        await trio.sleep(1)
    assert trio.current_time() == pytest.approx(0.05)
    with trioctx.with_timeout(trioctx.background(), 2) as ctx:
        await trio.sleep(1)
    assert ctx.err is None


def test_a_key_that_is_not_there_is_told_from_one_that_is() -> None:
    """ExampleWithValue: get() gives the default, indexing and lookup() raise KeyError."""
    language: ContextVar[str] = ContextVar("language")
    color: ContextVar[str] = ContextVar("color")
    ctx = trioctx.with_value(trioctx.background(), language, "Go")
    assert ctx[language] == "Go"
    assert ctx.lookup("language") == "Go"
    assert ctx.get(color, "not found") == "not found"
    assert color not in ctx
    with pytest.raises(KeyError):
        ctx[color]
    with pytest.raises(KeyError):
        ctx.lookup("color")
