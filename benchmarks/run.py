"""A run: measures what was chosen, shows each group when it is there, and keeps the figures."""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from . import stored
from .cases import Case
from .driver import Driver, driver
from .race_tables import race_table
from .races import Race, race_as_json, run_race, samples_of
from .remaining import Remaining
from .screen import Screen
from .sides import WrongOutcome
from .stored import Run, StoredCase, stored_case
from .tables import group_tables, legend

GC = "collected before each sample, off while it is taken"
TYPICAL = Path(__file__).parents[1] / "docs" / "benchmarks.json"


@dataclass(frozen=True)
class Settings:
    """``scale`` multiplies the length of a sample of a race; ``load`` is what loads hello."""

    rounds: int
    warmup: int
    quick: bool = False
    load: str = "own"
    scale: float = 1.0
    gc: str = GC


def typical() -> dict[str, float]:
    """Seconds of a sample of each thing in the stored run, for the time that is left."""
    try:
        run = stored.read(TYPICAL)
    except stored.NotARun:
        return {}
    found = {}
    for thing in [*run["cases"], *run["races"]]:
        if thing["steps"]:
            found[thing["name"]] = thing["seconds"] / thing["steps"]
    return found


class Session:
    """A run while it is made. ``failures``: what should have had figures and has none."""

    def __init__(self, settings: Settings, screen: Screen, machine: Mapping[str, str]) -> None:
        self.run: Run = {
            "machine": dict(machine),
            "settings": asdict(settings),
            "cases": [],
            "races": [],
        }
        self.failures: list[str] = []
        self._settings = settings
        self._screen = screen

    def measure(self, cases: Sequence[Case], races: Sequence[Race]) -> None:
        """All of these. What fails is told and left out, and the others go on."""
        rounds = {"rounds": self._settings.rounds, "warmup": self._settings.warmup}
        with ExitStack() as stack:
            ready = stack.enter_context(driver()) if cases else Driver([], {})
            self.failures += ready.broken
            samples = {case.name: ready.samples(case, **rounds) for case in cases}
            samples |= {race.name: samples_of(race, **rounds) for race in races}
            remaining = Remaining(samples, typical())
            show = stack.enter_context(self._screen.progress(remaining))
            for group, members in groupby(cases, key=lambda case: case.group):
                with self._shown(group) as found:
                    for case in members:
                        remaining.begin(case.name)
                        show(case.name)
                        found.append(self._case(case, ready, remaining))
            for race in races:
                remaining.begin(race.name)
                show(race.name)
                self._race(race, remaining)

    @contextmanager
    def _shown(self, group: str) -> Iterator[list[StoredCase]]:
        """What is found in the block is kept; and shown, also where the block is interrupted."""
        found: list[StoredCase] = []
        try:
            yield found
        finally:
            self.run["cases"] += found
            if found:
                for table in group_tables(group, found):
                    self._screen.show(table)
                for line in legend(found):
                    self._screen.say(f"  {line}")

    def _case(self, case: Case, ready: Driver, remaining: Remaining) -> StoredCase:
        settings = self._settings
        result = ready.measure(
            case, rounds=settings.rounds, warmup=settings.warmup, step=remaining.step
        )
        steps = remaining.end()
        self.failures += [f"{case.name}, {side}: {why}" for side, why in result.failed.items()]
        return stored_case(result, steps)

    def _race(self, race: Race, remaining: Remaining) -> None:
        settings = self._settings
        began = time.perf_counter()
        try:
            outcome = run_race(
                race,
                rounds=settings.rounds,
                warmup=settings.warmup,
                scale=settings.scale,
                load=settings.load,
                step=remaining.step,
            )
        except (WrongOutcome, OSError, subprocess.SubprocessError) as exc:
            remaining.end()
            self.failures.append(f"{race.name}: {exc}")
            self._screen.say(f"FAILED: {race.name}: {exc}")
            return
        found: dict[str, Any] = race_as_json(outcome)
        found |= {"seconds": time.perf_counter() - began, "steps": remaining.end()}
        self.run["races"].append(found)
        self._screen.show(race_table(found))
