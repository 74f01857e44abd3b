"""One look for all pictures: whose line is whose, and how axes tell their units.

The colours are those of Okabe and Ito, which people with any kind of colour vision can tell apart;
marker and line style differ too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from .units import SECONDS, Units, suited

DOTS = 110  # an inch, in a PNG
LIGHT = "#d9d9d9"
DARK = "#404040"

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F"

RC: dict[Any, Any] = {  # matplotlib's own type for it is one of its releases'
    "axes.axisbelow": True,
    "axes.edgecolor": DARK,
    "axes.grid": True,
    "axes.labelcolor": DARK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same
    "font.size": 9,
    "grid.color": LIGHT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "trioctx",  # or the names of an SVG's parts would be random
    "text.color": DARK,
    "xtick.color": DARK,
    "ytick.color": DARK,
}


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str
    line: str
    hatch: str = ""
    width: float = 1.4
    filled: bool = True

    @property
    def inside(self) -> str:
        """The colour of the marker's inside: an open one shows what is under it."""
        return self.colour if self.filled else "white"


OURS = Look(BLUE, "o", "-", width=2.2)
LOOKS = {
    "trioctx": OURS,
    "trio": Look(BLACK, "s", "--"),
    "anyio-trio": Look(GREEN, "^", "-.", "//", filled=False),
    "asyncio": Look(VERMILLION, "v", ":", "\\\\"),
    "anyio-asyncio": Look(ORANGE, "D", "-.", "xx", filled=False),
    "go": Look(PURPLE, "P", "--", ".."),
    "uvicorn": Look(SKY, "D", "-", "//"),
    "aiohttp": Look(ORANGE, "^", "-.", "xx"),
    "hypercorn": Look(GREY, "X", ":", "\\\\"),
}
OTHER = Look(GREY, "*", "-")

SERVERS = {
    "trioctx": "trioctx",
    "Trio": "trio",
    "AnyIO": "anyio-trio",
    "asyncio": "asyncio",
    "Go": "go",
    "uvicorn": "uvicorn",
    "aiohttp": "aiohttp",
    "hypercorn": "hypercorn",
}
"""The look of a server, by the first word of its label."""


def look(side: str) -> Look:
    return LOOKS.get(side, OTHER)


def server_look(label: str) -> Look:
    return look(SERVERS.get(label.replace(",", " ").split()[0], ""))


def tick(value: float, units: Units) -> str:
    factor, unit = suited(value, units)
    return f"{value * factor:g} {unit}"


def log_units(axes: Axes, *, axis: str, units: Units = SECONDS) -> None:
    """A logarithmic axis with a labelled line at each power of ten, in the unit that suits it."""
    (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
    ruler = axes.xaxis if axis == "x" else axes.yaxis
    ruler.set_major_locator(LogLocator(10, numticks=6 if axis == "x" else 12))
    ruler.set_major_formatter(FuncFormatter(lambda value, _: tick(value, units)))
    ruler.set_minor_formatter(NullFormatter())


def log_counts(axes: Axes, counts: Iterable[int]) -> None:
    """A logarithmic axis with a tick at each of these."""
    axes.set_xscale("log")
    axes.set_xticks(sorted(counts), labels=[short(count) for count in sorted(counts)])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)


def short(count: int) -> str:
    return f"{count // 1000}k" if count >= 1000 else str(count)


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """One for all panels, below them, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """As SVG and PNG, without the date or the version of what drew them."""
    files = [folder / f"{name}.svg", folder / f"{name}.png"]
    with mpl.rc_context(RC):
        figure.savefig(files[0], metadata={"Date": None, "Creator": None})
        figure.savefig(files[1], dpi=DOTS, metadata={"Software": None})
    return files
