"""How long a run will still take.

What is measured differs in cost by orders of magnitude, so each thing has a weight: the seconds
that its samples took in the stored run, corrected by how this machine has done so far; and while it
is being measured, its own samples.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

UNKNOWN = 0.05  # seconds for a sample of something that no run has stored, before there is any


@dataclass
class Measured:
    """One thing under measurement."""

    samples: int
    typical: float | None
    done: int = 0
    seconds: float = 0.0


class Remaining:
    """``samples``: how many of each are to come. ``typical``: seconds for one, where known."""

    def __init__(
        self,
        samples: Mapping[str, int],
        typical: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._all = {name: Measured(n, typical.get(name)) for name, n in samples.items()}
        self._clock = clock
        self._began = self._last = clock()
        self._name = ""

    def begin(self, name: str) -> None:
        self._name, self._last = name, self._clock()

    def step(self) -> None:
        """A sample is done."""
        now, measured = self._clock(), self._all[self._name]
        measured.done += 1
        measured.seconds += now - self._last
        self._last = now

    def end(self) -> int:
        """All of it, though a side may have failed on the way. Returns how many there were."""
        measured = self._all[self._name]
        measured.samples = measured.done
        return measured.done

    @property
    def elapsed(self) -> float:
        return self._clock() - self._began

    @property
    def place(self) -> tuple[int, int]:
        """Which thing is measured, of how many."""
        return list(self._all).index(self._name) + 1, len(self._all)

    def seconds(self) -> float:
        """What is left, as far as can be told."""
        known = [m for m in self._all.values() if m.done and m.typical]
        usual = sum(m.done * (m.typical or 0) for m in known)
        pace = sum(m.seconds for m in known) / usual if usual else 1.0
        others = [m.seconds / m.done for m in self._all.values() if m.done and not m.typical]
        unknown = fmean(others) if others else UNKNOWN
        left = 0.0
        for measured in self._all.values():
            if measured.done:
                each = measured.seconds / measured.done
            elif measured.typical:
                each = measured.typical * pace
            else:
                each = unknown
            left += each * (measured.samples - measured.done)
        return left
