"""That a Trio idiom does what it is timed for."""

import math

import trio

from benchmarks.sides import WrongOutcome, expect
from benchmarks.sides.shared.cost import SECONDS, expect_seconds


async def cancel() -> None:
    """Cancelling the outer block ends the inner one, and the outer one quietly."""
    went_on = False
    with trio.CancelScope() as outer:
        with trio.CancelScope():
            outer.cancel()
            await trio.sleep_forever()
        went_on = True
    expect("the outer block goes on after the inner one", went_on, False)


async def timeout() -> None:
    with trio.fail_after(SECONDS):
        expect_seconds(trio.current_effective_deadline() - trio.current_time())
    try:
        with trio.fail_after(0):
            await trio.sleep_forever()
    except trio.TooSlowError:
        return
    raise WrongOutcome("a timeout: nothing raised instead of TooSlowError")


async def deadline() -> None:
    at = trio.current_time() + SECONDS
    with trio.fail_at(at):
        expect("the deadline", trio.current_effective_deadline(), at)


async def shield() -> None:
    finished = False
    with trio.CancelScope() as outer:
        outer.cancel()
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
            finished = True
    expect("the shielded block finished", finished, True)


async def elsewhere() -> None:
    """The one who cancels loops over the scopes that are registered with it."""
    scopes: set[trio.CancelScope] = set()
    with trio.CancelScope() as scope:
        scopes.add(scope)
        for each in list(scopes):
            each.cancel()
        await trio.sleep_forever()
    expect("the scope was cancelled", scope.cancelled_caught, True)


async def tasks() -> None:
    """A child has the block's deadline, and the block waits for it."""
    seen: list[float] = []

    async def child() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(trio.current_effective_deadline() - trio.current_time())

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
    (left,) = seen
    expect_seconds(left)


async def start_soon() -> None:
    seen: list[trio.Nursery | None] = []

    async def child() -> None:
        seen.append(trio.lowlevel.current_task().parent_nursery)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
    expect("the child's nursery", seen, [nursery])


async def ended() -> None:
    with trio.CancelScope() as scope:
        expect("ended", trio.current_effective_deadline() == -math.inf, False)
        scope.cancel()
        expect("ended", trio.current_effective_deadline() == -math.inf, True)
