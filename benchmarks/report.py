"""The figures as text for people and as JSON for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from .measure import CONFIDENCE, Result
from .servers import CONNECTIONS, Outcome, Standing, cores

HEADER = (
    f"{'':16}{'trioctx':>12}{'peer':>12}{'ratio':>8}"
    f"{f'{CONFIDENCE:.0%} interval':>16}{'min':>7}{'max':>7}  goal"
)

RACE_HEADER = (
    f"  {'':28}{'requests/s':>11}{'server CPU':>12}{'trioctx is':>11}"
    f"{f'{CONFIDENCE:.0%} interval':>16}{'by CPU':>8}  goal"
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


def conditions(outcome: Outcome) -> str:
    where = "server and load on a core each" if cores() else "server and load not kept apart"
    return f"{CONNECTIONS} connections, load by {outcome.load}, {where}"


def race_verdict(outcome: Outcome, standing: Standing) -> str:
    goal = standing.contestant.goal
    if goal is None:
        return "-"
    return f">= {goal:g}" + ("" if outcome.ratio(standing) >= goal else " MISSED")


def race_rows(outcome: Outcome) -> list[str]:
    """A line for each server. What could not be measured is told why."""
    rows = []
    for standing in outcome.standings:
        label = f"  {standing.contestant.label:28}"
        if not standing.samples:
            ours = outcome.standings[0].contestant
            why = standing.contestant.absent or f"nothing to compare with: {ours.absent}"
            rows.append(f"{label} absent: {why}")
            continue
        worked = "-" if standing.processor is None else duration(standing.processor)
        line = f"{label}{standing.rate:>11,.0f}{worked:>12}"
        if standing is not outcome.standings[0]:
            low, high = outcome.interval(standing)
            line += f"{f'× {outcome.ratio(standing):.2f}':>11}{f'{low:.2f}-{high:.2f}':>16}"
            by_processor = outcome.processor_ratio(standing)
            line += f"{'-' if by_processor is None else f'× {by_processor:.2f}':>8}"
            line += f"  {race_verdict(outcome, standing)}"
        if standing.load_was_the_limit:
            line += "  (the load was the limit: it can answer more)"
        rows.append(line)
    return rows


def standing_as_json(outcome: Outcome, standing: Standing) -> dict[str, Any]:
    contestant = standing.contestant
    about = {"label": contestant.label, "absent": contestant.absent, "goal": contestant.goal}
    if not standing.samples:
        return {**about, "samples": []}
    return {
        **about,
        "rate": standing.rate,
        "processor": standing.processor,
        "ratio": outcome.ratio(standing),
        "interval": outcome.interval(standing),
        "processor_ratio": outcome.processor_ratio(standing),
        "load_was_the_limit": standing.load_was_the_limit,
        "samples": [asdict(sample) for sample in standing.samples],
    }


def race_as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.race.name,
        "load": outcome.load,
        "conditions": conditions(outcome),
        "servers": [standing_as_json(outcome, standing) for standing in outcome.standings],
    }


def as_json(
    results: Sequence[Result],
    outcomes: Sequence[Outcome],
    machine: Mapping[str, str],
    settings: Mapping[str, object],
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
        "races": [race_as_json(outcome) for outcome in outcomes],
    }
