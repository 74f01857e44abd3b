"""The cost of a block, or of a call, with nothing in it. What differs is given by each side."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from time import perf_counter
from typing import TypeVar

from benchmarks.sides import Figures, Work, expect

from .loops import AsyncFunction, Loop

T = TypeVar("T")
Check = Callable[[], Awaitable[None]]
Around = Callable[[], AbstractContextManager[T]]
"""Opens what is open around all that is measured."""

SECONDS = 60


def expect_seconds(left: float) -> None:
    expect("seconds left", f"{left:.0f}", f"{SECONDS:.0f}")


async def nothing() -> None:
    """A task that ends at once."""


def each(began: float, size: int) -> Figures:
    """Made first thing after the work."""
    return {"each": [(perf_counter() - began) / size]}


def checked(check: Check) -> Callable[..., Awaitable[None]]:
    """The outcome does not depend on the arguments."""

    async def with_arguments(**args: object) -> None:
        await check()

    return with_arguments


def within(
    label: str, around: Around[T], body: Callable[[T, int], Awaitable[None]], check: Check
) -> Work:
    """``body(outer, size)`` does it that often, inside of what ``around`` opens."""

    async def sample(size: int) -> Figures:
        with around() as outer:
            began = perf_counter()
            await body(outer, size)
            return each(began, size)

    return Work(label, sample, checked(check))


def blocks(
    label: str,
    around: Around[T],
    make: Callable[[T], Callable[[], AbstractContextManager[object]]],
    check: Check,
) -> Work:
    """Enter and leave the block that ``make(...)()`` makes, by ``with``."""

    async def body(outer: T, size: int) -> None:
        block = make(outer)
        for _ in range(size):
            with block():
                pass

    return within(label, around, body, check)


def async_blocks(
    label: str,
    around: Around[T],
    make: Callable[[T], Callable[[], AbstractAsyncContextManager[object]]],
    check: Check,
) -> Work:
    """Enter and leave the block that ``make(...)()`` makes, by ``async with``."""

    async def body(outer: T, size: int) -> None:
        block = make(outer)
        for _ in range(size):
            async with block():
                pass

    return within(label, around, body, check)


def awaits(
    label: str, around: Around[T], work: Callable[[T], Awaitable[None]], check: Check
) -> Work:
    """Await ``work(...)``, which is more than one block."""

    async def body(outer: T, size: int) -> None:
        for _ in range(size):
            await work(outer)

    return within(label, around, body, check)


def cancel_all(
    label: str,
    loop: Callable[[], Loop],
    through: Callable[[AsyncFunction, int], Awaitable[float]],
) -> Work:
    """``through(sleeper, tasks)`` tells how long it took from the cancel to the block's end."""

    async def sample(tasks: int) -> Figures:
        return {"left": [await through(loop().sleep_forever, tasks)]}

    async def check(tasks: int) -> None:
        """Each task had begun to sleep, and was cancelled there."""
        slept = cancelled = 0
        on = loop()

        async def sleeper() -> None:
            nonlocal slept, cancelled
            slept += 1
            try:
                await on.sleep_forever()
            except on.cancelled:
                cancelled += 1
                raise

        few = min(tasks, 100)
        await through(sleeper, few)
        expect("tasks that slept and were cancelled", (slept, cancelled), (few, few))

    return Work(label, sample, check)
