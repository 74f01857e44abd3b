"""cancel_at_every_checkpoint: where it cancels, what it counts, and what it finds."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
import trio
from test_docstrings import EXAMPLE
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled
from trio.testing import MockClock, wait_all_tasks_blocked

import trioctx
from trioctx.testing import cancel_at_every_checkpoint


class Steps:
    """How far each run came."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    def begin(self) -> None:
        self.runs.append("")

    def reach(self, step: str) -> None:
        self.runs[-1] += step


async def test_it_cancels_at_each_checkpoint_and_then_lets_it_run_through() -> None:
    """Before the first, then twice at each: at a `checkpoint()` that comes to the same."""
    steps = Steps()

    async def three() -> None:
        steps.begin()
        for step in "abc":
            await checkpoint()
            steps.reach(step)

    assert await cancel_at_every_checkpoint(three) == 3
    assert steps.runs == ["", "", "", "a", "a", "ab", "ab", "abc"]


async def test_a_wait_is_interrupted_and_in_another_run_completed() -> None:
    """Then the next checkpoint is cancelled, also one that gives way to nobody."""
    steps = Steps()

    async def wait() -> None:
        steps.begin()
        event = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(set_later, event)
            await event.wait()
            steps.reach("waited")
            await checkpoint_if_cancelled()
            steps.reach(", done")

    async def set_later(event: trio.Event) -> None:
        await wait_all_tasks_blocked()
        event.set()

    await cancel_at_every_checkpoint(wait)
    assert steps.runs[:3] == ["", "", "waited"]
    assert set(steps.runs[3:]) == {"waited, done"}


async def test_inside_a_shield_the_cancellation_comes_after_it() -> None:
    """The checkpoint counts, and is not interrupted."""
    steps = Steps()

    async def shielded() -> None:
        steps.begin()
        with trio.CancelScope(shield=True):
            await checkpoint()
        steps.reach("a")
        await cancel_shielded_checkpoint()
        steps.reach("b")
        await checkpoint()
        steps.reach("c")

    assert await cancel_at_every_checkpoint(shielded) == 3
    assert set(steps.runs[:-1]) == {"ab"}
    assert steps.runs[-1] == "abc"


async def test_without_a_checkpoint_nothing_can_be_cancelled() -> None:
    """It runs twice, the first time already cancelled. The arguments are handed on."""
    seen: list[tuple[int, str]] = []

    async def note(number: int, text: str) -> None:
        seen.append((number, text))

    assert await cancel_at_every_checkpoint(note, 1, "x") == 0
    assert seen == [(1, "x"), (1, "x")]


async def test_what_is_deterministic_stays_so(autojump_clock: MockClock) -> None:
    """On the mock clock, with contexts and a child: the same count each time."""

    async def work() -> None:
        async with trioctx.with_timeout(trioctx.current(), 10) as ctx:
            ctx.start_soon(trio.sleep, 3)
            await trio.sleep(1)
            await trio.sleep(1)

    assert {await cancel_at_every_checkpoint(work) for _ in range(20)} == {3}


class Pool:
    """Counts what is open."""

    def __init__(self) -> None:
        self.open = 0

    def acquire(self) -> None:
        self.open += 1

    def release(self) -> None:
        self.open -= 1

    async def check(self) -> None:
        assert self.open == 0


@pytest.mark.parametrize("gap", [2, 3, 4, 5])
async def test_it_finds_the_one_checkpoint_where_cleanup_is_missing(gap: int) -> None:
    """And says which: the note has the stack of the task there, from the function on."""
    pool = Pool()

    async def careless(missing: int) -> None:
        pool.acquire()
        for number in (1, 2, 3, 4, 5):
            try:
                await checkpoint()
            except trio.Cancelled:
                if number != missing:
                    pool.release()
                raise
        pool.release()

    with pytest.raises(AssertionError) as caught:
        await cancel_at_every_checkpoint(careless, gap, check=pool.check)
    [note] = caught.value.__notes__
    first, second, third, *_ = note.splitlines()
    assert first.startswith(f"cancelled at checkpoint {gap}, in ")
    assert second.endswith("in careless")
    assert third == "    await checkpoint()"

    pool.open = 0
    assert await cancel_at_every_checkpoint(careless, 0, check=pool.check) == 5


async def test_it_finds_what_is_lost_when_a_wait_was_over() -> None:
    """The cancellation came too late to interrupt the wait, and what it brought is lost."""
    pool = Pool()

    async def hand_out(handed_out: trio.Event) -> None:
        await wait_all_tasks_blocked()
        pool.acquire()
        handed_out.set()

    async def careless() -> None:
        handed_out = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand_out, handed_out)
            await handed_out.wait()
            await checkpoint_if_cancelled()
            pool.release()

    with pytest.raises(AssertionError) as caught:
        await cancel_at_every_checkpoint(careless, check=pool.check)
    [note] = caught.value.__notes__
    assert note.startswith("cancelled after checkpoint 1, in ")
    assert "await handed_out.wait()" in note


async def test_check_is_called_after_each_run_and_not_cancelled() -> None:
    """Also after the one that ran through; what it does is not counted."""
    ended: list[str] = []

    async def work() -> None:
        try:
            await checkpoint()
        except trio.Cancelled:
            ended.append("cancelled")
            raise
        ended.append("through")

    async def check() -> None:
        await checkpoint()
        ended.append("checked")

    assert await cancel_at_every_checkpoint(work, check=check) == 1
    assert ended == ["cancelled", "checked"] * 3 + ["through", "checked"]


