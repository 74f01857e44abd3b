"""trioctx."""

from time import perf_counter

import trio

import trioctx

from . import Figures, Work, expect

LACKS: dict[str, str] = {}

SECONDS = 60


async def with_timeout(size: int) -> Figures:
    with trioctx.with_cancel(trioctx.background()) as ctx:
        began = perf_counter()
        for _ in range(size):
            with trioctx.with_timeout(ctx, SECONDS):
                pass
        took = perf_counter() - began
    return {"each": [took / size]}


async def check_with_timeout(size: int) -> None:
    with trioctx.with_cancel(trioctx.background()) as ctx:
        with trioctx.with_timeout(ctx, SECONDS):
            left = trio.current_effective_deadline() - trio.current_time()
            expect("seconds left", round(left), SECONDS)


async def fanout(tasks: int, trigger: str, load: bool) -> Figures:
    ended: list[float] = []

    async def sleeper() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(perf_counter())

    async with trioctx.with_cancel(trioctx.background()) as ctx:
        for _ in range(tasks):
            ctx.start_soon(sleeper)
        await trio.lowlevel.checkpoint()
        began = perf_counter()
        ctx.cancel()
    left = perf_counter() - began
    return {"first": [ended[0] - began], "last": [ended[-1] - began], "left": [left]}


async def check_fanout(tasks: int, trigger: str, load: bool) -> None:
    pass


def works() -> dict[str, Work]:
    return {
        "with_timeout": Work("with with_timeout", with_timeout, check_with_timeout),
        "fanout": Work("ctx.cancel()", fanout, check_fanout),
    }
