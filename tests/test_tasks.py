"""Tasks: what a context starts, how long it lives, and whose failure is the cause of the end."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
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
    with_cancel,
    with_timeout,
    with_value,
)

USER: ContextVar[str] = ContextVar("user")

IGNORED = trio.TASK_STATUS_IGNORED


async def begin(ctx: Context, method: str, fn: Any, *args: object) -> Any:
    """Start `fn` in one of the three ways."""
    if method == "start":
        return await ctx.start(fn, *args)
    return getattr(ctx, method)(fn, *args)


METHODS = pytest.mark.parametrize("method", ["start_soon", "start", "start_service"])


async def nothing(*, task_status: trio.TaskStatus[None] = IGNORED) -> None:
    """A child that is done at once."""
    task_status.started()


async def forever(*, task_status: trio.TaskStatus[None] = IGNORED) -> None:
    """A child that is never done."""
    task_status.started()
    await trio.sleep_forever()


def failing(error: BaseException, *, after: float = 0) -> Callable[..., Awaitable[None]]:
    """A child that fails after a while."""

    async def fail(*, task_status: trio.TaskStatus[None] = IGNORED) -> None:
        task_status.started()
        await trio.sleep(after)
        raise error

    return fail


def leaves(exc: BaseException) -> list[BaseException]:
    """The errors in a group, in their order."""
    if isinstance(exc, BaseExceptionGroup):
        return [leaf for one in exc.exceptions for leaf in leaves(one)]
    return [exc]


# --- where no task can be started -----------------------------------------------------------------


@METHODS
@pytest.mark.parametrize("state", ["with", "value", "new", "closed", "root"])
async def test_no_tasks_without_a_nursery(
    method: str, state: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A RuntimeError that names the context and says what to write instead; nothing is called."""

    def never() -> None:
        raise AssertionError("called")

    async def refused(ctx: Context) -> None:
        with pytest.raises(RuntimeError) as info:
            await begin(ctx, method, never)
        text = str(info.value)
        assert "async with" in text
        assert method in text
        assert ctx.name in text

    if state == "with":
        with with_cancel(background(), name="mine") as ctx:
            await refused(ctx)
    elif state == "value":
        with with_value(background(), USER, "ann", name="mine") as ctx:
            await refused(ctx)
    elif state == "new":
        await refused(with_cancel(background(), name="mine"))
    elif state == "closed":
        async with with_cancel(background(), name="mine") as ctx:
            pass
        await refused(ctx)
    else:
        await refused(background())


@pytest.mark.parametrize("state", ["with", "new", "closed", "root"])
async def test_no_nursery(state: str, autojump_clock: trio.testing.MockClock) -> None:
    """`ctx.nursery` is there between `async with` and the end of its block only."""

    def refused(ctx: Context) -> None:
        with pytest.raises(RuntimeError, match="async with"):
            _ = ctx.nursery

    if state == "with":
        with with_cancel(background()) as ctx:
            refused(ctx)
    elif state == "new":
        refused(with_cancel(background()))
    elif state == "closed":
        async with with_cancel(background()) as ctx:
            pass
        refused(ctx)
    else:
        refused(background())


