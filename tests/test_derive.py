"""Deriving: the roots and every way to make a context from another."""

import math
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import trio
import trio.testing

import trioctx
from trioctx import (
    Context,
    ContextCancelled,
    ContextClosed,
    ContextError,
    DeadlineExceeded,
    background,
    merge,
    todo,
    with_cancel,
    with_deadline,
    with_signals,
    with_timeout,
    with_value,
    with_values,
    without_cancel,
)

USER: ContextVar[str] = ContextVar("user")

Derive = Callable[..., Context]

# Every way to derive, from a parent and with options.
DERIVE: dict[str, Derive] = {
    "with_cancel": with_cancel,
    "with_timeout": lambda parent, **options: with_timeout(parent, 5, **options),
    "with_deadline": lambda parent, **options: with_deadline(parent, 5, **options),
    "with_value": lambda parent, **options: with_value(parent, USER, "ann", **options),
    "with_values": lambda parent, **options: with_values(parent, {USER: "ann"}, **options),
    "without_cancel": without_cancel,
    "merge": merge,
    "with_signals": with_signals,
}
every = pytest.mark.parametrize("kind", DERIVE)
# Those whose block is open with `with` and ends with their parent.
bound = pytest.mark.parametrize(
    "kind", ["with_cancel", "with_timeout", "with_deadline", "with_value", "with_values", "merge"]
)


# --- roots ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", [background, todo])
def test_a_root(root: Callable[[], Context]) -> None:
    """Always the same object: no parent, no deadline, no values, never ended, always open."""
    ctx = root()
    assert ctx is root()
    assert ctx.parent is None
    assert ctx.state == "open"
    assert ctx.deadline == ctx.remaining() == math.inf
    assert ctx.err is None
    assert ctx.cause is None
    assert not ctx.cancelled
    assert not ctx.done
    assert not ctx.stopping
    assert len(ctx) == 0
    ctx.check()
    assert ctx.name == root.__name__
    assert root.__name__ in repr(ctx)


def test_the_roots_are_two() -> None:
    """todo() is told from background(), in code and in print."""
    assert background() is not todo()


