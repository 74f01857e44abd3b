"""Counterparts of golang.org/x/sync `errgroup/errgroup_test.go`: the first failure is the cause.

`async with` on a context is the group: `ctx.start_soon` is `Go`, the end of the block is `Wait`.
All errors come out of the block in one exception group, as in Trio; the first is `ctx.cause`.
"""

import hashlib
import threading
from collections.abc import Sequence

import pytest
import trio
import trio.testing

import trioctx


class Doom(Exception):
    """What the tasks of these tests fail with."""


async def finish(error: Exception | None, after: float = 0) -> None:
    """Work for a while, then succeed or fail."""
    await trio.sleep(after)
    if error is not None:
        raise error


async def fail_when_cancelled(error: Exception) -> None:
    """Work until cancelled, then fail on the way out."""
    try:
        await trio.sleep_forever()
    finally:
        raise error


async def run_group(errors: Sequence[Exception | None]) -> tuple[trioctx.Context, list[Exception]]:
    """Run a task for each error, one second apart; return the context and what it raised."""
    caught: list[Exception] = []
    ctx = trioctx.with_cancel(trioctx.background())
    try:
        async with ctx:
            for number, error in enumerate(errors):
                ctx.start_soon(finish, error, number)
    except* Doom as group:
        caught.extend(group.exceptions)
    return ctx, caught


def errors_for(pattern: str) -> list[Exception | None]:
    """Make one fresh error for every `x` in the pattern, and None for every `.`."""
    return [Doom(number) if mark == "x" else None for number, mark in enumerate(pattern)]


@pytest.mark.parametrize("pattern", ["", ".", "x", "x.", "x.x", ".x", "..x"])
async def test_the_first_error_is_the_cause(
    pattern: str, autojump_clock: trio.testing.MockClock
) -> None:
    """TestZeroGroup: and no later one takes its place."""
    errors = errors_for(pattern)
    first = next((error for error in errors if error is not None), None)
    ctx, caught = await run_group(errors)
    assert ctx.cause is first
    assert caught == ([first] if first else [])


async def test_errors_raised_in_answer_to_the_first_are_reported_and_are_not_the_cause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """TestZeroGroup: what a sibling raises on being cancelled is in the group, after the fact."""
    first, second = Doom("first"), Doom("second")
    ctx = trioctx.with_cancel(trioctx.background())
    with pytest.raises(BaseExceptionGroup) as caught:
        async with ctx:
            ctx.start_soon(fail_when_cancelled, second)
            ctx.start_soon(finish, first, 1)
    assert set(caught.value.exceptions) == {first, second}
    assert ctx.cause is first


@pytest.mark.parametrize("pattern", ["", ".", "x", "x."])
async def test_the_context_is_done_after_its_block(
    pattern: str, autojump_clock: trio.testing.MockClock
) -> None:
    """TestWithContext: the block raises what failed, and the context is done either way."""
    errors = errors_for(pattern)
    ctx, caught = await run_group(errors)
    assert caught == [error for error in errors if error is not None]
    assert ctx.done
    assert ctx.state == "closed"
    assert ctx.cancelled is bool(caught)


@pytest.mark.parametrize("pattern", ["", ".", "x", "x."])
async def test_a_failed_group_is_cancelled_with_its_error_as_the_cause(
    pattern: str, autojump_clock: trio.testing.MockClock
) -> None:
    """TestCancelCause: a group that did not fail has no error and no cause."""
    errors = errors_for(pattern)
    want = errors[0] if errors else None
    ctx, _ = await run_group(errors)
    assert ctx.cause is want
    if want is None:
        assert ctx.err is None
    else:
        assert isinstance(ctx.err, trioctx.ContextCancelled)
        assert ctx.err.context is ctx
        assert ctx.err.cause is want


async def test_a_limiter_bounds_the_threads_of_a_group() -> None:
    """TestGoLimit: the limit is a trio.CapacityLimiter, handed to run_in_thread."""
    limiter = trio.CapacityLimiter(3)
    lock = threading.Lock()
    active = 0
    seen: list[int] = []

    def work() -> None:
        nonlocal active
        with lock:
            active += 1
            seen.append(active)
        assert limiter.borrowed_tokens >= 1
        with lock:
            active -= 1

    async with trioctx.with_cancel(trioctx.background()) as ctx:
        for _ in range(100):

            async def task() -> None:
                await ctx.run_in_thread(work, limiter=limiter)

            ctx.start_soon(task)
    assert len(seen) == 100
    assert max(seen) <= 3
    assert ctx.err is None


async def test_a_group_is_a_way_to_wait_for_many_and_to_see_what_failed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """ExampleGroup_justErrors: the fetches that can go on until one fails."""
    fetched: list[str] = []

    async def fetch(name: str, seconds: float) -> None:
        await trio.sleep(seconds)
        if name.endswith("stupidname"):
            raise Doom(name)
        fetched.append(name)

    failed: list[BaseException] = []
    ctx = trioctx.with_cancel(trioctx.background())
    try:
        async with ctx:
            ctx.start_soon(fetch, "golang", 1)
            ctx.start_soon(fetch, "some stupidname", 2)
            ctx.start_soon(fetch, "google", 3)
    except* Doom as group:
        failed.extend(group.exceptions)
    assert fetched == ["golang"]
    assert [str(error) for error in failed] == ["some stupidname"]
    assert failed == [ctx.cause]
    assert trio.current_time() == 2


