"""`current()`: the innermost open context whose block encloses the running task, and no other."""

import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar, copy_context

import outcome
import pytest
import trio
import trio.testing

import trioctx
from trioctx import Context, background, current, with_cancel, with_value

VAR: ContextVar[str] = ContextVar("VAR")


async def current_in(nursery: trio.Nursery) -> Context:
    """What `current()` is in a task that plain Trio starts in `nursery`."""
    seen: list[Context] = []
    done = trio.Event()

    async def look() -> None:
        seen.append(current())
        done.set()

    nursery.start_soon(look)
    await done.wait()
    return seen[0]


async def look() -> Context:
    return current()


class Starting:
    """A task for `nursery.start`: what `current()` is before and after `started()`."""

    def __init__(self) -> None:
        self.before: Context | None = None
        self.after: Context | None = None
        self.looked = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.before = current()
        task_status.started()
        self.after = current()
        self.looked.set()


# --- without Trio, without a context --------------------------------------------------------------


def test_outside_a_run_it_is_background() -> None:
    """Without a Trio run there is no block to be in."""
    assert current() is background()


def test_in_a_run_without_contexts_it_is_background() -> None:
    """A Trio program that never entered a context is in none."""
    assert trio.run(look) is background()


def test_after_a_run_it_is_background() -> None:
    """What was entered in a run is left with it."""

    async def main() -> None:
        async with with_cancel(background()) as ctx:
            assert current() is ctx

    trio.run(main)
    assert current() is background()


def test_a_context_that_is_not_entered_is_never_current() -> None:
    """Deriving does not enter."""

    async def main() -> None:
        with_value(with_cancel(background()), VAR, "x")
        assert current() is background()

    trio.run(main)


@pytest.mark.parametrize("how", ["error", "crash in a child", "cancelled"])
def test_a_block_that_fails_is_left(how: str) -> None:
    """However a block ends, it is current no longer."""

    async def fail() -> None:
        raise OSError

    async def main() -> None:
        with with_cancel(background()) as outer:
            try:
                async with with_cancel(outer) as ctx:
                    if how == "error":
                        raise OSError
                    if how == "cancelled":
                        ctx.cancel()
                    else:
                        ctx.start_soon(fail)
                    await trio.sleep_forever()
            except* OSError:
                pass
            assert current() is outer

    trio.run(main)


# --- blocks of one task ---------------------------------------------------------------------------


async def test_it_is_the_innermost(autojump_clock: trio.testing.MockClock) -> None:
    """Each block is current inside, and gives back what was."""
    async with with_cancel(background()) as one:
        assert current() is one
        with with_value(one, VAR, "x") as two:
            assert current() is two
            with trio.CancelScope():
                with trioctx.with_timeout(two, 5) as three:
                    assert current() is three
                assert current() is two
        assert current() is one
    assert current() is background()


