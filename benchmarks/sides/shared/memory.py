"""Bytes that an open block holds, of many that are open at once, one in the other."""

import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

from benchmarks.sides import Figures, Work

Check = Callable[[], Awaitable[None]]

NOTHING = nullcontext()
"""For an idiom that has no block."""


async def entered(block: Any, tasks: bool) -> Any:
    return await block.__aenter__() if tasks else block.__enter__()


async def left(block: Any, tasks: bool) -> None:
    if tasks:
        await block.__aexit__(None, None, None)
    else:
        block.__exit__(None, None, None)


def memory(
    label: str,
    outermost: Callable[[], Any],
    block: Callable[[Any], Any],
    check: Check,
    *,
    tasks: bool = False,
    undo: Callable[[], None] = lambda: None,
) -> Work:
    """``block`` makes one, given what the block around it gave; ``outermost`` opens the first.

    They are entered by ``async with`` if they may hold ``tasks``. ``undo`` takes back, once all are
    left, what ``block`` did elsewhere.
    """

    async def sample(number: int) -> Figures:
        opened: list[Any] = [None] * number  # its place is taken before
        count = 0
        with outermost() as around:
            inner = around
            gc.collect()
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                while count < number:
                    opened[count] = inner = block(inner)
                    inner = await entered(inner, tasks)
                    count += 1
                after, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
                del inner
                for made in reversed(opened[:count]):
                    await left(made, tasks)
                undo()
        return {"bytes": [(after - before) / number]}

    async def checked(number: int) -> None:
        await check()

    return Work(label, sample, checked)
