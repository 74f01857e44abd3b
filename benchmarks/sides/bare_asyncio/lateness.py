"""Each task in a block with a deadline of its own."""

import asyncio

from benchmarks.sides import Work
from benchmarks.sides.shared import loops
from benchmarks.sides.shared.lateness import Watch, lateness


async def scenario(watch: Watch) -> None:
    async def task(deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await watch.sleep(deadline)
        except TimeoutError:
            watch.fired += 1

    async with asyncio.TaskGroup() as group:
        for deadline in watch.deadlines:
            group.create_task(task(deadline))
        await watch.settle()


def works() -> dict[str, Work]:
    return {"lateness": lateness("async with timeout_at", loops.on_asyncio, scenario)}
