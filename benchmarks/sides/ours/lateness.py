"""Each task in a block with a deadline of its own."""

import trioctx
from benchmarks.sides import Work
from benchmarks.sides.shared import loops
from benchmarks.sides.shared.lateness import Watch, lateness


async def scenario(watch: Watch) -> None:
    async with trioctx.with_cancel(trioctx.background()) as ctx:

        async def task(deadline: float) -> None:
            try:
                with trioctx.with_deadline(ctx, deadline):
                    await watch.sleep(deadline)
            except trioctx.DeadlineExceeded:
                watch.fired += 1

        for deadline in watch.deadlines:
            ctx.start_soon(task, deadline)
        await watch.settle()


def works() -> dict[str, Work]:
    return {"lateness": lateness("with with_deadline", loops.on_trio, scenario)}
