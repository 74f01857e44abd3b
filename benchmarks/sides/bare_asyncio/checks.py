"""That an asyncio idiom does what it is timed for."""

import asyncio

from benchmarks.sides import WrongOutcome, expect
from benchmarks.sides.shared.cost import SECONDS, expect_seconds


def this_task() -> "asyncio.Task[object]":
    task = asyncio.current_task()
    assert task is not None
    return task


async def cancel() -> None:
    """A Timeout that is rescheduled to now ends its block, and those inside."""
    went_on = False
    try:
        async with asyncio.timeout(None) as outer:
            async with asyncio.timeout(None):
                outer.reschedule(asyncio.get_running_loop().time())
                await asyncio.get_running_loop().create_future()
            went_on = True
    except TimeoutError:
        expect("the outer block goes on after the inner one", went_on, False)
        return
    raise WrongOutcome("a block cancelled: nothing raised instead of TimeoutError")


async def timeout() -> None:
    async with asyncio.timeout(SECONDS) as block:
        when = block.when()
        assert when is not None
        expect_seconds(when - asyncio.get_running_loop().time())
    try:
        async with asyncio.timeout(0):
            await asyncio.get_running_loop().create_future()
    except TimeoutError:
        return
    raise WrongOutcome("a timeout: nothing raised instead of TimeoutError")


async def elsewhere() -> None:
    """The one who cancels loops over the tasks that are registered with it."""
    tasks: set[asyncio.Task[object]] = set()

    async def child() -> None:
        tasks.add(this_task())
        await asyncio.get_running_loop().create_future()

    running = asyncio.create_task(child())
    await asyncio.sleep(0)
    for each in list(tasks):
        each.cancel()
    await asyncio.wait([running])
    expect("the task was cancelled", running.cancelled(), True)


async def tasks() -> None:
    """The block waits for a child, and its timeout reaches it."""
    seen: list[str] = []

    async def child() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    try:
        async with asyncio.timeout(0.001), asyncio.TaskGroup() as group:
            group.create_task(child())
    except TimeoutError:
        seen.append("timeout")
    expect("the end of the child, and of the block", seen, ["cancelled", "timeout"])


async def start_soon() -> None:
    seen: list[object] = []

    async def child() -> None:
        seen.append(asyncio.current_task())

    async with asyncio.TaskGroup() as group:
        task = group.create_task(child())
    expect("the child's task", seen, [task])


async def ended() -> None:
    this = this_task()
    expect("asked to end", this.cancelling(), 0)
    this.cancel()
    expect("asked to end", this.cancelling(), 1)
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        this.uncancel()
