"""That an AnyIO idiom does what it is timed for."""

import math

import anyio
import anyio.lowlevel

from benchmarks.sides import WrongOutcome, expect
from benchmarks.sides.shared.cost import SECONDS, expect_seconds


async def cancel() -> None:
    """Cancelling the outer block ends the inner one, and the outer one quietly."""
    went_on = False
    with anyio.CancelScope() as outer:
        with anyio.CancelScope():
            outer.cancel()
            await anyio.sleep_forever()
        went_on = True
    expect("the outer block goes on after the inner one", went_on, False)


def seconds_left() -> float:
    return anyio.current_effective_deadline() - anyio.current_time()


async def timeout() -> None:
    with anyio.fail_after(SECONDS):
        expect_seconds(seconds_left())
    try:
        with anyio.fail_after(0):
            await anyio.sleep_forever()
    except TimeoutError:
        return
    raise WrongOutcome("a timeout: nothing raised instead of TimeoutError")


async def deadline() -> None:
    at = anyio.current_time() + SECONDS
    with anyio.CancelScope(deadline=at):
        expect("the deadline", anyio.current_effective_deadline(), at)


async def shield() -> None:
    finished = False
    with anyio.CancelScope() as outer:
        outer.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
            finished = True
    expect("the shielded block finished", finished, True)


async def elsewhere() -> None:
    """The one who cancels loops over the scopes that are registered with it."""
    scopes: set[anyio.CancelScope] = set()
    with anyio.CancelScope() as scope:
        scopes.add(scope)
        for each in list(scopes):
            each.cancel()
        await anyio.sleep_forever()
    expect("the scope was cancelled", scope.cancelled_caught, True)


async def tasks() -> None:
    """A child has the block's deadline, and the block waits for it."""
    seen: list[float] = []

    async def child() -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(seconds_left())

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(child)
    (left,) = seen
    expect_seconds(left)


async def ended() -> None:
    with anyio.CancelScope() as scope:
        expect("ended", anyio.current_effective_deadline() == -math.inf, False)
        scope.cancel()
        expect("ended", anyio.current_effective_deadline() == -math.inf, True)