async def test_a_task_that_is_left_is_found() -> None:
    """Started in an older nursery, and not ended with the function."""
    async with trio.open_nursery() as nursery:

        async def work() -> None:
            await checkpoint()
            nursery.start_soon(trio.sleep_forever, name="forgotten")
            nursery.start_soon(checkpoint, name="soon over")

        with pytest.raises(AssertionError, match=r"^tasks left running: forgotten\n") as caught:
            await cancel_at_every_checkpoint(work)
        assert caught.value.__notes__ == ["in the run that was not cancelled"]
        nursery.cancel_scope.cancel()


async def test_a_task_that_is_about_to_end_is_not_left(autojump_clock: MockClock) -> None:
    """As those of `after_func` after the end of their context."""

    async def work() -> None:
        with trioctx.with_cancel(trioctx.current()) as ctx:
            trioctx.after_func(ctx, Pool().release)
            await trio.sleep(1)

    assert await cancel_at_every_checkpoint(work) == 1


async def test_a_context_that_is_left_open_is_found() -> None:
    """A value context: one with a scope is Trio's to notice."""
    user = ContextVar[str]("user")

    async def work() -> None:
        ctx = trioctx.with_value(trioctx.background(), user, "ann", name="forgotten")
        ctx.__enter__()
        await checkpoint()
        ctx.__exit__(None, None, None)

    with pytest.raises(AssertionError, match=r"context left open: .*forgotten") as caught:
        await cancel_at_every_checkpoint(work)
    assert caught.value.__notes__ == ["cancelled before it began"]
    assert user.get() == "ann"


async def test_the_tasks_it_starts_can_be_counted_too(autojump_clock: MockClock) -> None:
    """What goes wrong while the function only waits for its child is found by that."""
    pool = Pool()

    async def child() -> None:
        await trio.sleep(1)
        pool.acquire()
        await checkpoint()
        pool.release()

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    assert await cancel_at_every_checkpoint(work, check=pool.check) == 1
    with pytest.raises(AssertionError) as caught:
        await cancel_at_every_checkpoint(work, check=pool.check, all_tasks=True)
    [note] = caught.value.__notes__
    assert "child:\n" in note
    assert note.splitlines()[1].endswith("in child")


async def test_descendants_count_and_others_do_not() -> None:
    """Whoever starts a task in its own step counts; another task of the test does not."""

    async def twice() -> None:
        await checkpoint()
        await checkpoint()

    async def child() -> None:
        async with trioctx.with_cancel(trioctx.current()) as ctx:
            ctx.start_soon(twice)

    async def work() -> None:
        async with trioctx.with_cancel(trioctx.current()) as ctx:
            ctx.start_soon(child)

    async def other() -> None:
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(checkpoint)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert await cancel_at_every_checkpoint(work) == 1
        assert await cancel_at_every_checkpoint(work, all_tasks=True) == 4
        nursery.cancel_scope.cancel()


async def test_an_error_is_raised_with_a_note() -> None:
    """Bare, from the run in which it was raised: cancelled or not."""

    async def translate() -> None:
        try:
            await checkpoint()
        except trio.Cancelled as exc:
            raise OSError("translated") from exc

    async def fail() -> None:
        await checkpoint()
        raise ValueError("always")

    with pytest.raises(OSError, match="translated") as translated:
        await cancel_at_every_checkpoint(translate)
    assert translated.value.__notes__ == ["cancelled before it began"]
    with pytest.raises(ValueError, match="always") as failed:
        await cancel_at_every_checkpoint(fail)
    assert failed.value.__notes__ == ["in the run that was not cancelled"]


async def test_a_cancellation_from_outside_ends_it(autojump_clock: MockClock) -> None:
    """Whichever run it comes in: it is not taken for one of its own."""
    finished = False
    with trio.move_on_after(3) as scope:
        await cancel_at_every_checkpoint(trio.sleep, 2)
        finished = True
    assert scope.cancelled_caught
    assert not finished


@pytest.mark.parametrize("make", [lambda: None, lambda: 3, partial(trio.sleep, 1)])
async def test_what_is_no_function_is_refused(make: Callable[[], Any]) -> None:
    """With the name of the parameter and what to pass. A coroutine is closed."""
    with pytest.raises(TypeError, match="async_fn must be an async function, not "):
        await cancel_at_every_checkpoint(make())
    if (check := make()) is not None:
        with pytest.raises(TypeError, match=r"check must be .*pass the function itself"):
            await cancel_at_every_checkpoint(checkpoint, check=check)


class Connection:
    """What the docstring's example needs: `begin()` returns itself as the only transaction."""

    def __init__(self) -> None:
        self.transactions = 0

    async def begin(self) -> "Connection":
        await checkpoint()
        return self

    async def __aenter__(self) -> "Connection":
        self.transactions += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.transactions -= 1

    async def send(self, data: bytes) -> None:
        await checkpoint()


async def test_the_example_runs() -> None:
    """That of the docstring."""
    found = EXAMPLE.search(f"{inspect.getdoc(cancel_at_every_checkpoint)}\n")
    assert found is not None
    names = {
        "cancel_at_every_checkpoint": cancel_at_every_checkpoint,
        "connection": Connection(),
        "data": b"x",
    }
    code = compile(
        textwrap.dedent(found["code"]), "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    await eval(code, names)
