"""A race's figures as JSON for programs and as text for people."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ..figures import CONFIDENCE
from ..units import BYTES, SECONDS, amount, spread
from .contestants import Kind
from .idle import FIRST
from .outcomes import HEADLINE, Outcome, Sample, Standing
from .processes import cores

FIGURES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "load": ("rate", "processor", "p50", "p99", "max"),
    "disconnect": ("fin", "fin_p99", "fin_max", "rst", "rst_p99", "rst_max"),
    "idle": ("bytes",),
}
"""What is told of a server in each kind of race; for what it means see `outcomes.Sample`."""

WAITS = "p50 / p99 / max"
HEADS: Final[Mapping[Kind, Sequence[tuple[str, int]]]] = {
    "load": (("requests/s", 11), ("server CPU", 12), (f"wait {WAITS}", 28)),
    "disconnect": ((f"FIN {WAITS}", 28), (f"RST {WAITS}", 28)),
    "idle": (("a connection", 14),),
}
"""The columns of the text, with their widths."""


def conditions(outcome: Outcome) -> str:
    """What the figures hold for, as people read it."""
    race = outcome.race
    if race.kind == "disconnect":
        return "one client at a time, with nothing else to do for the server"
    if race.kind == "idle":
        return f"{race.connections} more connections than {FIRST}, fresh processes in each round"
    number = f"{race.connections} connection{'s' * (race.connections > 1)}"
    apart = "on a core each" if cores() else "not kept apart"
    return f"{number}, load by {outcome.load}, server and load {apart}"


def race_as_json(outcome: Outcome) -> dict[str, Any]:
    """All that a race found::

        {"name": "hello_50", "kind": "load", "protocol": "hello", "connections": 50,
         "what": ..., "load": "own", "conditions": ..., "headline": "rate",
         "servers": [{"label", "goal", "absent": null or why,
                      "rate", "processor", "p50", "p99", "max",
                      "ratio", "interval": [low, high], "processor_ratio", "load_was_the_limit",
                      "samples": [{"rate", ...}, ...]}, ...]}

    "kind" is "load", "disconnect" or "idle"; the figures of a server are those of its kind
    (`FIGURES`), medians of the rounds, and of a maximum the greatest, in seconds, bytes or requests
    a second, or null where the system does not tell. "ratio" is trioctx's headline figure over this
    server's, the median of the rounds: of "rate" more is better, of the others less. A server that
    is absent has "samples": [] and no figures.
    """
    race = outcome.race
    return {
        "name": race.name,
        "kind": race.kind,
        "protocol": race.protocol,
        "connections": race.connections,
        "what": race.what,
        "load": outcome.load,
        "conditions": conditions(outcome),
        "headline": HEADLINE[race.kind],
        "servers": [standing_as_json(outcome, standing) for standing in outcome.standings],
    }


def standing_as_json(outcome: Outcome, standing: Standing) -> dict[str, Any]:
    contestant = standing.contestant
    about = {"label": contestant.label, "goal": contestant.goal, "absent": standing.absent}
    if not standing.samples:
        return {**about, "samples": []}
    return {
        **about,
        **{name: rounded(standing.figure(name)) for name in FIGURES[outcome.race.kind]},
        "ratio": outcome.ratio(standing),
        "interval": outcome.interval(standing),
        "processor_ratio": outcome.processor_ratio(standing),
        "load_was_the_limit": standing.load_was_the_limit,
        "samples": [sample_as_json(sample) for sample in standing.samples],
    }


def sample_as_json(sample: Sample) -> dict[str, float | None]:
    return {name: rounded(value) for name, value in sample.items()}


def rounded(value: float | None) -> float | None:
    """Five digits: more say nothing, and make the stored file long."""
    return None if value is None else float(f"{value:.5g}")


def header(outcome: Outcome) -> str:
    """The line above `race_rows`."""
    columns = "".join(f"{head:>{width}}" for head, width in HEADS[outcome.race.kind])
    line = f"  {'':30}{columns}{'trioctx is':>11}{f'{CONFIDENCE:.0%} interval':>16}"
    return f"{line}{'by CPU':>8}  goal" if outcome.race.kind == "load" else line


def race_rows(outcome: Outcome) -> list[str]:
    """A line for each server. What could not be measured is told why."""
    return [server_row(outcome, standing) for standing in outcome.standings]


def server_row(outcome: Outcome, standing: Standing) -> str:
    label = f"  {standing.contestant.label:30}"
    if not standing.samples:
        return f"{label} absent: {standing.absent}"
    kind = outcome.race.kind
    widths = [width for _, width in HEADS[kind]]
    line = label + "".join(
        f"{text:>{width}}" for text, width in zip(CELLS[kind](standing), widths, strict=True)
    )
    ratio, interval = outcome.ratio(standing), outcome.interval(standing)
    if standing is not outcome.standings[0] and ratio is not None and interval is not None:
        line += f"{f'× {ratio:.2f}':>11}{f'{interval[0]:.2f}-{interval[1]:.2f}':>16}"
        if kind == "load":
            by_processor = outcome.processor_ratio(standing)
            line += f"{'-' if by_processor is None else f'× {by_processor:.2f}':>8}"
            line += f"  {verdict(standing.contestant.goal, ratio)}"
    if standing.load_was_the_limit:
        line += "  (the load was the limit: it can answer more)"
    return line


def verdict(goal: float | None, ratio: float) -> str:
    if goal is None:
        return "-"
    return f">= {goal:g}" + ("" if ratio >= goal else " MISSED")


def load_cells(standing: Standing) -> list[str]:
    rate, processor = standing.figure("rate"), standing.figure("processor")
    return [
        "-" if rate is None else f"{rate:,.0f}",
        "-" if processor is None else amount(processor),
        together(standing, "p50", "p99", "max"),
    ]


def disconnect_cells(standing: Standing) -> list[str]:
    return [together(standing, way, f"{way}_p99", f"{way}_max") for way in ("fin", "rst")]


def idle_cells(standing: Standing) -> list[str]:
    each = standing.figure("bytes")
    return ["-" if each is None else amount(each, BYTES)]


CELLS: Final[Mapping[Kind, Callable[[Standing], list[str]]]] = {
    "load": load_cells,
    "disconnect": disconnect_cells,
    "idle": idle_cells,
}


def together(standing: Standing, *names: str) -> str:
    """Several figures in one unit."""
    values = [value for name in names if (value := standing.figure(name)) is not None]
    return spread(values, SECONDS) if len(values) == len(names) else "-"
