"""Each task in a block with a deadline of its own."""

import anyio

from benchmarks.sides import Work
from benchmarks.sides.shared import loops
from benchmarks.sides.shared.lateness import Watch, lateness


async def scenario(watch: Watch) -> None:
    async def task(deadline: float) -> None:
        with anyio.CancelScope(deadline=deadline) as scope:
            await watch.sleep(deadline)
        watch.fired += scope.cancelled_caught

    async with anyio.create_task_group() as group:
        for deadline in watch.deadlines:
            group.start_soon(task, deadline)
        await watch.settle()


def works() -> dict[str, Work]:
    return {"lateness": lateness("with CancelScope(deadline=...)", loops.on_anyio, scenario)}
