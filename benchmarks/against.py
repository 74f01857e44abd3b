"""This run beside a stored one: what got slower, or faster, by more than the interval.

Ratios are compared, each trioctx's figure over its peer's of the same run: absolute figures of two
runs differ for many reasons, so they are only said. Two ratios differ where their intervals do not
touch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .driver import OURS
from .stored import Ratio, Run, StoredCase
from .tables import Table, compared, interval
from .units import amount, ratio, units

Verdict = Literal["slower", "faster", "as before", "too few rounds"]

ENOUGH = 5
"""Rounds: of fewer, intervals are so narrow that chance alone often sets them apart."""


@dataclass(frozen=True)
class Figure:
    """One side of a comparison; ``absolute`` is trioctx's own figure, for people."""

    peer: str
    ratio: float
    interval: tuple[float, float]
    absolute: str
    rounds: int
    more_is_better: bool = False


@dataclass(frozen=True)
class Change:
    name: str
    before: Figure
    now: Figure

    @property
    def verdict(self) -> Verdict:
        if min(self.now.rounds, self.before.rounds) < ENOUGH:
            return "too few rounds"
        if self.now.interval[0] > self.before.interval[1]:
            higher = True
        elif self.now.interval[1] < self.before.interval[0]:
            higher = False
        else:
            return "as before"
        return "faster" if higher is self.now.more_is_better else "slower"


@dataclass(frozen=True)
class Comparison:
    """``only_now`` and ``only_before``: names without a ratio in the other run."""

    changes: Sequence[Change]
    only_now: Sequence[str]
    only_before: Sequence[str]
    machines: Sequence[str]
    """What is different about the machine or its programs."""

    @property
    def slower(self) -> list[Change]:
        return [change for change in self.changes if change.verdict == "slower"]


def case_figure(case: StoredCase, peer: str, over: Ratio) -> Figure:
    ours = case["sides"][OURS]
    low, high = over["interval"]
    each = amount(ours["metrics"][case["metric"]]["p50"], units(case["group"]))
    return Figure(peer, over["median"], (low, high), each, case["rounds"])


def race_figure(race: dict[str, Any], server: dict[str, Any]) -> Figure:
    low, high = server["interval"]
    headline = race["headline"]
    own = race["servers"][0][headline]
    more_is_better = headline == "rate"
    if more_is_better:
        absolute = f"{own:,.0f}/s"
    else:
        absolute = amount(own, units("memory" if headline == "bytes" else "latency"))
    rounds = len(server["samples"])
    return Figure(server["label"], server["ratio"], (low, high), absolute, rounds, more_is_better)


def figures(run: Run) -> dict[str, dict[str, Figure]]:
    """For each case and race, each peer's figure; first that of what its goal compares with."""
    found: dict[str, dict[str, Figure]] = {}
    for case in run["cases"]:
        sides = dict.fromkeys([case["rival"], *case["sides"]])
        found[case["name"]] = {
            side: case_figure(case, side, over)
            for side in sides
            if (over := compared(case, side)) is not None
        }
    for race in run["races"]:
        found[race["name"]] = {
            server["label"]: race_figure(race, server)
            for server in race["servers"][1:]
            if server.get("interval")
        }
    return {name: peers for name, peers in found.items() if peers}


def compare(now: Run, before: Run) -> Comparison:
    """What both runs have, compared by the same peer."""
    ours, theirs = figures(now), figures(before)
    changes = []
    for name, peers in ours.items():
        both = [peer for peer in peers if peer in theirs.get(name, {})]
        if both:
            changes.append(Change(name, theirs[name][both[0]], peers[both[0]]))
    compared = {change.name for change in changes}
    machines = [
        f"{what}: {before['machine'].get(what, 'not told')}, now {value}"
        for what, value in now["machine"].items()
        if before["machine"].get(what) != value
    ]
    return Comparison(
        changes,
        [name for name in ours if name not in compared],
        [name for name in theirs if name not in compared],
        machines,
    )


def table(comparison: Comparison, file: str) -> Table:
    """Slower first, then faster, then the rest."""
    places = {"slower": 0, "faster": 1, "as before": 2, "too few rounds": 3}
    rows = [
        [
            change.name,
            change.verdict.upper() if change.verdict == "slower" else change.verdict,
            change.now.peer,
            f"{ratio(change.before.ratio)} ({interval(change.before.interval)})",
            f"{ratio(change.now.ratio)} ({interval(change.now.interval)})",
            change.before.absolute,
            change.now.absolute,
        ]
        for change in sorted(comparison.changes, key=lambda c: places[c.verdict])
    ]
    notes = ["ratios are compared; the absolute figures of two runs are not comparable"]
    notes += [f"another machine or program: {what}" for what in comparison.machines]
    if comparison.only_now:
        notes.append(f"new, or without a common peer: {', '.join(comparison.only_now)}")
    if comparison.only_before:
        notes.append(f"only in {file}: {', '.join(comparison.only_before)}")
    head = ["", "is", "beside", "ratio before", "ratio now", "trioctx before", "trioctx now"]
    return Table(f"Against {file}", head, rows, left=3, notes=notes)
