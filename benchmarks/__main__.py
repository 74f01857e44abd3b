"""``python -m benchmarks``: measure, print the ratios, and the goals beside them."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from .machine import machine
from .measure import Result, measure
from .report import HEADER, RACE_HEADER, as_json, conditions, legend, race_rows, row
from .servers import Outcome, races, run_race
from .suite import comparisons

GC = "collected before each sample, off while it is taken"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What trioctx costs beside bare Trio: medians of the ratios of each round.",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=[*comparisons(), *races()],
        metavar="NAME",
        help="measure only this one; can be repeated "
        f"({', '.join(comparisons())}; servers: {', '.join(races())})",
    )
    parser.add_argument("--rounds", type=positive, default=25, metavar="N", help="default: 25")
    parser.add_argument(
        "--warmup", type=int, default=3, metavar="N", help="rounds before that, default: 3"
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="multiply the work in each sample, for a quick look; goals hold for 1",
    )
    parser.add_argument(
        "--load",
        choices=["wrk", "own"],
        help="what loads the hello servers, default: wrk where it is present",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="store all samples there")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {number}")
    return number


async def measured(names: Sequence[str], options: argparse.Namespace) -> list[Result]:
    """Measure the comparisons of these names, and print each when it is there."""
    known = comparisons()
    results = []
    for name in names:
        result = await measure(
            known[name], rounds=options.rounds, warmup=options.warmup, scale=options.scale
        )
        print(row(result), flush=True)
        results.append(result)
    return results


def raced(names: Sequence[str], options: argparse.Namespace) -> list[Outcome]:
    """Run the races of these names, and print each when it is over."""
    known = races()
    outcomes = []
    for name in names:
        race = known[name]
        load = options.load if name == "hello" else "own"
        outcome = run_race(
            race, rounds=options.rounds, warmup=options.warmup, scale=options.scale, load=load
        )
        print(f"\n{name}: {conditions(outcome)}\n{RACE_HEADER}")
        print("\n".join(race_rows(outcome)), flush=True)
        outcomes.append(outcome)
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print(f"rounds {options.rounds} after {options.warmup}, A B A B ...; gc: {GC}")
    chosen = options.only or [*comparisons(), *races()]
    results: list[Result] = []
    if compared := [name for name in chosen if name in comparisons()]:
        print(f"\n{HEADER}", flush=True)
        results = trio.run(measured, compared, options)
        print()
        for result in results:
            print(legend(result))
    outcomes = raced([name for name in chosen if name in races()], options)
    if options.json is not None:
        settings = {
            "rounds": options.rounds,
            "warmup": options.warmup,
            "scale": options.scale,
            "gc": GC,
        }
        stored = as_json(results, outcomes, about, settings)
        options.json.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
