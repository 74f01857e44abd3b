"""A run as a file: what was found, in JSON that a later run, the plots and the page read.

The screen shows the same: `stored_case` is the one place where samples become figures.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NotRequired, TypedDict, cast

from .driver import OURS, Result
from .figures import bootstrap, distribution, quantile, ratios

DIGITS = 5  # that count of each figure: none of them is as sure as that


class Metric(TypedDict):
    """``rounds``: the median of each round. The others are of all values of all rounds."""

    rounds: list[float]
    p50: float
    p99: float
    max: float
    count: int
    cdf: NotRequired[list[float]]


class Ratio(TypedDict):
    """trioctx's figure over this side's."""

    median: float
    interval: list[float]


class Side(TypedDict):
    label: str
    metrics: dict[str, Metric]
    ratio: NotRequired[Ratio]


class StoredCase(TypedDict):
    """A `Case`, and what its sides found. ``absent``: why the others have nothing."""

    name: str
    group: str
    what: str
    work: str
    args: dict[str, int | float | str | bool]
    metric: str
    goal: float | None
    rival: str
    """The side, or side and work, that the goal compares with."""
    deadlines: int
    sides: dict[str, Side]
    absent: dict[str, str]
    failed: dict[str, str]
    rounds: int
    seconds: float
    """Of the clock, for all of it: a later run tells by it how long it will take."""
    steps: int
    """How many samples were taken, with those thrown away."""


class Run(TypedDict):
    machine: dict[str, str]
    settings: dict[str, Any]
    cases: list[StoredCase]
    races: list[dict[str, Any]]


class NotARun(Exception):
    """A file that is not what ``--json`` writes."""


def stored_metric(rounds: Sequence[Sequence[float]], *, with_cdf: bool) -> Metric:
    values = [value for found in rounds for value in found]
    metric: Metric = {
        "rounds": [median(found) for found in rounds],
        "p50": quantile(values, 0.5),
        "p99": quantile(values, 0.99),
        "max": max(values),
        "count": len(values),
    }
    if with_cdf:
        metric["cdf"] = distribution(values)
    return metric


def stored_case(result: Result, steps: int) -> StoredCase:
    case = result.case
    sides: dict[str, Side] = {}
    for name, rounds in result.rounds.items():
        metrics = {
            metric: stored_metric(
                [figures[metric] for figures in rounds], with_cdf=case.group == "lateness"
            )
            for metric in (rounds[0] if rounds else {})
        }
        sides[name] = {"label": result.labels[name], "metrics": metrics}
    if OURS in sides:
        ours = sides[OURS]["metrics"][case.metric]["rounds"]
        for name, side in sides.items():
            theirs = side["metrics"][case.metric]["rounds"]
            if name != OURS and all(theirs):
                found = ratios(ours, theirs)
                side["ratio"] = {"median": median(found), "interval": list(bootstrap(found))}
    return {
        "name": case.name,
        "group": case.group,
        "what": case.what,
        "work": case.work,
        "args": dict(case.args),
        "metric": case.metric,
        "goal": case.goal,
        "rival": case.rival,
        "deadlines": case.deadlines,
        "sides": sides,
        "absent": dict(result.absent),
        "failed": dict(result.failed),
        "rounds": max(map(len, result.rounds.values()), default=0),
        "seconds": result.seconds,
        "steps": steps,
    }


def rounded(value: Any) -> Any:
    """With `DIGITS` digits, wherever there is a float."""
    match value:
        case float():
            return float(f"{value:.{DIGITS}g}")
        case Mapping():
            return {name: rounded(part) for name, part in value.items()}
        case list() | tuple():
            return [rounded(part) for part in value]
    return value


def lines(value: Any, indent: str = "") -> str:
    """JSON, a line for each thing that has parts which have no parts: a change is easy to see."""
    inner = indent + " "
    if isinstance(value, dict) and any(isinstance(v, dict | list) and v for v in value.values()):
        parts = [f"{json.dumps(name)}: {lines(part, inner)}" for name, part in value.items()]
        return f"{{\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        parts = [lines(part, inner) for part in value]
        return f"[\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


def write(run: Run, file: Path) -> None:
    file.write_text(lines(rounded(run)) + "\n", encoding="utf-8")


def read(file: Path) -> Run:
    """The run stored in this file.

    Raises:
        NotARun: it is none; the text says what is wrong with it.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise NotARun(f"{file}: {exc}") from exc
    if not isinstance(found, dict) or not Run.__required_keys__ <= found.keys():
        raise NotARun(f"{file}: not a run that --json stored")
    for case in found["cases"]:
        if not isinstance(case, dict) or not StoredCase.__required_keys__ <= case.keys():
            raise NotARun(f"{file}: a case without all of {sorted(StoredCase.__required_keys__)}")
    return cast(Run, found)


def figures(case: StoredCase, metric: str | None = None) -> Iterator[tuple[str, Side, Metric]]:
    """Each side of a case that has this metric (its own, if none is named), trioctx first."""
    metric = metric or case["metric"]
    for name in sorted(case["sides"], key=lambda name: name != OURS):
        side = case["sides"][name]
        if metric in side["metrics"]:
            yield name, side, side["metrics"][metric]