@pytest.mark.parametrize("root", [background, todo])
@pytest.mark.parametrize("use", ["cancel", "stop", "with", "async with"])
async def test_a_root_can_be_neither_entered_nor_cancelled(
    root: Callable[[], Context], use: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A RuntimeError that says what to do."""
    ctx = root()
    with pytest.raises(RuntimeError, match=root.__name__):
        if use == "cancel":
            ctx.cancel()
        elif use == "stop":
            ctx.stop(grace=1)
        elif use == "with":
            with ctx:
                pass
        else:
            async with ctx:
                pass
    assert not ctx.done
    assert not ctx.stopping


def test_contexts_are_made_by_the_functions_only() -> None:
    """The class is for annotations and `isinstance`; it cannot be subclassed by accident."""
    assert isinstance(with_cancel(background()), Context)
    assert type(background()) is Context


# --- parent and name ------------------------------------------------------------------------------


@every
async def test_parent_name_and_state(kind: str, autojump_clock: trio.testing.MockClock) -> None:
    """What was derived knows its parent and its name, and is not yet entered."""
    parent = with_cancel(background(), name="serve")
    ctx = DERIVE[kind](parent)
    assert ctx.parent is parent
    assert ctx.name == kind
    assert ctx.state == "new"
    assert not ctx.done
    named = DERIVE[kind](parent, name="mine")
    assert named.name == "mine"
    for part in ("background", "serve", kind, "mine", "new"):
        assert part in repr(named)


@every
async def test_each_call_makes_a_new_context(
    kind: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Two calls, two nodes."""
    assert DERIVE[kind](background()) is not DERIVE[kind](background())


@pytest.mark.parametrize("attribute", ["name", "parent", "deadline", "err", "cause", "state"])
def test_what_a_context_tells_cannot_be_set(attribute: str) -> None:
    """Contexts change by what happens to them only."""
    ctx = with_cancel(background())
    with pytest.raises(AttributeError):
        setattr(ctx, attribute, None)
    assert not hasattr(ctx, "__dict__")


def state_of(ctx: Context) -> str:
    """The state, for a type checker that does not know what a block changes."""
    return ctx.state


@bound
@pytest.mark.parametrize("how", ["with", "async with"])
async def test_state(kind: str, how: str, autojump_clock: trio.testing.MockClock) -> None:
    """New, open in the block, closed after it."""
    ctx = DERIVE[kind](background())
    assert state_of(ctx) == "new"
    if how == "with":
        with ctx as entered:
            assert entered is ctx
            assert state_of(ctx) == "open"
    else:
        async with ctx as entered:
            assert entered is ctx
            assert state_of(ctx) == "open"
    assert state_of(ctx) == "closed"
    assert ctx.done
    assert not ctx.cancelled
    assert ctx.err is None


# --- the end of a parent --------------------------------------------------------------------------


@bound
async def test_what_is_derived_ends_with_its_parent(
    kind: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Derived before or after, with the parent's cause, and naming the parent."""
    error = OSError()
    parent = with_cancel(background())
    before = DERIVE[kind](parent)
    parent.cancel(error)
    for ctx in (before, DERIVE[kind](parent)):
        assert isinstance(ctx.err, ContextCancelled)
        assert ctx.err.context is parent
        assert ctx.cause is error
        with pytest.raises(ContextCancelled) as info:
            ctx.check()
        assert info.value.cause is error
        assert info.value.__cause__ is error


@bound
async def test_what_is_derived_from_a_closed_context(
    kind: str, autojump_clock: trio.testing.MockClock
) -> None:
    """It is born cancelled, by the closed parent, and its cause is a `ContextClosed`."""
    with with_cancel(background()) as parent:
        before = DERIVE[kind](parent)
    assert parent.err is None
    for ctx in (before, DERIVE[kind](parent)):
        assert isinstance(ctx.err, ContextCancelled)
        assert ctx.err.context is parent
        assert isinstance(ctx.cause, ContextClosed)
        assert ctx.cause.context is parent


@every
async def test_a_parent_never_takes_over_the_end_of_what_is_derived(
    kind: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Cancelled or closed."""
    parent = with_cancel(background())
    ctx = DERIVE[kind](parent)
    with_cancel(ctx).cancel()
    if kind not in {"with_value", "with_values"}:
        ctx.cancel()
    if kind == "with_signals":
        pass
    else:
        with ctx:
            pass
    assert parent.err is None
    assert not parent.done
    assert not parent.stopping


# --- without_cancel -------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["cancel", "deadline", "closed", "stop"])
@pytest.mark.parametrize("derived", [False, True])
async def test_without_cancel_passes_no_end(
    end: str, derived: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """Neither cancellation nor deadline, closing or stop; values stay."""
    parent = with_timeout(with_value(background(), USER, "ann"), 5)
    free = without_cancel(parent)
    ctx = with_cancel(free) if derived else free
    assert ctx.deadline == math.inf
    if end == "cancel":
        parent.cancel()
    elif end == "stop":
        parent.stop(grace=0)
    elif end == "closed":
        with parent:
            pass
    else:
        await trio.sleep(10)
    assert parent.done
    for node in (ctx, without_cancel(parent)):
        assert node.err is None
        assert not node.stopping
        assert node[USER] == "ann"
        assert node.remaining() == math.inf
    with ctx:
        await trio.sleep(1)
        assert USER.get() == "ann"
        assert ctx.err is None


async def test_cleanup_in_one_line(autojump_clock: trio.testing.MockClock) -> None:
    """With a limit of its own it runs in a block that was cancelled."""
    done: list[float] = []
    with with_cancel(background()) as ctx:
        try:
            ctx.cancel()
            await trio.sleep_forever()
        finally:
            with with_timeout(without_cancel(ctx), 5):
                await trio.sleep(3)
                done.append(trio.current_time())
            with pytest.raises(DeadlineExceeded):
                with with_timeout(without_cancel(ctx), 5):
                    await trio.sleep(6)
    assert done == [3]


@bound
@pytest.mark.parametrize("how", ["with", "async with"])
async def test_what_is_derived_from_one_that_is_not_entered_is_shielded(
    kind: str, how: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Whatever its kind, through any number of contexts that are not entered."""
    with with_cancel(background()) as outer:
        outer.cancel()
        free = with_value(with_cancel(without_cancel(outer)), USER, "bob")
        ctx = DERIVE[kind](free)
        if how == "with":
            with ctx:
                assert ctx.cancel_scope.shield
                await trio.sleep(1)
        else:
            async with ctx:
                assert ctx.cancel_scope.shield
                await trio.sleep(1)
        assert ctx.err is None
    assert trio.current_time() == 1


async def test_what_is_derived_from_one_that_is_entered_is_not_shielded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is enclosed, and ends with it."""
    with with_cancel(background()) as outer:
        with without_cancel(outer) as free:
            with with_cancel(free) as ctx:
                assert not ctx.cancel_scope.shield
                outer.cancel()
                await trio.sleep(1)
                free.cancel("enough")
                await trio.sleep_forever()
            assert str(ctx.cause) == "enough"
    assert trio.current_time() == 1


async def test_without_cancel_can_be_cancelled_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is an end of its own, for what is derived from it too."""
    free = without_cancel(with_cancel(background()))
    child = with_cancel(free)
    free.cancel("enough")
    assert child.err is not None
    assert child.err.context is free
    with free:
        await trio.sleep_forever()


# --- merge ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("how", ["cancel", "closed", "deadline"])
async def test_a_merge_ends_with_any_of_its_parents(
    which: int, how: str, autojump_clock: trio.testing.MockClock
) -> None:
    """And names it; not entered or in its block."""
    parents = [with_timeout(background(), 5 if n == which else math.inf) for n in range(3)]
    if how != "deadline":
        parents = [with_cancel(background()) for _ in range(3)]
    ended = parents[which]
    not_entered = merge(*parents)

    async def end_it() -> None:
        await trio.sleep(1)
        if how == "cancel":
            ended.cancel("enough")
        elif how == "closed":
            with ended:
                pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_it)
        with pytest.raises(ContextError) as info:
            with merge(*parents) as ctx:
                await trio.sleep_forever()
    assert trio.current_time() == (5 if how == "deadline" else 1)
    assert isinstance(info.value, DeadlineExceeded if how == "deadline" else ContextCancelled)
    assert info.value.context is ended
    for node in (ctx, not_entered):
        assert node.err is not None
        assert node.err.context is ended
        assert type(node.err) is type(info.value)


async def test_a_merge_has_the_earliest_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Of all its parents."""
    parents = [with_timeout(background(), seconds) for seconds in (7, 3, 5)]
    ctx = merge(*parents)
    assert ctx.deadline == 3
    assert merge(background(), parents[2]).deadline == 5
    assert ctx.parent is parents[0]


async def test_a_merge_with_the_block_around(autojump_clock: trio.testing.MockClock) -> None:
    """An enclosing parent and a linked one: each end as it does on its own."""
    server = with_cancel(background())
    with with_cancel(background()) as request:
        with pytest.raises(ContextCancelled):
            with merge(request, server):
                server.cancel("shutdown")
                await trio.sleep_forever()
        assert request.err is None
        with merge(request, with_cancel(background())) as ctx:
            request.cancel("gone")
            await trio.sleep_forever()
    assert str(ctx.cause) == "gone"


@pytest.mark.parametrize("others", [[], ["background"], ["parent"], ["parent", "background"]])
async def test_a_merge_of_what_adds_nothing(
    others: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    """Of one parent, of a root, of the same twice."""
    parent = with_timeout(background(), 5)
    known = {"parent": parent, "background": background()}
    ctx = merge(parent, *(known[name] for name in others))
    assert ctx.parent is parent
    assert ctx.deadline == 5
    parent.cancel()
    assert ctx.cancelled


async def test_a_merge_of_roots_never_ends(autojump_clock: trio.testing.MockClock) -> None:
    """As its parents."""
    with merge(background(), todo()) as ctx:
        await trio.sleep(100)
    assert ctx.err is None


async def test_a_merge_of_a_parent_that_has_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is born cancelled."""
    dead = with_cancel(background())
    dead.cancel("gone")
    ctx = merge(background(), dead)
    assert ctx.cancelled
    with pytest.raises(ContextCancelled):
        with ctx:
            await trio.sleep_forever()


async def test_a_merge_can_be_cancelled_itself(autojump_clock: trio.testing.MockClock) -> None:
    """Quietly, and its parents do not notice."""
    parents = [with_cancel(background()) for _ in range(2)]
    with merge(*parents) as ctx:
        ctx.cancel()
        await trio.sleep_forever()
    assert not any(parent.done for parent in parents)


# --- deadlines ------------------------------------------------------------------------------------


async def test_with_timeout_starts_its_clock_at_the_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Not at entry."""
    await trio.sleep(10)
    ctx = with_timeout(background(), 5)
    assert ctx.deadline == 15
    await trio.sleep(3)
    with pytest.raises(DeadlineExceeded):
        with ctx:
            assert ctx.remaining() == 2
            await trio.sleep_forever()
    assert trio.current_time() == 15
    assert ctx.remaining() == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda parent: with_timeout(parent, 0),
        lambda parent: with_deadline(parent, trio.current_time()),
        lambda parent: with_deadline(parent, -5.0),
        lambda parent: with_deadline(parent, -math.inf),
        lambda parent: with_deadline(parent, datetime.now(UTC) - timedelta(days=1)),
        lambda parent: with_deadline(parent, datetime.min.replace(tzinfo=UTC)),
    ],
    ids=["timeout 0", "now", "past", "-inf", "yesterday", "year 1"],
)
@pytest.mark.parametrize("how", ["with", "async with"])
async def test_in_the_past_it_is_born_expired(
    make: Callable[[Context], Context], how: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Ended before it is entered; its block ends at the first checkpoint."""
    await trio.sleep(1)
    ctx = make(background())
    assert isinstance(ctx.err, DeadlineExceeded)
    assert ctx.err.context is ctx
    assert ctx.remaining() == 0
    steps: list[str] = []
    with pytest.raises(DeadlineExceeded):
        if how == "with":
            with ctx:
                steps.append("before")
                await trio.lowlevel.checkpoint()
                steps.append("after")
        else:
            async with ctx:
                steps.append("before")
                await trio.lowlevel.checkpoint()
                steps.append("after")
    assert steps == ["before"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_timeout(background(), math.inf),
        lambda: with_deadline(background(), math.inf),
        lambda: with_cancel(background()),
    ],
    ids=["with_timeout", "with_deadline", "with_cancel"],
)
async def test_without_a_limit(
    make: Callable[[], Context], autojump_clock: trio.testing.MockClock
) -> None:
    """`math.inf` is no limit."""
    ctx = make()
    assert ctx.deadline == ctx.remaining() == math.inf
    with ctx:
        await trio.sleep(1_000)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
async def test_an_aware_datetime(zone: timezone, autojump_clock: trio.testing.MockClock) -> None:
    """Is converted at the call, whatever its zone."""
    await trio.sleep(100)
    ctx = with_deadline(background(), datetime.now(zone) + timedelta(hours=1))
    assert ctx.deadline == pytest.approx(3_700, abs=5)


async def test_a_far_datetime(autojump_clock: trio.testing.MockClock) -> None:
    """The end of the calendar is no problem."""
    ctx = with_deadline(background(), datetime.max.replace(tzinfo=UTC))
    assert ctx.remaining() > 1e9
    assert not ctx.done


async def test_the_deadline_is_the_minimum(autojump_clock: trio.testing.MockClock) -> None:
    """With the parent's, and once open with the enclosing context's."""
    parent = with_timeout(background(), 5)
    assert with_timeout(parent, 3).deadline == 3
    assert with_timeout(parent, 7).deadline == 5
    assert with_cancel(with_value(parent, USER, "ann")).deadline == 5
    with with_timeout(background(), 2):
        ctx = with_cancel(parent)
        assert ctx.deadline == 5
        with ctx:
            assert ctx.deadline == 2
            assert ctx.remaining() == 2


@pytest.mark.parametrize("cause", [None, "slow", OSError("slow")], ids=repr)
async def test_the_cause_of_a_deadline(
    cause: BaseException | str | None, autojump_clock: trio.testing.MockClock
) -> None:
    """`cause=` explains the deadline, and not a cancel that came first."""
    ctx = with_timeout(background(), 5, cause=cause)
    other = with_deadline(background(), 5, cause=cause)
    first = with_timeout(background(), 5, cause=cause)
    first.cancel()
    assert ctx.cause is None
    await trio.sleep(5)
    assert first.cause is None
    for node in (ctx, other, with_cancel(ctx)):
        if cause is None:
            assert node.cause is None
        elif isinstance(cause, str):
            assert isinstance(node.cause, ContextCancelled)
            assert str(node.cause) == cause
        else:
            assert node.cause is cause
        assert node.err is not None
        assert node.err.__cause__ is node.cause


async def test_the_owner_of_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    """`err.context` names the node whose deadline it was; the outer one where two are equal."""
    outer = with_timeout(background(), 5, cause="outer")
    equal = with_timeout(outer, 5, cause="equal")
    inner = with_timeout(outer, 3, cause="inner")
    await trio.sleep(6)
    for node, owner in ((outer, outer), (equal, outer), (inner, inner)):
        assert isinstance(node.err, DeadlineExceeded)
        assert node.err.context is owner
        assert str(node.cause) == owner.cause.args[0] if owner.cause else False


# --- outside a run, another run -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["with_timeout", "with_deadline"])
@pytest.mark.parametrize("value", [5, 0, math.inf])
def test_a_deadline_outside_a_run(kind: str, value: float) -> None:
    """A RuntimeError that says what is missing: there is no clock."""
    make: Derive = getattr(trioctx, kind)
    with pytest.raises(RuntimeError, match=r"trio\.run") as info:
        make(background(), value)
    assert "clock" in str(info.value)


@pytest.mark.parametrize(
    "kind", ["with_cancel", "with_value", "with_values", "without_cancel", "merge", "with_signals"]
)
def test_everything_else_outside_a_run(kind: str) -> None:
    """What needs no clock can be made anywhere, be cancelled there, and be entered in a run."""
    ctx = DERIVE[kind](background())
    child = with_cancel(ctx)
    assert ctx.deadline == ctx.remaining() == math.inf
    assert not ctx.done

    async def main() -> None:
        with with_cancel(child) as entered:
            assert not entered.cancelled
            await trio.lowlevel.checkpoint()

    trio.run(main)
    child.cancel("enough")
    assert str(with_cancel(child).cause) == "enough"


@every
def test_a_parent_of_another_run(kind: str) -> None:
    """A RuntimeError; `without_cancel`, which takes only values, is free to."""

    async def make() -> Context:
        return with_value(with_cancel(background()), USER, "ann")

    async def use(parent: Context) -> None:
        if kind == "without_cancel":
            assert DERIVE[kind](parent)[USER] == "ann"
            return
        with pytest.raises(RuntimeError, match="run"):
            DERIVE[kind](parent)

    trio.run(use, trio.run(make))


def test_a_merge_over_two_runs() -> None:
    """A RuntimeError, whichever parent it is, and outside any run too."""

    async def make() -> Context:
        return with_cancel(background())

    one, two = trio.run(make), trio.run(make)
    with pytest.raises(RuntimeError, match="run"):
        merge(one, two)

    async def use() -> None:
        with pytest.raises(RuntimeError, match="others"):
            merge(background(), one)

    trio.run(use)


@pytest.mark.parametrize("how", ["with", "async with", "wait_done", "wait_stopping", "region"])
def test_using_a_context_of_another_run(how: str) -> None:
    """Entering and waiting are refused; the context is as it was."""

    async def make() -> Context:
        return with_cancel(background())

    async def use(ctx: Context) -> None:
        with pytest.raises(RuntimeError, match="run"):
            if how == "with":
                with ctx:
                    pass
            elif how == "async with":
                async with ctx:
                    pass
            elif how == "region":
                with ctx.until_stopping():
                    pass
            else:
                await getattr(ctx, how)()
        assert ctx.state == "new"
        assert trioctx.current() is background()

    trio.run(use, trio.run(make))


# --- the classes of the errors --------------------------------------------------------------------


def test_the_classes_of_errors() -> None:
    """One base class; a deadline is a `trio.TooSlowError`; all are ordinary exceptions."""
    assert issubclass(ContextError, Exception)
    for error in (ContextCancelled, DeadlineExceeded, ContextClosed):
        assert issubclass(error, ContextError)
    assert issubclass(DeadlineExceeded, trio.TooSlowError)
    assert not issubclass(DeadlineExceeded, ContextCancelled)
    assert not issubclass(ContextCancelled, trio.Cancelled)


async def test_an_error_that_is_raised_is_not_shared(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each raise has a traceback of its own; `.context` and `.cause` identify the end."""
    error = OSError()
    ctx = with_cancel(background())
    ctx.cancel(error)
    caught: list[ContextError] = []
    for _ in range(2):
        with pytest.raises(ContextCancelled) as info:
            ctx.check()
        caught.append(info.value)
    assert caught[0] is not caught[1]
    assert {e.context for e in caught} == {ctx}
    assert [e.cause for e in caught] == [e.__cause__ for e in caught] == [error, error]
    assert error.__traceback__ is None


@pytest.mark.parametrize(
    ("cause", "text"), [("too old", "too old"), (OSError("disk"), "OSError: disk")]
)
async def test_the_text_of_the_cause_is_trios_reason(
    cause: BaseException | str, text: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Handed to Trio as the cancel `reason`, and part of the error's message."""
    reasons: list[Any] = []
    with with_cancel(background(), name="mine") as ctx:
        ctx.cancel(cause)
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            reasons.append(cancelled.reason)
            raise
    assert reasons == [text]
    assert ctx.err is not None
    assert text in str(ctx.err)
    assert "mine" in str(ctx.err)
