"""Trio alone: the idiom that a context replaces."""

from benchmarks.sides import Work

from . import cost, latency, lateness, memory

LACKS: dict[str, str] = {
    "after_func": "Trio calls nothing at the end of a scope: a task of one's own has to wait for it"
}


def works() -> dict[str, Work]:
    return cost.works() | latency.works() | lateness.works() | memory.works()