async def test_nursery_and_cancel_scope_are_trios(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One nursery, whose own cancel scope is the context's; with `with` a plain scope."""
    async with with_timeout(background(), 5) as ctx:
        assert isinstance(ctx.nursery, trio.Nursery)
        assert ctx.nursery.cancel_scope is ctx.cancel_scope
        assert ctx.nursery in trio.lowlevel.current_task().child_nurseries
        assert ctx.cancel_scope.deadline == 5
    with with_timeout(background(), 5) as ctx:
        assert isinstance(ctx.cancel_scope, trio.CancelScope)
        assert ctx.cancel_scope.deadline == 5


@pytest.mark.parametrize("state", ["new", "root", "value"])
async def test_no_cancel_scope(state: str, autojump_clock: trio.testing.MockClock) -> None:
    """A RuntimeError that says what has one."""
    if state == "value":
        with with_value(background(), USER, "ann") as ctx:
            with pytest.raises(RuntimeError, match="with_cancel"):
                _ = ctx.cancel_scope
    else:
        ctx = background() if state == "root" else with_cancel(background())
        with pytest.raises(RuntimeError, match="with_cancel"):
            _ = ctx.cancel_scope


# --- wrong calls ----------------------------------------------------------------------------------


def sync_function(*, task_status: object = None) -> None:
    """Nothing that Trio could run."""


async def one_argument(number: int, *, task_status: trio.TaskStatus[None] = IGNORED) -> None:
    """A child that wants an argument."""
    task_status.started()


async def generator(*, task_status: object = None) -> Any:
    """An async generator function is no async function."""
    yield 1


@METHODS
@pytest.mark.parametrize(
    ("fn", "args"),
    [
        (sync_function, ()),
        (one_argument, ()),
        (one_argument, (1, 2)),
        (generator, ()),
        (None, ()),
        ("fetch", ()),
        (3, ()),
    ],
    ids=["sync", "too few", "too many", "generator", "none", "str", "int"],
)
async def test_a_wrong_function_is_refused_at_the_call(
    method: str, fn: Any, args: tuple[Any, ...], autojump_clock: trio.testing.MockClock
) -> None:
    """A TypeError where it was written; the context is unharmed."""
    async with with_cancel(background()) as ctx:
        with pytest.raises(TypeError):
            await begin(ctx, method, fn, *args)
        await trio.lowlevel.checkpoint()
        assert ctx.err is None
    assert ctx.err is None


@METHODS
@pytest.mark.parametrize(
    "fn", [sync_function, generator, None, 3], ids=["sync", "generator", "none", "int"]
)
async def test_a_wrong_function_is_named(
    method: str, fn: Any, autojump_clock: trio.testing.MockClock
) -> None:
    """The error names the parameter and shows what was passed."""
    async with with_cancel(background()) as ctx:
        with pytest.raises(TypeError, match="async_fn") as info:
            await begin(ctx, method, fn)
        assert repr(fn) in str(info.value)


@METHODS
async def test_a_coroutine_object_is_refused(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """`start_soon(fn())` says to pass the function, and leaves nothing un-awaited."""
    async with with_cancel(background()) as ctx:
        with pytest.raises(TypeError, match="async_fn") as info:
            await begin(ctx, method, nothing())
        assert "fn, arg" in str(info.value)
        assert ctx.err is None


@pytest.mark.parametrize("method", ["start_soon", "start_service"])
async def test_a_start_that_trio_refuses_leaves_nothing_behind(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """From another thread Trio starts no task; the coroutine is closed, not left un-awaited."""
    errors: list[BaseException] = []

    def from_a_thread() -> None:
        try:
            getattr(ctx, method)(nothing)
        except (RuntimeError, AttributeError) as error:
            errors.append(error)

    async with with_cancel(background()) as ctx:
        await trio.to_thread.run_sync(from_a_thread)
    assert len(errors) == 1
    assert ctx.state == "closed"


@pytest.mark.parametrize("method", ["start_soon", "start_service"])
async def test_starting_in_a_block_that_is_over(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Once the block was left nothing starts any more."""
    async with with_cancel(background()) as ctx:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        getattr(ctx, method)(nothing)


@METHODS
async def test_partial_and_callable_objects(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Whatever makes a coroutine when it is called will do."""
    calls: list[int] = []

    async def note(number: int, *, task_status: trio.TaskStatus[None] = IGNORED) -> None:
        task_status.started()
        calls.append(number)

    class Noter:
        async def __call__(
            self, number: int, *, task_status: trio.TaskStatus[None] = IGNORED
        ) -> None:
            await note(number, task_status=task_status)

    async with with_cancel(background()) as ctx:
        await begin(ctx, method, partial(note, 1))
        await begin(ctx, method, Noter(), 2)
        await trio.testing.wait_all_tasks_blocked()
    assert sorted(calls) == [1, 2]


# --- start_soon -----------------------------------------------------------------------------------


async def test_start_soon_passes_arguments_and_is_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The block lasts until its ordinary children are done."""
    seen: list[tuple[int, float]] = []

    async def child(number: int, seconds: float) -> None:
        await trio.sleep(seconds)
        seen.append((number, trio.current_time()))

    async with with_cancel(background()) as ctx:
        ctx.start_soon(child, 1, 2.0)
        ctx.start_soon(child, 2, 1.0)
    assert seen == [(2, 1.0), (1, 2.0)]
    assert ctx.err is None


@METHODS
@pytest.mark.parametrize("name", [None, "fetcher"])
async def test_the_name_of_a_task(
    method: str, name: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    """`name=` is what Trio shows; without it the function's own."""
    names: list[str] = []

    async def child(*, task_status: trio.TaskStatus[None] = IGNORED) -> None:
        task_status.started()
        names.append(trio.lowlevel.current_task().name)

    async with with_cancel(background()) as ctx:
        if method == "start":
            await ctx.start(child, name=name)
        else:
            getattr(ctx, method)(child, name=name)
            await trio.testing.wait_all_tasks_blocked()
    assert len(names) == 1
    assert names[0] == "fetcher" if name else "child" in names[0]


async def test_children_may_start_children(autojump_clock: trio.testing.MockClock) -> None:
    """Also when the body has ended."""
    done: list[int] = []

    async def child(level: int) -> None:
        await trio.sleep(1)
        if level:
            current().start_soon(child, level - 1)
        done.append(level)

    async with with_cancel(background()) as ctx:
        ctx.start_soon(child, 3)
    assert done == [3, 2, 1, 0]


async def test_a_context_is_entered_once(autojump_clock: trio.testing.MockClock) -> None:
    """A second time is a RuntimeError, as with `trio.CancelScope`."""
    ctx = with_cancel(background())
    async with ctx:
        with pytest.raises(RuntimeError, match="once"):
            with ctx:
                pass
        with pytest.raises(RuntimeError, match="once"):
            async with ctx:
                pass
        assert current() is ctx
    with pytest.raises(RuntimeError, match="once"):
        async with ctx:
            pass
    assert current() is background()


# --- the first failure is the cause ---------------------------------------------------------------


@METHODS
async def test_a_failing_child_cancels_its_context(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """With its exception as the cause; the block raises a group, as Trio does."""
    error = OSError("disk")
    with pytest.raises(ExceptionGroup) as info:
        async with with_cancel(background()) as ctx:
            await begin(ctx, method, failing(error, after=1))
            await trio.sleep_forever()
    assert info.value.exceptions == (error,)
    assert isinstance(ctx.err, ContextCancelled)
    assert ctx.err.context is ctx
    assert ctx.cause is error


@METHODS
async def test_siblings_are_told_after_the_cause_is_known(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """In the cleanup of a sibling `ctx.cause` is the failure already."""
    error = OSError("disk")
    causes: list[BaseException | None] = []

    async def sibling() -> None:
        try:
            await trio.sleep_forever()
        finally:
            causes.append(ctx.cause)

    with pytest.raises(ExceptionGroup):
        async with with_cancel(background()) as ctx:
            ctx.start_soon(sibling)
            await trio.testing.wait_all_tasks_blocked()
            await begin(ctx, method, failing(error))
    assert causes == [error]


async def test_of_several_failures_the_first_is_the_cause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What fails afterwards is in the group, and no cause."""
    first, second = OSError("first"), ValueError("second")

    async def cleanup() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise second

    with pytest.raises(ExceptionGroup) as info:
        async with with_cancel(background()) as ctx:
            ctx.start_soon(cleanup)
            ctx.start_soon(failing(first, after=1))
    assert set(leaves(info.value)) == {first, second}
    assert ctx.cause is first


async def test_a_failing_body_is_the_cause(autojump_clock: trio.testing.MockClock) -> None:
    """The body is as good as a child."""
    error = OSError()
    causes: list[BaseException | None] = []

    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            causes.append(ctx.cause)

    with pytest.raises(ExceptionGroup):
        async with with_cancel(background()) as ctx:
            ctx.start_soon(child)
            await trio.testing.wait_all_tasks_blocked()
            raise error
    assert causes == [error]
    assert ctx.cause is error


async def test_of_a_group_the_first_leaf_is_the_cause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """However deep; a `Cancelled` among them is none."""
    error = OSError()
    group = ExceptionGroup("", [ExceptionGroup("", [error]), ValueError()])
    with pytest.raises(ExceptionGroup):
        async with with_cancel(background()) as ctx:
            ctx.start_soon(failing(group))
    assert ctx.cause is error


async def test_a_group_that_starts_with_a_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Of a mixed group it is the first that is no `Cancelled`."""
    error = OSError()

    async def mixed() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                raise BaseExceptionGroup("", [cancelled, error]) from None

    with pytest.raises(ExceptionGroup) as info:
        async with with_cancel(background()) as ctx:
            ctx.start_soon(mixed)
    assert ctx.cause is error
    assert leaves(info.value) == [error]


@METHODS
async def test_a_cancelled_child_is_no_failure(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A child that ends by its own scope, or with its context, cancels nothing."""

    async def child(*, task_status: trio.TaskStatus[None] = IGNORED) -> None:
        task_status.started()
        with trio.move_on_after(1):
            await trio.sleep_forever()

    async with with_cancel(background()) as ctx:
        await begin(ctx, method, child)
        await trio.sleep(2)
        assert ctx.err is None
    assert ctx.err is None


async def test_a_failure_after_a_cancel_is_not_the_cause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What happened first stays."""
    error = OSError()

    async def cleanup() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    with pytest.raises(ExceptionGroup) as info:
        async with with_cancel(background()) as ctx:
            ctx.start_soon(cleanup)
            await trio.testing.wait_all_tasks_blocked()
            ctx.cancel("enough")
    assert leaves(info.value) == [error]
    assert str(ctx.cause) == "enough"


async def test_a_childs_timeout_is_a_failure(autojump_clock: trio.testing.MockClock) -> None:
    """A `DeadlineExceeded` of a context that the child made is an error like any other."""

    async def child() -> None:
        with with_timeout(current(), 1, name="inner"):
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as info:
        async with with_cancel(background()) as ctx:
            ctx.start_soon(child)
            await trio.sleep_forever()
    (error,) = leaves(info.value)
    assert isinstance(error, DeadlineExceeded)
    assert error.context is not None
    assert error.context.name == "inner"
    assert ctx.cause is error
    assert isinstance(ctx.err, ContextCancelled)


async def test_a_childs_check_is_no_failure(autojump_clock: trio.testing.MockClock) -> None:
    """An error from `ctx.check()` counts as ctx's own cancellation, so the block ends quietly."""

    async def child() -> None:
        while True:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            ctx.check()

    async def checking() -> None:
        ctx.cancel("enough")
        ctx.check()

    async with with_cancel(background()) as ctx:
        ctx.start_soon(checking)
    assert str(ctx.cause) == "enough"
    async with with_cancel(background()) as ctx:
        ctx.start_soon(child)
        await trio.sleep(1.5)
        ctx.cancel()
    assert ctx.cause is None
    assert trio.current_time() == 2


async def test_a_childs_check_of_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    """A child that notices the deadline by `check()`: the block raises a `DeadlineExceeded`."""

    async def child() -> None:
        await trio.sleep(2)
        ctx.check()

    with pytest.raises(DeadlineExceeded) as info:
        async with with_timeout(background(), 1) as ctx:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
                ctx.check()
    assert info.value.context is ctx
    with pytest.raises((DeadlineExceeded, ExceptionGroup)) as either:
        async with with_timeout(background(), 1) as ctx:
            ctx.start_soon(child)
    assert all(isinstance(leaf, DeadlineExceeded) for leaf in leaves(either.value))
    assert isinstance(ctx.err, DeadlineExceeded)
    assert ctx.err.context is ctx


async def test_a_failing_child_of_the_plain_nursery(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Started with `ctx.nursery.start_soon` its failure is the cause too, at the latest on exit."""
    error = OSError()
    with pytest.raises(ExceptionGroup) as info:
        async with with_cancel(background()) as ctx:
            ctx.nursery.start_soon(failing(error, after=1))
            await trio.sleep_forever()
    assert leaves(info.value) == [error]
    assert ctx.cause is error
    assert isinstance(ctx.err, ContextCancelled)


async def test_a_plain_childs_failure_that_was_noticed_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A sibling that looked at `err` first does not keep the cause from being known on exit."""
    error = OSError()
    looked: list[bool] = []

    async def sibling() -> None:
        try:
            await trio.sleep_forever()
        finally:
            looked.append(ctx.cancelled)

    with pytest.raises(ExceptionGroup):
        async with with_cancel(background()) as ctx:
            ctx.nursery.start_soon(sibling)
            ctx.nursery.start_soon(failing(error, after=1))
    assert looked == [True]
    assert ctx.cause is error


async def test_failures_nest(autojump_clock: trio.testing.MockClock) -> None:
    """A failure that leaves an inner block is the cause of the outer one as well."""
    error = OSError()

    async def inner_child() -> None:
        async with with_cancel(current(), name="inner") as inner:
            inners.append(inner)
            inner.start_soon(failing(error, after=1))

    inners: list[Context] = []
    with pytest.raises(ExceptionGroup) as info:
        async with with_cancel(background(), name="outer") as outer:
            outer.start_soon(inner_child)
    assert leaves(info.value) == [error]
    assert outer.cause is error
    assert inners[0].cause is error


async def test_a_failure_handled_inside_stays_inside(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A parent never takes over its child's cancellation."""
    async with with_cancel(background()) as outer:
        with pytest.raises(ExceptionGroup):
            async with with_cancel(outer) as inner:
                inner.start_soon(failing(OSError()))
        assert outer.err is None
        await trio.lowlevel.checkpoint()
    assert outer.err is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
async def test_a_base_exception_is_a_failure(
    error: BaseException, autojump_clock: trio.testing.MockClock
) -> None:
    """Any exception but `Cancelled`."""
    with pytest.raises(BaseExceptionGroup) as info:
        async with with_cancel(background()) as ctx:
            ctx.start_soon(failing(error))
    assert leaves(info.value) == [error]
    assert ctx.cause is error


# --- start ----------------------------------------------------------------------------------------


async def test_start_returns_what_started_was_given(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """And waits for it."""

    async def serve(host: str, *, task_status: trio.TaskStatus[str]) -> None:
        await trio.sleep(1)
        task_status.started(f"{host}:80")
        await trio.sleep(1)

    async with with_cancel(background()) as ctx:
        assert await ctx.start(serve, "localhost") == "localhost:80"
        assert trio.current_time() == 1
    assert trio.current_time() == 2


@pytest.mark.parametrize("caller", ["body", "inner block", "foreign task"])
async def test_a_failure_before_started_goes_to_the_caller(
    caller: str, autojump_clock: trio.testing.MockClock
) -> None:
    """It is raised by `start`, bare, and the context is left alone."""
    error = OSError()

    async def fail(*, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep(1)
        raise error

    async def call(ctx: Context) -> None:
        with pytest.raises(OSError) as info:
            await ctx.start(fail)
        assert info.value is error
        await trio.lowlevel.checkpoint()
        assert ctx.err is None

    async with trio.open_nursery() as nursery:
        async with with_cancel(background()) as ctx:
            if caller == "body":
                await call(ctx)
            elif caller == "inner block":
                with with_cancel(ctx):
                    await call(ctx)
            else:
                done = trio.Event()

                async def foreign() -> None:
                    await call(ctx)
                    done.set()

                nursery.start_soon(foreign)
                await done.wait()
        assert ctx.err is None


async def test_a_failure_after_started_is_the_contexts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """From then on it is as from `start_soon`; a foreign caller is left alone."""
    error = OSError()
    caller_went_on: list[float] = []
    async with trio.open_nursery() as nursery:

        async def foreign(ctx: Context) -> None:
            await ctx.start(failing(error, after=1))
            await trio.sleep(5)
            caller_went_on.append(trio.current_time())

        with pytest.raises(ExceptionGroup) as info:
            async with with_cancel(background()) as ctx:
                nursery.start_soon(foreign, ctx)
                await trio.sleep_forever()
        assert leaves(info.value) == [error]
        assert ctx.cause is error
    assert caller_went_on == [5]


async def test_a_failure_right_after_started(autojump_clock: trio.testing.MockClock) -> None:
    """Without a checkpoint in between it is the context's as well."""
    error = OSError()

    async def fail(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        raise error

    with pytest.raises(ExceptionGroup) as info:
        async with with_cancel(background()) as ctx:
            await ctx.start(fail)
            await trio.sleep_forever()
    assert leaves(info.value) == [error]
    assert ctx.cause is error


async def test_a_task_that_never_calls_started(autojump_clock: trio.testing.MockClock) -> None:
    """A RuntimeError for the caller, as in Trio."""

    async def forgets(*, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep(1)

    async with with_cancel(background()) as ctx:
        with pytest.raises(RuntimeError, match="started"):
            await ctx.start(forgets)
        assert ctx.err is None


@pytest.mark.parametrize("who", ["caller", "context"])
async def test_what_cancels_a_starting_task(
    who: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Before `started()` the caller's scopes do, and not the context's, unless it encloses them."""
    ended: list[float] = []
    reached = trio.Event()

    async def slow(*, task_status: trio.TaskStatus[None]) -> None:
        reached.set()
        try:
            await trio.sleep(5)
        finally:
            ended.append(trio.current_time())

    async def foreign(ctx: Context) -> None:
        with with_cancel(background()) as own:
            callers.append(own)
            try:
                await ctx.start(slow)
            except RuntimeError:
                assert who == "context"

    callers: list[Context] = []
    async with trio.open_nursery() as nursery:
        async with with_cancel(background()) as ctx:
            nursery.start_soon(foreign, ctx)
            await reached.wait()
            await trio.sleep(1)
            (ctx if who == "context" else callers[0]).cancel()
    assert ended == [1 if who == "caller" else 5]


async def test_current_before_and_after_started(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """First the caller's, then the context."""
    seen: list[Context] = []

    async def child(*, task_status: trio.TaskStatus[None]) -> None:
        seen.append(current())
        task_status.started()
        seen.append(current())

    async with with_cancel(background()) as ctx:
        with with_cancel(ctx) as inner:
            await ctx.start(child)
    assert seen == [inner, ctx]


# --- services -------------------------------------------------------------------------------------


async def test_a_service_ends_when_the_body_and_the_children_are_done(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Cancelled quietly, after the last ordinary child; the context is not cancelled by that."""
    ended: list[float] = []

    async def service() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async with with_cancel(background()) as ctx:
        ctx.start_service(service)
        ctx.start_service(service)
        ctx.start_soon(trio.sleep, 3)
        await trio.sleep(1)
        assert ended == []
    assert ended == [3, 3]
    assert ctx.err is None


async def test_a_service_of_a_body_without_children(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """With the body it ends, also one that never had the time to begin."""
    async with with_cancel(background()) as ctx:
        ctx.start_service(forever)
    assert ctx.err is None
    async with with_cancel(background()) as ctx:
        ctx.start_service(forever)
        await trio.sleep(1)
    assert trio.current_time() == 1


async def test_children_that_are_started_late_keep_services(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An ordinary child started by another, or by `start`, counts as long as it runs."""
    ended: list[float] = []

    async def service() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async def delayed(*, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep(1)
        task_status.started()
        await trio.sleep(1)

    async def child() -> None:
        await trio.sleep(1)
        ctx.start_soon(trio.sleep, 1)
        await ctx.start(delayed)

    async with with_cancel(background()) as ctx:
        ctx.start_service(service)
        ctx.start_soon(child)
    assert ended == [3]


async def test_a_start_that_is_under_way_keeps_services(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A foreign task that is starting one keeps the block, and so its services."""
    ended: list[float] = []

    async def service() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async def delayed(*, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep(2)
        task_status.started()
        await trio.sleep(2)

    async def foreign() -> None:
        await ctx.start(delayed)

    async with trio.open_nursery() as nursery:
        async with with_cancel(background()) as ctx:
            ctx.start_service(service)
            nursery.start_soon(foreign)
            await trio.sleep(1)
        assert trio.current_time() == 4
    assert ended == [4]


async def test_a_service_started_late(autojump_clock: trio.testing.MockClock) -> None:
    """Started by the last child, or by another service that is ending, it ends all the same."""
    started: list[str] = []

    async def note(name: str) -> None:
        started.append(name)
        await trio.sleep_forever()

    async def child() -> None:
        await trio.sleep(1)
        ctx.start_service(note, "by a child")

    async def service() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ctx.start_service(note, "by a service")

    async with with_cancel(background()) as ctx:
        ctx.start_service(service)
        ctx.start_soon(child)
    assert ctx.state == "closed"
    assert set(started) == {"by a child", "by a service"}
    assert ctx.err is None


async def test_a_service_that_starts_children(autojump_clock: trio.testing.MockClock) -> None:
    """An ordinary child of a service is waited for; the service goes on for it."""
    ended: list[tuple[str, float]] = []

    async def child() -> None:
        await trio.sleep(3)
        ended.append(("child", trio.current_time()))

    async def service() -> None:
        ctx.start_soon(child)
        try:
            await trio.sleep_forever()
        finally:
            ended.append(("service", trio.current_time()))

    async with with_cancel(background()) as ctx:
        ctx.start_service(service)
        await trio.sleep(1)
    assert ended == [("child", 3), ("service", 3)]


async def test_a_service_that_fails_fails_the_block(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is a child in all but how it ends."""
    error = OSError()
    with pytest.raises(ExceptionGroup) as info:
        async with with_cancel(background()) as ctx:
            ctx.start_service(failing(error, after=1))
            await trio.sleep_forever()
    assert leaves(info.value) == [error]
    assert ctx.cause is error


async def test_a_service_that_fails_while_it_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An error in its cleanup is not lost, and is the cause."""
    error = OSError()

    async def service() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    with pytest.raises(ExceptionGroup) as info:
        async with with_cancel(background()) as ctx:
            ctx.start_service(service)
            await trio.sleep(1)
    assert leaves(info.value) == [error]
    assert ctx.cause is error


async def test_a_service_that_returns_early(autojump_clock: trio.testing.MockClock) -> None:
    """A service may be done before the others."""
    async with with_cancel(background()) as ctx:
        ctx.start_service(trio.sleep, 1)
        await trio.sleep(2)
    assert trio.current_time() == 2


async def test_a_service_may_finish_its_cleanup(autojump_clock: trio.testing.MockClock) -> None:
    """The block waits for a service that is ending."""
    finished: list[float] = []

    async def service() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            finished.append(trio.current_time())

    async with with_cancel(background()) as ctx:
        ctx.start_service(service)
        await trio.sleep(1)
    assert finished == [3]


async def test_children_of_the_plain_nursery_do_not_keep_services(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Services wait only for ordinary children started through ctx."""
    ended: list[float] = []

    async def service() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async with with_cancel(background()) as ctx:
        ctx.start_service(service)
        ctx.nursery.start_soon(trio.sleep, 3)
        await trio.sleep(1)
    assert ended == [1]
    assert trio.current_time() == 3


async def test_a_service_of_a_context_that_ends(autojump_clock: trio.testing.MockClock) -> None:
    """Services are cancelled with their context like any child."""
    async with with_cancel(background()) as ctx:
        ctx.start_service(forever)
        ctx.cancel("enough")
    assert str(ctx.cause) == "enough"
    with pytest.raises(DeadlineExceeded):
        async with with_timeout(background(), 1) as ctx:
            ctx.start_service(forever)
            await trio.sleep_forever()
    assert ctx.err is not None
    assert ctx.err.context is ctx


# --- what the block raises ------------------------------------------------------------------------


@pytest.mark.parametrize("used", ["start_soon", "start", "start_service", "nursery"])
async def test_an_error_is_in_a_group_where_tasks_were_started(
    used: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Always, once a task was started or `ctx.nursery` was read."""
    error = OSError()
    with pytest.raises(ExceptionGroup) as info:
        async with with_cancel(background()) as ctx:
            if used == "nursery":
                _ = ctx.nursery
            else:
                await begin(ctx, used, nothing)
            await trio.sleep(1)
            raise error
    assert info.value.exceptions == (error,)


@pytest.mark.parametrize("how", ["with", "async with"])
async def test_an_error_is_bare_where_no_task_was_started(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A block that started nothing raises what its body raised."""
    error = OSError()
    with pytest.raises(OSError) as info:
        if how == "with":
            with with_cancel(background()) as ctx:
                raise error
        else:
            async with with_cancel(background()) as ctx:
                raise error
    assert info.value is error
    assert ctx.cause is error


@pytest.mark.parametrize("tasks", [False, True])
async def test_a_group_of_the_body_is_not_wrapped_again(
    tasks: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """A body's own exception group stays as it is."""
    group = ExceptionGroup("mine", [OSError(), ValueError()])
    with pytest.raises(ExceptionGroup) as info:
        async with with_cancel(background()) as ctx:
            if tasks:
                ctx.start_soon(nothing)
            await trio.sleep(1)
            raise group
    assert info.value is group


async def test_a_refused_start_started_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """After a wrong call the body's error is still bare."""
    error = OSError()
    refused: Any = sync_function
    with pytest.raises(OSError) as info:
        async with with_cancel(background()) as ctx:
            with pytest.raises(TypeError):
                ctx.start_soon(refused)
            raise error
    assert info.value is error


@METHODS
async def test_the_context_ends_while_tasks_run(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A block with tasks ends quietly after `cancel()`, and with `DeadlineExceeded` bare."""
    async with with_cancel(background()) as ctx:
        await begin(ctx, method, forever)
        ctx.cancel()
        await trio.sleep_forever()
    with pytest.raises(DeadlineExceeded) as info:
        async with with_timeout(background(), 1) as ctx:
            await begin(ctx, method, forever)
            await trio.sleep_forever()
    assert info.value.context is ctx


@METHODS
async def test_tasks_end_with_a_linked_parent(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A link reaches the tasks, before and after the body has ended."""
    parent = with_cancel(background())

    async def cancel_later() -> None:
        await trio.sleep(1)
        parent.cancel("enough")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_later)
        with pytest.raises(ContextCancelled) as info:
            async with with_cancel(parent) as ctx:
                await begin(ctx, method, forever)
                await trio.sleep_forever()
    assert info.value.context is parent
    assert str(info.value.cause) == "enough"
    assert trioctx.current() is background()


class AtTheLastMoment(trio.abc.Instrument):
    """Starts a task when the nursery is closed already, and the block is not yet left."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        if task.name == "the last":
            try:
                self.ctx.start_soon(nothing)
            except RuntimeError as error:
                self.error = error

    ctx: trioctx.Context


def test_starting_when_trio_has_closed_the_nursery() -> None:
    """Trio's refusal is passed on, and the coroutine is closed."""
    late = AtTheLastMoment()

    async def main() -> None:
        async with with_cancel(background()) as late.ctx:
            late.ctx.start_soon(trio.lowlevel.checkpoint, name="the last")

    trio.run(main, instruments=[late])
    assert isinstance(late.error, RuntimeError)
