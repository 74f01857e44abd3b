"""``python -m benchmarks``: measure, print the ratios, and the goals beside them."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from .machine import machine
from .measure import Result, measure
from .report import HEADER, as_json, legend, row
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
        choices=comparisons(),
        metavar="NAME",
        help=f"measure only this one; can be repeated ({', '.join(comparisons())})",
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


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print(f"rounds {options.rounds} after {options.warmup}, A B A B ...; gc: {GC}")
    print(f"\n{HEADER}", flush=True)
    results = trio.run(measured, options.only or list(comparisons()), options)
    print()
    for result in results:
        print(legend(result))
    if options.json is not None:
        settings = {
            "rounds": options.rounds,
            "warmup": options.warmup,
            "scale": options.scale,
            "gc": GC,
        }
        stored = as_json(results, about, settings)
        options.json.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