async def test_a_group_runs_searches_side_by_side_and_keeps_their_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """ExampleGroup_parallel: each task writes its own place."""

    async def search(kind: str, query: str, results: dict[str, str]) -> None:
        await trio.sleep(1)
        results[kind] = f"{kind} result for {query!r}"

    async def google(parent: trioctx.Context, query: str) -> list[str]:
        results = dict.fromkeys(("web", "image", "video"), "")
        async with trioctx.with_cancel(parent) as ctx:
            for kind in results:
                ctx.start_soon(search, kind, query, results)
        return list(results.values())

    assert await google(trioctx.background(), "golang") == [
        "web result for 'golang'",
        "image result for 'golang'",
        "video result for 'golang'",
    ]
    assert trio.current_time() == 1


@pytest.mark.parametrize("broken", [False, True])
async def test_a_pipeline_in_a_group_ends_as_a_whole(
    broken: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """ExampleGroup_pipeline: one walker, four digesters, one collector; a failure ends all."""
    files = {f"file{n}": bytes([n]) * n for n in range(50)}
    ended: list[str] = []
    doom = Doom("walk")

    async def walk(paths: trio.MemorySendChannel[str]) -> None:
        async with paths:
            for path in files:
                if broken and path == "file25":
                    raise doom
                await paths.send(path)
        ended.append("walk")

    async def digest(
        paths: trio.MemoryReceiveChannel[str], sums: trio.MemorySendChannel[tuple[str, str]]
    ) -> None:
        try:
            async with paths, sums:
                async for path in paths:
                    await sums.send((path, hashlib.md5(files[path]).hexdigest()))
        finally:
            ended.append("digest")

    async def md5_all(parent: trioctx.Context) -> dict[str, str]:
        sums: dict[str, str] = {}
        path_send, path_receive = trio.open_memory_channel[str](0)
        sum_send, sum_receive = trio.open_memory_channel[tuple[str, str]](0)
        async with trioctx.with_cancel(parent) as ctx:
            ctx.start_soon(walk, path_send)
            for _ in range(4):
                ctx.start_soon(digest, path_receive.clone(), sum_send.clone())
            path_receive.close()
            sum_send.close()
            async with sum_receive:
                async for path, md5 in sum_receive:
                    sums[path] = md5
        return sums

    if broken:
        with pytest.raises(BaseExceptionGroup) as caught:
            await md5_all(trioctx.background())
        assert caught.value.split(Doom)[1] is None
        assert doom in caught.value.exceptions
        assert ended == ["digest"] * 4
    else:
        sums = await md5_all(trioctx.background())
        assert sums == {path: hashlib.md5(data).hexdigest() for path, data in files.items()}
        assert sorted(ended) == ["digest"] * 4 + ["walk"]


# The rule beyond Go's tests.


async def test_siblings_can_read_the_cause_when_they_are_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The context is cancelled with the error before Trio delivers the cancellation."""
    error = Doom("first")
    read: list[BaseException | None] = []

    async with trio.open_nursery() as nursery:
        ctx = trioctx.with_cancel(trioctx.background())

        async def sibling() -> None:
            try:
                await trio.sleep_forever()
            finally:
                read.append(ctx.cause)

        async def group() -> None:
            with pytest.raises(BaseExceptionGroup):
                async with ctx:
                    ctx.start_soon(sibling)
                    ctx.start_soon(finish, error, 1)
                    try:
                        await trio.sleep_forever()
                    finally:
                        read.append(ctx.cause)

        nursery.start_soon(group)
    assert read == [error, error]


async def test_a_failing_body_is_the_cause(autojump_clock: trio.testing.MockClock) -> None:
    """The body of the block is one of the tasks of the group."""
    error = Doom("body")
    read: list[BaseException | None] = []
    ctx = trioctx.with_cancel(trioctx.background())

    async def sibling() -> None:
        try:
            await trio.sleep_forever()
        finally:
            read.append(ctx.cause)

    with pytest.raises(BaseExceptionGroup) as caught:
        async with ctx:
            ctx.start_soon(sibling)
            await finish(error, 1)
    assert caught.value.exceptions == (error,)
    assert ctx.cause is error
    assert read == [error]


async def test_the_cause_is_the_first_error_inside_an_exception_group(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A task that fails with a group has failed for the first reason in it."""
    leaf = Doom("leaf")
    ctx = trioctx.with_cancel(trioctx.background())

    async def task() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish, leaf, 1)

    with pytest.raises(BaseExceptionGroup):
        async with ctx:
            ctx.start_soon(task)
    assert ctx.cause is leaf


async def test_being_cancelled_is_no_failure(autojump_clock: trio.testing.MockClock) -> None:
    """A group that is cancelled has the cause it was given, and its block ends quietly."""
    asked = Exception("asked to")
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        ctx.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        ctx.cancel(asked)
    assert isinstance(ctx.err, trioctx.ContextCancelled)
    assert ctx.cause is asked


async def test_an_inner_groups_failure_is_the_outer_ones_only_when_it_leaves_its_block(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A handler around the inner block keeps the outer context alive; otherwise both fail."""
    handled, unhandled = Doom("handled"), Doom("unhandled")
    outer = trioctx.with_cancel(trioctx.background())
    with pytest.raises(BaseExceptionGroup):
        async with outer:
            first = trioctx.with_cancel(outer)
            try:
                async with first:
                    first.start_soon(finish, handled, 1)
            except* Doom:
                pass
            assert first.cause is handled
            assert outer.err is None

            second = trioctx.with_cancel(outer)
            async with second:
                second.start_soon(finish, unhandled, 1)
    assert second.cause is unhandled
    assert outer.cause is unhandled
    assert outer.err is not None
    assert outer.err.context is outer
    assert second.err is not None
    assert second.err.context is second
