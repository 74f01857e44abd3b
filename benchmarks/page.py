"""Write the figures into ``docs/benchmarks.md``: ``python -m benchmarks.page``.

They come from ``docs/benchmarks.json`` and ``docs/profile.json``, which ``python -m benchmarks``
and ``python -m benchmarks.profile`` store. Each table stands between two comments of the page; what
is there is replaced, the rest left alone. Nothing is typed by hand.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from . import stored
from .race_tables import race_table
from .stored import Run, StoredCase
from .tables import MISSED, Table, comparison, ordered, side_name, spreads

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "benchmarks.md"

PART = re.compile(r"(<!-- figures: (?P<name>[\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Profile = Mapping[str, Any]
Part = Callable[[Run, Profile], Iterator[str]]


def markdown(table: Table) -> Iterator[str]:
    """The table, and its notes as a list."""
    yield f"| {' | '.join(table.head)} |"
    marks = [" --- " if place < table.left else " ---: " for place in range(len(table.head))]
    yield f"|{'|'.join(marks)}|"
    for row in table.rows:
        yield f"| {' | '.join(row)} |".replace(MISSED, "**missed**")
    yield ""
    for note in table.notes:
        yield f"- {note}"


def of_group(run: Run, group: str) -> list[StoredCase]:
    return [case for case in run["cases"] if case["group"] == group]


def of_latency(run: Run, work: str, trigger: str, load: bool) -> list[StoredCase]:
    return [
        case
        for case in of_group(run, "latency")
        if (case["work"], case["args"]["trigger"], bool(case["args"]["load"]))
        == (work, trigger, load)
    ]


def machine(run: Run, profile: Profile) -> Iterator[str]:
    about = ", ".join(f"{name} {value}" for name, value in run["machine"].items())
    settings = run["settings"]
    yield f"Measured on: {about}."
    yield ""
    yield f"{settings['rounds']} rounds after {settings['warmup']}; garbage collector: " + (
        f"{settings['gc']}."
    )


def latency(run: Run, profile: Profile, *, work: str, trigger: str, load: bool) -> Iterator[str]:
    """Medians until the block is left."""
    yield from markdown(comparison("", of_latency(run, work, trigger, load), "what"))


def latencies(run: Run, profile: Profile) -> Iterator[str]:
    """All figures of all latencies."""
    table = spreads("", of_group(run, "latency"))
    yield from markdown(Table(table.title, table.head, table.rows, table.left))


def lateness(run: Run, profile: Profile) -> Iterator[str]:
    yield from markdown(spreads("", of_group(run, "lateness"), "what"))


def compared(run: Run, profile: Profile, *, group: str) -> Iterator[str]:
    yield from markdown(comparison("", of_group(run, group), "what"))


def labels(run: Run, profile: Profile, *, groups: Sequence[str]) -> Iterator[str]:
    """What each side does, once for each work."""
    cases = {case["work"]: case for case in run["cases"] if case["group"] in groups}
    sides = ordered(s for c in cases.values() for s in c["sides"] if s != c["rival"] or s == "trio")
    rows = [
        [f"`{work}`"]
        + [cell(case["sides"][s]["label"]) if s in case["sides"] else "" for s in sides]
        for work, case in cases.items()
    ]
    yield from markdown(Table("", ["", *map(side_name, sides)], rows, left=1 + len(sides)))


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def raced(run: Run, profile: Profile, *, kind: str) -> Iterator[str]:
    for race in run["races"]:
        if race["kind"] == kind:
            table = race_table(race)
            yield f"**{race['name']}**: {race['what']} ({race['conditions']}).\n"
            yield from markdown(table)
            yield ""


def where(run: Run, profile: Profile) -> Iterator[str]:
    for race in profile["races"]:
        ours, peer = race["profiles"]
        rows = [
            [label, f"{ours['layers'][name] * 1e6:.1f}", f"{peer['layers'][name] * 1e6:.1f}"]
            for name, label in profile["layers"].items()
        ]
        totals = [f"{sum(p['layers'].values()) * 1e6:.1f}" for p in (ours, peer)]
        yield f"{race['name'].capitalize()}, µs of the processor for a request:\n"
        head = ["layer", ours["label"], peer["label"]]
        yield from markdown(Table("", head, [*rows, ["together", *totals]]))
        yield ""


def latency_parts() -> Iterator[tuple[str, Part]]:
    for work, trigger, load in (
        ("fanout", "cancel", False),
        ("fanout", "cancel", True),
        ("fanout", "deadline", False),
        ("fanout", "thread", False),
        ("fanout", "signal", False),
        ("depth", "cancel", False),
        ("depth", "deadline", False),
        ("linked", "cancel", False),
        ("linked", "cancel", True),
        ("linked", "deadline", False),
    ):
        name = f"latency {work} {trigger}" + " load" * load
        yield name, partial(latency, work=work, trigger=trigger, load=load)


PARTS: dict[str, Part] = {
    "machine": machine,
    **dict(latency_parts()),
    "latencies": latencies,
    "labels latency": partial(labels, groups=["latency", "lateness"]),
    "lateness": lateness,
    "cost": partial(compared, group="cost"),
    "labels cost": partial(labels, groups=["cost", "memory"]),
    "memory": partial(compared, group="memory"),
    "servers": partial(raced, kind="load"),
    "disconnects": partial(raced, kind="disconnect"),
    "connections": partial(raced, kind="idle"),
    "where": where,
}


def filled(page: str, run: Run, profile: Profile) -> str:
    """The page with the figures of these runs."""

    def part(match: re.Match[str]) -> str:
        text = "\n".join(PARTS[match["name"]](run, profile)).strip("\n")
        return f"{match[1]}{text}\n{match[3]}"

    return PART.sub(part, page)


def stored_run() -> Run:
    return stored.read(DOCS / "benchmarks.json")


def stored_profile() -> Profile:
    profile: Profile = json.loads((DOCS / "profile.json").read_text(encoding="utf-8"))
    return profile


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(filled(page, stored_run(), stored_profile()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
