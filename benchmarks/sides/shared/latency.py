"""From a trigger until the tasks in a block unwind, and the block is left.

A side gives a scenario for each work: it opens the block, starts the tasks (each awaits
`Watch.sleep`), awaits `Watch.fire`, leaves the block, says so at once with `Watch.leave`, and
returns how the block said that it ended: "cancelled" or "deadline".
"""

import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from time import perf_counter

from benchmarks.sides import Figures, Work, expect

from .leads import Leads
from .loops import Loop

SIGNAL = signal.SIGUSR1
IDLE = 0.001
"""Seconds that another thread waits, so that the loop has nothing to do when it cancels."""

Scenario = Callable[["Watch"], Awaitable[str]]


class Watch:
    """The notes of one ending. In a scenario, what ends: ``size`` of it, through ``trigger``."""

    def __init__(self, loop: Loop, size: int, tasks: int, trigger: str, lead: float) -> None:
        self.size = size
        self.trigger = trigger
        self.caught = 0
        """How many of the tasks saw the end as that of a block of their own: see `all_caught`."""
        self.fired = False
        self.ended: list[float] = []
        self._loop = loop
        self._tasks = tasks
        self._asleep = 0
        self._threads: list[threading.Thread] = []
        self.opened = perf_counter()
        self.began = self.opened + lead
        self.deadline = loop.clock() + lead
        self.left = self.settled = 0.0

    async def sleep(self) -> None:
        """What each task does."""
        self._asleep += 1
        try:
            await self._loop.sleep_forever()
        except self._loop.cancelled:
            self.ended.append(perf_counter())
            raise

    async def fire(
        self, cancel: Callable[[], object], from_thread: Callable[[], object] | None = None
    ) -> None:
        """Once all tasks sleep, end them by the trigger. ``cancel`` is how to from within."""
        while self._asleep < self._tasks:
            await self._loop.turn()
        await self._loop.turn()  # the last of them is suspended by now
        self.settled = perf_counter()
        if self.trigger == "deadline":
            self.fired = self._loop.clock() < self.deadline
            return
        self.fired = True
        if self.trigger == "cancel":
            self.began = perf_counter()
            cancel()
        elif self.trigger == "thread":
            assert from_thread is not None
            thread = threading.Thread(target=self._fire_later, args=(from_thread,))
            thread.start()
            self._threads.append(thread)
        elif self.trigger == "signal":
            self.began = perf_counter()
            os.kill(os.getpid(), SIGNAL)
        else:
            raise ValueError(f"no such trigger: {self.trigger!r}")

    def _fire_later(self, cancel: Callable[[], object]) -> None:
        time.sleep(IDLE)
        self.began = perf_counter()
        cancel()

    def leave(self) -> None:
        """Called first thing after the block."""
        self.left = perf_counter()
        for thread in self._threads:
            thread.join()

    def all_caught(self) -> str:
        """How it ended where each task had a block of its own."""
        if self.caught != self._tasks:
            return f"{self.caught} of {self._tasks} children"
        return "deadline" if self.trigger == "deadline" else "cancelled"

    def verify(self, how: str) -> None:
        """All slept until the trigger, and were cancelled there."""
        wanted = "deadline" if self.trigger == "deadline" else "cancelled"
        expect("how the block ended", how, wanted)
        expect("tasks that slept", self._asleep, self._tasks)
        expect("tasks that were cancelled in their sleep", len(self.ended), self._tasks)
        expect("tasks that unwound before the trigger", self.ended[0] < self.began, False)


def latency(label: str, loop: Callable[[], Loop], scenario: Scenario, *, many: bool) -> Work:
    """The work of a scenario, in which as many tasks sleep as its size says (``many``), or one."""
    leads = Leads()

    async def once(size: int, trigger: str) -> Watch:
        tasks = size if many else 1
        while True:
            lead = leads.lead(size) if trigger == "deadline" else 0.0
            watch = Watch(loop(), size, tasks, trigger, lead)
            how = await scenario(watch)
            if watch.fired:
                leads.arrived(size, watch.settled - watch.opened)
                watch.verify(how)
                return watch
            leads.missed()

    async def sample(trigger: str, load: int, repeat: int, **sizes: int) -> Figures:
        (size,) = sizes.values()
        figures: Figures = {"first": [], "last": [], "left": []}
        async with loop().busy(load):
            for _ in range(repeat):
                watch = await once(size, trigger)
                figures["first"].append(watch.ended[0] - watch.began)
                figures["last"].append(watch.ended[-1] - watch.began)
                figures["left"].append(watch.left - watch.began)
        return figures

    async def check(trigger: str, load: int, repeat: int, **sizes: int) -> None:
        """Every sample is verified; this is a small one. (A depth is not small if it is less.)"""
        (size,) = sizes.values()
        async with loop().busy(load):
            await once(min(size, 100) if many else size, trigger)

    return Work(label, sample, check)
