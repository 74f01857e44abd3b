"""A race's figures as JSON: what is stored, and what the screen and the page make tables of."""

from collections.abc import Mapping
from typing import Any, Final

from .contestants import Kind
from .idle import FIRST
from .outcomes import HEADLINE, Outcome, Standing
from .processes import cores

FIGURES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "load": ("rate", "processor", "p50", "p99", "max"),
    "disconnect": ("fin", "fin_p99", "fin_max", "rst", "rst_p99", "rst_max"),
    "idle": ("bytes",),
}
"""What is told of a server in each kind of race; for what it means see `outcomes.Sample`."""


def conditions(outcome: Outcome) -> str:
    """What the figures hold for, as people read it."""
    race = outcome.race
    if race.kind == "disconnect":
        return "one client at a time, with nothing else to do for the server"
    if race.kind == "idle":
        return f"{race.connections} more connections than {FIRST}, fresh processes in each round"
    load = "wrk" if outcome.load == "wrk" else "benchmarks/peers/load.py"
    apart = "on a core each" if cores() else "not kept apart"
    return f"load by {load}, server and load {apart}"


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
        **{name: standing.figure(name) for name in FIGURES[outcome.race.kind]},
        "ratio": outcome.ratio(standing),
        "interval": outcome.interval(standing),
        "processor_ratio": outcome.processor_ratio(standing),
        "load_was_the_limit": standing.load_was_the_limit,
        "samples": [dict(sample) for sample in standing.samples],
    }
