"""Draw a stored run: ``python -m benchmarks.plots docs/benchmarks.json docs/plots``.

Each picture is written as SVG and as PNG. The same figures give the same files, so that a change is
one of the figures. The figures are drawn as they are; what is too small or too far is not cut off.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from . import stored
from .drawings import latency, latenesses, ratio_bars, servers
from .plot_style import RC, save
from .stored import Run

Draw = Callable[[Run], Figure | None]

PICTURES: dict[str, Draw] = {
    "fanout": lambda run: latency(
        run, "fanout", "tasks", "tasks in the block", "Cancelling a block of tasks"
    ),
    "fanout_load": lambda run: latency(
        run,
        "fanout",
        "tasks",
        "tasks in the block",
        "Cancelling a block of tasks while the loop is under load",
        load=True,
    ),
    "fanout_deadline": lambda run: latency(
        run,
        "fanout",
        "tasks",
        "tasks in the block",
        "A block of tasks whose deadline has come",
        trigger="deadline",
    ),
    "depth": lambda run: latency(
        run, "depth", "depth", "nested blocks", "Cancelling the outermost of nested blocks"
    ),
    "linked": lambda run: latency(
        run,
        "linked",
        "children",
        "linked children",
        "Cancelling a context to which others are linked",
    ),
    "lateness": latenesses,
    "cost": lambda run: ratio_bars(run, "cost", "Cost of a context, as a ratio to bare Trio"),
    "memory": lambda run: ratio_bars(run, "memory", "Memory, as a ratio to bare Trio"),
    "servers": servers,
}
"""Each by the name of its files; one for which a run has no figures is not drawn."""


def draw(run: Run, folder: Path) -> Iterator[Path]:
    """Draw all that the run has figures for. Gives the files that were written."""
    folder.mkdir(parents=True, exist_ok=True)
    mpl.use("Agg")
    for name, drawn in PICTURES.items():
        with mpl.rc_context(RC):
            figure = drawn(run)
            if figure is not None:
                yield from save(figure, folder, name)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plots", description="Draw a run that --json stored."
    )
    parser.add_argument("run", type=Path, metavar="FILE")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    options = parser.parse_args(arguments)
    try:
        run = stored.read(options.run)
    except stored.NotARun as exc:
        parser.error(str(exc))
    for file in draw(run, options.folder):
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
