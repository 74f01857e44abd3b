"""How late deadlines fire, of which many lie within a second.

A side gives a scenario: a task for each of `Watch.deadlines`, which awaits `Watch.sleep` in a block
of its own that has the deadline, and adds to `Watch.fired` once the block has told that it timed
out; then `Watch.settle`.
"""

import random
from collections.abc import Awaitable, Callable

from benchmarks.sides import Figures, Work, expect

from .leads import Leads
from .loops import Loop


class Watch:
    def __init__(self, loop: Loop, number: int, spread: float, lead: float) -> None:
        self.opened = loop.clock()
        self.deadlines = [
            self.opened + lead + spread * index / number for index in range(1, number + 1)
        ]
        self.first = self.deadlines[0]
        random.Random(number).shuffle(self.deadlines)  # armed in no order
        self.late: list[float] = []
        self.fired = 0
        self.settled: float | None = None
        self._loop = loop
        self._asleep = 0

    async def sleep(self, deadline: float) -> None:
        self._asleep += 1
        try:
            await self._loop.sleep_forever()
        except self._loop.cancelled:
            self.late.append(self._loop.clock() - deadline)
            raise

    async def settle(self) -> None:
        """Return when all sleep, or the first deadline has passed."""
        while self._asleep < len(self.deadlines) and self._loop.clock() < self.first:
            await self._loop.turn()
        await self._loop.turn()
        if self._loop.clock() < self.first:
            self.settled = self._loop.clock()

    def verify(self) -> None:
        number = len(self.deadlines)
        expect("tasks cancelled in their sleep", len(self.late), number)
        expect("blocks that timed out", self.fired, number)
        expect("a deadline that fired too early", min(self.late) < 0, False)


Scenario = Callable[[Watch], Awaitable[None]]


def lateness(label: str, loop: Callable[[], Loop], scenario: Scenario) -> Work:
    leads = Leads()

    async def once(number: int, spread: float) -> Watch:
        while True:
            watch = Watch(loop(), number, spread, leads.lead(number))
            await scenario(watch)
            if watch.settled is not None:
                leads.arrived(number, watch.settled - watch.opened)
                watch.verify()
                return watch
            leads.missed()

    async def sample(deadlines: int, spread: float) -> Figures:
        return {"late": (await once(deadlines, spread)).late}

    async def check(deadlines: int, spread: float) -> None:
        """Every sample is verified; this is a small one."""
        await once(min(deadlines, 100), min(spread, 0.1))

    return Work(label, sample, check)
