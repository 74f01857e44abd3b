"""The figures as text for people and as JSON for programs."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from .measure import CONFIDENCE, Result

HEADER = (
    f"{'':16}{'trioctx':>12}{'peer':>12}{'ratio':>8}"
    f"{f'{CONFIDENCE:.0%} interval':>16}{'min':>7}{'max':>7}  goal"
)


def duration(seconds: float) -> str:
    """Seconds for one piece of work, in the unit that suits it."""
    for factor, unit in (1e9, "ns"), (1e6, "µs"), (1e3, "ms"):
        if seconds * factor < 1000:
            return f"{seconds * factor:.1f} {unit}"
    return f"{seconds:.1f} s"


def verdict(result: Result) -> str:
    goal = result.comparison.goal
    if goal is None:
        return "-"
    return f"<= {goal:g}" + ("" if result.ratio <= goal else " MISSED")


def row(result: Result) -> str:
    low, high = result.interval
    return (
        f"{result.comparison.name:16}"
        f"{duration(median(result.trioctx)):>12}{duration(median(result.peer)):>12}"
        f"{result.ratio:>8.3f}{f'{low:.3f}-{high:.3f}':>16}"
        f"{min(result.ratios):>7.2f}{max(result.ratios):>7.2f}"
        f"  {verdict(result)}"
    )


def legend(result: Result) -> str:
    comparison = result.comparison
    return f"{comparison.name:16}{comparison.trioctx.label}  /  {comparison.peer.label}"


def as_json(
    results: Sequence[Result], machine: Mapping[str, str], settings: Mapping[str, object]
) -> dict[str, Any]:
    return {
        "machine": dict(machine),
        "settings": dict(settings),
        "results": [
            {
                "name": result.comparison.name,
                "trioctx": result.comparison.trioctx.label,
                "peer": result.comparison.peer.label,
                "goal": result.comparison.goal,
                "size": result.size,
                "ratio": result.ratio,
                "interval": result.interval,
                "seconds": {"trioctx": list(result.trioctx), "peer": list(result.peer)},
            }
            for result in results
        ],
    }