@pytest.mark.parametrize("derived_from", ["background", "outer", "linked"])
async def test_the_block_counts_and_not_the_parent(
    derived_from: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A context entered under any parent is current, and what is around it afterwards."""
    with with_cancel(background()) as outer:
        parent = {"background": background(), "outer": outer}.get(derived_from)
        with with_cancel(parent or with_cancel(background())) as ctx:
            assert current() is ctx
        assert current() is outer


async def test_value_blocks_left_out_of_order(autojump_clock: trio.testing.MockClock) -> None:
    """A block left too early is skipped: what is current is always open."""
    with with_cancel(background()) as outer:
        one = with_value(outer, VAR, "one")
        two = with_value(outer, VAR, "two")
        three = with_value(outer, VAR, "three")
        for ctx in (one, two, three):
            ctx.__enter__()
        two.__exit__(None, None, None)
        assert current() is three
        one.__exit__(None, None, None)
        assert current() is three
        three.__exit__(None, None, None)
        assert current() is outer
        assert await current_in_new_nursery() is outer


async def current_in_new_nursery() -> Context:
    async with trio.open_nursery() as nursery:
        return await current_in(nursery)


async def test_a_block_that_is_still_open_when_the_one_around_it_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It has ended, also for who has just seen that it had not."""
    outer = with_value(background(), VAR, "outer")
    inner = with_value(outer, VAR, "inner")
    with ExitStack() as late:
        outer.__enter__()
        late.enter_context(inner)
        assert inner.err is None
        outer.__exit__(None, None, None)
        assert isinstance(inner.err, trioctx.ContextCancelled)
        assert isinstance(inner.cause, trioctx.ContextClosed)


async def test_a_task_under_blocks_left_out_of_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A nursery between two value blocks, the outer of which was left first."""
    with with_cancel(background()) as outer:
        one = with_value(outer, VAR, "one")
        two = with_value(outer, VAR, "two")
        one.__enter__()
        async with trio.open_nursery() as nursery:
            two.__enter__()
            assert await current_in(nursery) is one
            one.__exit__(None, None, None)
            assert await current_in(nursery) is outer
            assert current() is two
            two.__exit__(None, None, None)
            assert current() is outer


# --- async generators -----------------------------------------------------------------------------


async def holding(make: Callable[[Context], Context]) -> AsyncGenerator[Context, None]:
    """A generator that yields from within a block."""
    with make(current()) as ctx:
        yield ctx


@pytest.mark.parametrize("make", [with_cancel, lambda parent: with_value(parent, VAR, "x")])
async def test_a_generator_holds_a_block_open(
    make: Callable[[Context], Context], autojump_clock: trio.testing.MockClock
) -> None:
    """Its scope is on the task that runs it, so the block is current while it is suspended."""
    with with_cancel(background()) as outer:
        async with aclosing(holding(make)) as generator:
            async for ctx in generator:
                assert current() is ctx
                assert ctx.state == "open"
        assert current() is outer


async def test_a_generator_with_an_async_with_block(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The same with a nursery, as `@asynccontextmanager` does it."""

    @asynccontextmanager
    async def service() -> AsyncIterator[Context]:
        async with with_cancel(current()) as ctx:
            yield ctx

    with with_cancel(background()) as outer:
        async with service() as ctx:
            assert current() is ctx
            assert await current_in(ctx.nursery) is ctx
        assert current() is outer


async def test_a_sync_generator_holds_a_block_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The same with `@contextmanager`."""

    @contextmanager
    def block() -> Iterator[Context]:
        with with_cancel(current()) as ctx:
            yield ctx

    with block() as ctx:
        assert current() is ctx
    assert current() is background()


async def test_a_value_block_begun_in_another_task_is_not_of_this_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A generator that holds a value block may be begun in one task and closed in another."""
    with with_cancel(background()) as outer:
        generator = holding(lambda parent: with_value(parent, VAR, "x"))
        begun = trio.Event()
        finish = trio.Event()

        async def begin() -> None:
            ctx = await anext(generator)
            assert current() is ctx
            begun.set()
            await finish.wait()
            assert current() is outer

        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin)
            await begun.wait()
            assert current() is outer
            async with aclosing(generator):
                pass
            assert current() is outer
            finish.set()


# --- tasks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("entered", ["with", "async with"])
async def test_a_task_in_an_older_nursery(
    entered: str, autojump_clock: trio.testing.MockClock
) -> None:
    """It inherits the ContextVars of the block it is started in, and is not in it."""
    async with trio.open_nursery() as older:
        if entered == "with":
            with with_cancel(background()) as ctx:
                assert await current_in(older) is background()
        else:
            async with with_cancel(background()) as ctx:
                assert await current_in(older) is background()
                assert await current_in(ctx.nursery) is ctx


async def test_a_task_in_a_nursery_opened_inside(autojump_clock: trio.testing.MockClock) -> None:
    """A plain nursery inside the block is in the block."""
    with with_cancel(background()) as ctx:
        async with trio.open_nursery() as inside:
            assert await current_in(inside) is ctx


async def test_a_task_in_a_nursery_between_two_blocks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each nursery of a task lies in the blocks that were entered before it."""
    async with trio.open_nursery() as zero:
        with with_cancel(background()) as one:
            async with trio.open_nursery() as first:
                with with_value(one, VAR, "x") as two:
                    async with with_cancel(two) as three:
                        async with trio.open_nursery() as third:
                            assert await current_in(zero) is background()
                            assert await current_in(first) is one
                            assert await current_in(three.nursery) is three
                            assert await current_in(third) is three
                    async with trio.open_nursery() as second:
                        assert await current_in(second) is two


async def test_a_nursery_opened_after_others_were_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Places of nurseries are reused, those of contexts are not mixed up."""
    async with trio.open_nursery() as zero:
        async with trio.open_nursery():
            pass
        with with_cancel(background()) as one:
            async with trio.open_nursery() as first:
                assert await current_in(first) is one
            async with trio.open_nursery() as second:
                assert await current_in(second) is one
                assert await current_in(zero) is background()


