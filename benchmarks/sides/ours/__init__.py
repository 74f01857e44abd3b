"""trioctx."""

from benchmarks.sides import Work

from . import cost, latency, lateness, memory

LACKS: dict[str, str] = {}


def works() -> dict[str, Work]:
    return cost.works() | latency.works() | lateness.works() | memory.works()
