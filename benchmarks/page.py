"""Write the figures into ``docs/benchmarks.md``: ``python -m benchmarks.page``.

They come from ``docs/benchmarks.json`` and ``docs/profile.json``, which ``python -m benchmarks``
and ``python -m benchmarks.profile`` store. Each table stands between two comments of the page; what
is there is replaced, the rest left alone. Nothing is typed by hand.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .report import duration

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "benchmarks.md"

RACE_HEAD = [
    "server",
    "requests/s",
    "processor for one",
    "trioctx is",
    "interval",
    "goal",
    "by processor",
]

Stored = Mapping[str, Any]

PART = re.compile(r"(<!-- figures: (?P<name>[\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| --- |{' ---: |' * (len(head) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def goal(sign: str, wanted: float | None, ratio: float) -> str:
    if wanted is None:
        return ""
    met = ratio >= wanted if sign == "≥" else ratio <= wanted
    return f"{sign} {wanted:g}" + ("" if met else ", **missed**")


def machine(benchmarks: Stored, profile: Stored) -> Iterator[str]:
    about = ", ".join(f"{name} {value}" for name, value in benchmarks["machine"].items())
    settings = benchmarks["settings"]
    yield f"Measured on: {about}. {settings['rounds']} rounds after {settings['warmup']}."


def costs(benchmarks: Stored, profile: Stored) -> Iterator[str]:
    rows = []
    for result in benchmarks["results"]:
        ours, peer = (duration(median(result["seconds"][side])) for side in ("trioctx", "peer"))
        low, high = result["interval"]
        rows.append(
            [
                f"{result['trioctx']} / {result['peer']}",
                ours,
                peer,
                f"{result['ratio']:.2f}",
                f"{low:.2f} to {high:.2f}",
                goal("≤", result["goal"], result["ratio"]),
            ]
        )
    yield from table(["what / beside what", "trioctx", "peer", "ratio", "interval", "goal"], rows)


def server_row(server: Stored, *, first: bool) -> list[str]:
    if not server["samples"]:
        return [server["label"], f"absent: {server['absent']}", *[""] * 5]
    processor = duration(server["processor"]) if server["processor"] else ""
    row = [server["label"], f"{server['rate']:,.0f}", processor]
    if first:
        return [*row, *[""] * 4]
    low, high = server["interval"]
    by_processor = server["processor_ratio"]
    return [
        *row,
        f"× {server['ratio']:.2f}",
        f"{low:.2f} to {high:.2f}",
        goal("≥", server["goal"], server["ratio"]),
        f"× {by_processor:.2f}" if by_processor else "",
    ]


def servers(benchmarks: Stored, profile: Stored) -> Iterator[str]:
    for race in benchmarks["races"]:
        yield f"{race['name'].capitalize()}: {race['conditions']}.\n"
        rows = [server_row(server, first=not i) for i, server in enumerate(race["servers"])]
        yield from table(RACE_HEAD, rows)
        limited = [s["label"] for s in race["servers"] if s.get("load_was_the_limit")]
        if limited:
            yield f"\nThe load was the limit for {' and '.join(limited)}, which can answer more."
        yield ""


def where(benchmarks: Stored, profile: Stored) -> Iterator[str]:
    for race in profile["races"]:
        ours, peer = race["profiles"]
        rows = [
            [label, f"{ours['layers'][name] * 1e6:.1f}", f"{peer['layers'][name] * 1e6:.1f}"]
            for name, label in profile["layers"].items()
        ]
        totals = [f"{sum(p['layers'].values()) * 1e6:.1f}" for p in (ours, peer)]
        yield f"{race['name'].capitalize()}, µs of the processor for a request:\n"
        head = ["layer", ours["label"], peer["label"]]
        yield from table(head, [*rows, ["together", *totals]])
        yield ""


PARTS: dict[str, Callable[[Stored, Stored], Iterator[str]]] = {
    "machine": machine,
    "costs": costs,
    "servers": servers,
    "where": where,
}


def filled(page: str, benchmarks: Stored, profile: Stored) -> str:
    """The page with the figures of these runs."""

    def part(match: re.Match[str]) -> str:
        text = "\n".join(PARTS[match["name"]](benchmarks, profile)).rstrip("\n")
        return f"{match[1]}{text}\n{match[3]}"

    return PART.sub(part, page)


def stored(name: str) -> Stored:
    figures: Stored = json.loads((DOCS / name).read_text(encoding="utf-8"))
    return figures


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        filled(page, stored("benchmarks.json"), stored("profile.json")), encoding="utf-8"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