async def test_what_the_parent_task_enters_later_is_not_around_the_child(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A child is in the blocks its nursery was opened in, whatever its parent does since."""
    seen: list[Context] = []

    async def look_again(ready: trio.Event, done: trio.Event) -> None:
        seen.append(current())
        await ready.wait()
        seen.append(current())
        done.set()

    with with_cancel(background()) as outer:
        async with trio.open_nursery() as nursery:
            ready, done = trio.Event(), trio.Event()
            nursery.start_soon(look_again, ready, done)
            await trio.testing.wait_all_tasks_blocked()
            async with with_cancel(outer) as later:
                with with_value(later, VAR, "x"):
                    ready.set()
                    await done.wait()
    assert seen == [outer, outer]


async def test_grandchildren(autojump_clock: trio.testing.MockClock) -> None:
    """A task without a block of its own is in what its parent task's nursery is in."""

    async def deeper(level: int) -> Context:
        if level == 0:
            return await current_in_new_nursery()
        async with trio.open_nursery() as nursery:
            box: list[Context] = []

            async def run() -> None:
                box.append(await deeper(level - 1))

            nursery.start_soon(run)
        return box[0]

    with with_cancel(background()) as ctx:
        assert await deeper(5) is ctx
    assert await deeper(5) is background()


async def test_a_task_outlives_the_block_it_was_started_in(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What is current is never closed."""
    seen: list[Context] = []
    closed = trio.Event()

    async def look_late() -> None:
        await closed.wait()
        seen.append(current())

    with with_cancel(background()) as outer:
        async with trio.open_nursery() as older:
            async with with_cancel(outer) as ctx:
                with with_value(ctx, VAR, "x"):
                    older.start_soon(look_late)
            closed.set()
    assert seen == [outer]


@pytest.mark.parametrize("method", ["start_soon", "start_service"])
async def test_a_task_started_by_a_context_is_in_it_whoever_calls(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Started from its own block, from one inside it, and from a task elsewhere."""
    seen: list[Context] = []

    async def note() -> None:
        seen.append(current())

    async with trio.open_nursery() as nursery:
        async with with_cancel(background()) as ctx:

            async def elsewhere() -> None:
                with with_cancel(background()):
                    getattr(ctx, method)(note)

            getattr(ctx, method)(note)
            with with_value(ctx, VAR, "x"):
                getattr(ctx, method)(note)
            nursery.start_soon(elsewhere)
            await trio.testing.wait_all_tasks_blocked()
    assert seen == [ctx, ctx, ctx]


async def test_ctx_nursery_used_from_elsewhere(autojump_clock: trio.testing.MockClock) -> None:
    """A foreign task starting one with `ctx.nursery` hands it its ContextVars, not its block."""
    async with trio.open_nursery() as nursery:
        async with with_cancel(background()) as ctx:
            seen: list[Context] = []

            async def elsewhere() -> None:
                with with_cancel(background()):
                    seen.append(await current_in(ctx.nursery))

            nursery.start_soon(elsewhere)
            await trio.testing.wait_all_tasks_blocked()
            assert seen == [ctx]


# --- nursery.start --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["nursery.start", "ctx.start"])
async def test_started_moves_a_task_from_the_caller_to_the_nursery(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Before `started()` a task is in its caller's block, afterwards in its nursery's."""
    starting = Starting()
    async with with_cancel(background(), name="target") as ctx:
        with with_cancel(ctx, name="caller") as caller:
            start = ctx.nursery.start if method == "nursery.start" else ctx.start
            await start(starting.run)
            await starting.looked.wait()
    assert starting.before is caller
    assert starting.after is ctx


@pytest.mark.parametrize("method", ["nursery.start", "ctx.start"])
async def test_started_from_a_foreign_task(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """The caller may be anywhere."""
    starting = Starting()
    callers: list[Context] = []
    async with trio.open_nursery() as nursery:
        async with with_cancel(background(), name="target") as ctx:

            async def elsewhere() -> None:
                with with_cancel(background(), name="caller") as caller:
                    callers.append(caller)
                    start = ctx.nursery.start if method == "nursery.start" else ctx.start
                    await start(starting.run)

            nursery.start_soon(elsewhere)
            await starting.looked.wait()
    assert [starting.before] == callers
    assert starting.after is ctx


async def test_a_plain_nursery_and_start(autojump_clock: trio.testing.MockClock) -> None:
    """A nursery older than the caller's block: out of the block at `started()`."""
    starting = Starting()
    async with trio.open_nursery() as older:
        with with_cancel(background()) as ctx:
            await older.start(starting.run)
            await starting.looked.wait()
    assert starting.before is ctx
    assert starting.after is background()


async def test_tasks_below_one_that_moves(autojump_clock: trio.testing.MockClock) -> None:
    """`started()` moves a task with all that is below it."""
    seen: list[Context] = []
    moved = trio.Event()
    done = trio.Event()

    async def grandchild() -> None:
        seen.append(current())
        await moved.wait()
        seen.append(current())

    async def child(*, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(grandchild)
            await trio.testing.wait_all_tasks_blocked()
            task_status.started()
            moved.set()
        done.set()

    async with trio.open_nursery() as older:
        with with_cancel(background()) as ctx:
            await older.start(child)
            await done.wait()
    assert seen == [ctx, background()]


async def test_a_block_that_is_open_while_its_task_moves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It stays current in its task; after it comes what the task has moved to."""
    seen: list[Context] = []
    done = trio.Event()

    async def child(*, task_status: trio.TaskStatus[None]) -> None:
        with with_cancel(current()) as own:
            task_status.started()
            assert current() is own
            assert await current_in_new_nursery() is own
        seen.append(current())
        done.set()

    async with with_cancel(background()) as target:
        with with_cancel(target):
            await target.nursery.start(child)
            await done.wait()
    assert seen == [target]


async def test_a_task_that_moves_twice(autojump_clock: trio.testing.MockClock) -> None:
    """A start within a start: out of one block after the other."""
    seen: list[Context] = []
    done = trio.Event()

    async def inner(*, task_status: trio.TaskStatus[None]) -> None:
        seen.append(current())
        task_status.started()
        seen.append(current())
        await moved.wait()
        seen.append(current())
        done.set()

    moved = trio.Event()

    async def outer(*, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            with with_cancel(current(), name="between") as between:
                blocks.append(between)
                await nursery.start(inner)
            task_status.started()
            moved.set()

    blocks: list[Context] = []
    async with trio.open_nursery() as older:
        with with_cancel(background(), name="caller") as caller:
            await older.start(outer)
            await done.wait()
    assert seen == [blocks[0], caller, background()]


# --- system tasks, other ways into the run --------------------------------------------------------


async def test_a_system_task_is_in_no_block(autojump_clock: trio.testing.MockClock) -> None:
    """Whatever ContextVars it is spawned with."""
    seen: list[Context] = []
    done = trio.Event()

    async def system() -> None:
        seen.append(current())
        with with_cancel(background()) as own:
            assert current() is own
        done.set()

    with with_cancel(background()):
        trio.lowlevel.spawn_system_task(system, context=copy_context())
        await done.wait()
    assert seen == [background()]


async def test_run_sync_soon_is_in_no_block(autojump_clock: trio.testing.MockClock) -> None:
    """A callback that Trio runs between tasks belongs to none."""
    seen: list[Context] = []
    done = trio.Event()

    def callback() -> None:
        seen.append(current())
        done.set()

    with with_cancel(background()):
        trio.lowlevel.current_trio_token().run_sync_soon(callback)
        await done.wait()
    assert seen == [background()]


@pytest.mark.parametrize("call", ["run", "run_sync"])
async def test_from_thread_is_in_the_block_of_the_task_that_waits(
    call: str, mock_clock: trio.testing.MockClock
) -> None:
    """Trio runs the call in the task that started the thread."""

    def thread() -> Context:
        if call == "run":
            return trio.from_thread.run(look)
        return trio.from_thread.run_sync(current)

    with with_cancel(background()) as ctx:
        assert await trio.to_thread.run_sync(thread) is ctx
        assert await ctx.run_in_thread(thread) is ctx


@pytest.mark.parametrize("call", ["run", "run_sync"])
@pytest.mark.parametrize("how", ["token", "abandon"])
async def test_from_thread_in_a_system_task(
    call: str, how: str, mock_clock: trio.testing.MockClock
) -> None:
    """With a token, or from a thread that may be abandoned, Trio uses a task of its own."""
    token = trio.lowlevel.current_trio_token() if how == "token" else None

    def thread() -> Context:
        if call == "run":
            return trio.from_thread.run(look, trio_token=token)
        return trio.from_thread.run_sync(current, trio_token=token)

    with with_cancel(background()):
        seen = await trio.to_thread.run_sync(thread, abandon_on_cancel=how == "abandon")
    assert seen is background()


# --- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("entered", ["with", "async with", "value"])
async def test_to_thread_run_sync(entered: str, mock_clock: trio.testing.MockClock) -> None:
    """In a thread of Trio's it is the context of the task that started it."""
    if entered == "with":
        with with_cancel(background()) as ctx:
            assert await trio.to_thread.run_sync(current) is ctx
    elif entered == "value":
        with with_value(background(), VAR, "x") as ctx:
            assert await trio.to_thread.run_sync(current) is ctx
    else:
        async with with_cancel(background()) as ctx:
            assert await trio.to_thread.run_sync(current) is ctx
    assert await trio.to_thread.run_sync(current) is background()


async def test_to_thread_from_a_child(mock_clock: trio.testing.MockClock) -> None:
    """Also in the thread of a task that `start_soon` started from somewhere inside."""
    seen: list[Context] = []

    async def child() -> None:
        seen.append(await trio.to_thread.run_sync(current))

    async with with_cancel(background()) as ctx:
        ctx.start_soon(child)
        with with_value(ctx, VAR, "x"):
            ctx.start_soon(child)
            await trio.testing.wait_all_tasks_blocked()
    assert seen == [ctx, ctx]


async def test_to_thread_from_a_child_of_a_copied_mapping(
    mock_clock: trio.testing.MockClock,
) -> None:
    """A value context made of all ContextVars that stand does not bring back where they stood."""
    seen: list[Context] = []

    async def child() -> None:
        seen.append(await trio.to_thread.run_sync(current))

    with with_cancel(background()):
        everything = dict(copy_context().items())
    async with with_cancel(background()) as ctx:
        with trioctx.with_values(ctx, everything) as inner:
            assert await trio.to_thread.run_sync(current) is inner
            ctx.start_soon(child)
            await trio.testing.wait_all_tasks_blocked()
    assert seen == [ctx]


async def test_a_plain_thread_without_contextvars(mock_clock: trio.testing.MockClock) -> None:
    """A thread that was given no ContextVars is in no block."""
    seen: list[Context] = []
    with with_cancel(background()):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
    assert seen == [background()]


async def test_a_plain_thread_with_copied_contextvars(mock_clock: trio.testing.MockClock) -> None:
    """It is in the block that the ContextVars were copied in."""
    seen: list[Context] = []
    with with_cancel(background()) as ctx:
        variables = copy_context()
        thread = threading.Thread(target=lambda: seen.append(variables.run(current)))
        thread.start()
        thread.join()
    assert seen == [ctx]


async def test_copied_contextvars_after_blocks_closed(
    mock_clock: trio.testing.MockClock,
) -> None:
    """In a thread it is the innermost that is still open, at last background()."""
    seen: list[Context] = []

    def thread() -> None:
        seen.append(variables.run(current))

    def look_in_thread() -> None:
        worker = threading.Thread(target=thread)
        worker.start()
        worker.join()

    with with_cancel(background()) as outer:
        with with_cancel(outer):
            with with_value(current(), VAR, "x"):
                variables = copy_context()
            look_in_thread()
        look_in_thread()
    look_in_thread()
    middle = seen[0]
    assert middle.parent is outer
    assert seen == [middle, outer, background()]


async def test_an_abandoned_thread_never_sees_a_closed_context(
    mock_clock: trio.testing.MockClock,
) -> None:
    """A thread that goes on after its context closed is in the next one outward."""
    seen: queue.SimpleQueue[Context] = queue.SimpleQueue()
    running, go_on = threading.Event(), threading.Event()

    def thread() -> None:
        running.set()
        go_on.wait()
        seen.put(current())

    with with_cancel(background()) as outer:
        with with_cancel(outer) as ctx:
            async with trio.open_nursery() as nursery:

                async def work() -> None:
                    await ctx.run_in_thread(thread, abandon_on_cancel=True)

                nursery.start_soon(work)
                await trio.to_thread.run_sync(running.wait)
                ctx.cancel()
        go_on.set()
        assert seen.get() is outer


@pytest.mark.parametrize("which", ["enclosing", "linked", "new", "root"])
async def test_run_in_thread_is_exact(which: str, mock_clock: trio.testing.MockClock) -> None:
    """In the thread it is the block of the caller, whichever context it is called on."""
    async with trio.open_nursery() as nursery:
        linked = await nursery.start(open_until_cancelled)
        with with_cancel(background()) as outer:
            ctx = {
                "enclosing": outer,
                "linked": linked,
                "new": with_cancel(outer),
                "root": background(),
            }[which]
            with with_cancel(outer) as caller:
                assert await ctx.run_in_thread(current) is caller
        assert await linked.run_in_thread(current) is background()
        linked.cancel()


async def open_until_cancelled(*, task_status: trio.TaskStatus[Context]) -> None:
    """A block in a task of its own."""
    with with_cancel(background()) as ctx:
        task_status.started(ctx)
        await trio.sleep_forever()


async def test_run_in_thread_of_a_task_in_an_older_nursery(
    mock_clock: trio.testing.MockClock,
) -> None:
    """It is the task's own place that counts, not the ContextVars it was started with."""
    seen: list[Context] = []

    async def work(ctx: Context) -> None:
        seen.append(await ctx.run_in_thread(current))

    with with_cancel(background()) as outer:
        async with trio.open_nursery() as older:
            with with_cancel(outer):
                older.start_soon(work, outer)
                await trio.testing.wait_all_tasks_blocked()
    assert seen == [outer]


@pytest.mark.parametrize("which", ["open", "new"])
async def test_running_under_the_values_of_another_does_not_move_a_thread(
    which: str, mock_clock: trio.testing.MockClock
) -> None:
    """`ctx.run` gives values, not a block: also in a thread the caller's stays current."""
    with with_cancel(background()) as outer:
        with with_cancel(outer) as caller:
            other = outer if which == "open" else with_cancel(background())
            assert other.run(current) is caller
            assert await caller.run_in_thread(other.run, current) is caller


# --- several runs ---------------------------------------------------------------------------------


async def test_a_run_in_a_thread_is_outside_the_blocks_of_this_one(
    mock_clock: trio.testing.MockClock,
) -> None:
    """A second Trio run inherits ContextVars, and is not in the blocks they name."""

    async def main() -> Context:
        assert current() is background()
        with with_cancel(background()) as own:
            assert current() is own
        return current()

    with with_cancel(background()) as ctx:
        assert await trio.to_thread.run_sync(trio.run, main) is background()
        assert current() is ctx


def test_guest_mode() -> None:
    """A guest run has its blocks, the host that it runs in is outside of them."""
    todo: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
    results: list[outcome.Outcome[Context]] = []
    in_host: list[Context] = []

    async def guest() -> Context:
        async with with_cancel(background()) as ctx:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                assert current() is ctx
            todo.put(lambda: in_host.append(current()))
            await trio.to_thread.run_sync(lambda: None)
        return current()

    trio.lowlevel.start_guest_run(
        guest, run_sync_soon_threadsafe=todo.put, done_callback=results.append
    )
    while not results:
        todo.get()()
    assert results[0].unwrap() is background()
    assert in_host == [background()]


# --- never wrong ----------------------------------------------------------------------------------


async def test_every_task_agrees_with_what_cancels_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Cancelling what is current in a task ends the task, and cancelling what is not does not."""
    ended: list[str] = []

    async def child(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async with trio.open_nursery() as zero:
        async with with_cancel(background()) as one:
            async with trio.open_nursery() as first:
                async with with_cancel(one) as two:
                    zero.start_soon(child, "zero")
                    first.start_soon(child, "first")
                    two.nursery.start_soon(child, "two")
                    await trio.testing.wait_all_tasks_blocked()
                    two.cancel()
                assert ended == ["two"]
                one.cancel()
        assert ended == ["two", "first"]
        zero.cancel_scope.cancel()
    assert ended == ["two", "first", "zero"]
