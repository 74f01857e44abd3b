"""AnyIO, on whichever loop it runs in."""

from benchmarks.sides import Work

from . import cost, latency, lateness, memory

LACKS: dict[str, str] = {
    "after_func": "AnyIO calls nothing at a scope's end: a task of one's own has to wait for it"
}


def works() -> dict[str, Work]:
    return cost.works() | latency.works() | lateness.works() | memory.works()
