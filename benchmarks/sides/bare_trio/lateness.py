"""Each task in a block with a deadline of its own."""

import trio

from benchmarks.sides import Work
from benchmarks.sides.shared import loops
from benchmarks.sides.shared.lateness import Watch, lateness


async def scenario(watch: Watch) -> None:
    async def task(deadline: float) -> None:
        try:
            with trio.fail_at(deadline):
                await watch.sleep(deadline)
        except trio.TooSlowError:
            watch.fired += 1

    async with trio.open_nursery() as nursery:
        for deadline in watch.deadlines:
            nursery.start_soon(task, deadline)
        await watch.settle()


def works() -> dict[str, Work]:
    return {"lateness": lateness("with fail_at", loops.on_trio, scenario)}
