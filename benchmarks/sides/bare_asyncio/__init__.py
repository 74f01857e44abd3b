"""asyncio's own timeout and TaskGroup."""

from benchmarks.sides import Work

from . import cost, latency, lateness, memory

LACKS: dict[str, str] = {
    "without_cancel": "asyncio.shield starts a task of its own: no block is shielded",
    "deadline": "asyncio tells no deadline but that of one Timeout object",
    "memory_linked": "a task that is in a set already: nothing for one more block",
    "after_func": "a done callback tells of a task's end, not of a block's cancellation",
}


def works() -> dict[str, Work]:
    return cost.works() | latency.works() | lateness.works() | memory.works()
