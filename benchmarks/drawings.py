"""The pictures of a stored run, one function for each kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from .driver import OURS, PEER
from .figures import PARTS
from .plot_style import (
    BLUE,
    DARK,
    VERMILLION,
    legend_below,
    log_counts,
    log_units,
    look,
    server_look,
    short,
)
from .stored import Run, StoredCase
from .tables import compared, floor, ordered, side_name
from .units import ratio

PANELS = {
    "first": "to the first task's end",
    "last": "to the last task's end",
    "left": "to the end of the block",
}


def latency(
    run: Run,
    work: str,
    argument: str,
    counted: str,
    title: str,
    *,
    trigger: str = "cancel",
    load: bool = False,
) -> Figure | None:
    """Medians over ``argument``, on logarithmic axes; a panel for each of the three latencies."""
    cases = [
        case
        for case in run["cases"]
        if (case["group"], case["work"]) == ("latency", work)
        and case["args"]["trigger"] == trigger
        and bool(case["args"]["load"]) is load
    ]
    if not cases:
        return None
    cases.sort(key=lambda case: case["args"][argument])
    sides = ordered(side for case in cases for side in case["sides"])
    figure = Figure(figsize=(10, 4.3), layout="constrained")
    figure.suptitle(title)
    panels: Sequence[Axes] = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (metric, about) in zip(panels, PANELS.items(), strict=True):
        for side in sides:
            points = [
                (case["args"][argument], case["sides"][side]["metrics"][metric]["p50"])
                for case in cases
                if metric in case["sides"].get(side, {"metrics": {}})["metrics"]
            ]
            if not points:
                continue
            style = look(side)
            axes.plot(
                *zip(*points, strict=True),
                color=style.colour,
                marker=style.marker,
                linestyle=style.line,
                linewidth=style.width,
                markersize=5,
                markerfacecolor=style.inside,
                label=side_name(side),
                zorder=3 if side == OURS else 2,
            )
        axes.set_title(about)
        axes.set_xlabel(counted)
        log_counts(axes, [int(case["args"][argument]) for case in cases])
        log_units(axes, axis="y")
    panels[0].set_ylabel("time since the trigger, median")
    legend_below(figure, panels[-1], len(sides))
    return figure


def latenesses(run: Run) -> Figure | None:
    """How many of the deadlines were how late, a panel for each number of deadlines."""
    cases = [case for case in run["cases"] if case["group"] == "lateness" and case["sides"]]
    if not cases:
        return None
    cases.sort(key=lambda case: case["args"]["deadlines"])
    sides = ordered(side for case in cases for side in case["sides"])
    figure = Figure(figsize=(10, 4.3), layout="constrained")
    figure.suptitle("How late deadlines take effect")
    panels: Sequence[Axes] = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
    parts = [100 * part / PARTS for part in range(PARTS + 1)]
    for axes, case in zip(panels, cases, strict=True):
        for side in (side for side in sides if side in case["sides"]):
            style = look(side)
            late = case["sides"][side]["metrics"][case["metric"]].get("cdf", [])
            axes.plot(
                late,
                parts,
                color=style.colour,
                marker=style.marker,
                markevery=(5, 15),
                linestyle=style.line,
                linewidth=style.width,
                markersize=5,
                markerfacecolor=style.inside,
                label=side_name(side),
                zorder=3 if side == OURS else 2,
            )
        axes.set_title(case["what"])
        axes.set_xlabel("lateness")
        log_units(axes, axis="x")
    panels[0].set_ylabel("deadlines that were not later, %")
    most = max(panels, key=lambda axes: len(axes.get_lines()))
    legend_below(figure, most, len(sides))
    return figure


@dataclass(frozen=True)
class Bar:
    label: str
    ratio: float
    low: float
    high: float
    goal: float | None
    floor: float | None

    @property
    def missed(self) -> bool:
        return self.goal is not None and self.ratio > self.goal


def bars(cases: Sequence[StoredCase]) -> list[Bar]:
    """One for each case beside Trio; one more where its goal is beside something else."""
    found = []
    for case in cases:
        name = case["name"].removeprefix("memory_")
        for rival in dict.fromkeys([PEER, case["rival"]]):
            over = compared(case, rival)
            if over is None:
                continue
            low, high = over["interval"]
            is_goals = rival == case["rival"]
            found.append(
                Bar(
                    name if rival == PEER else f"{name}, beside {rival}",
                    over["median"],
                    low,
                    high,
                    case["goal"] if is_goals else None,
                    floor(case) if is_goals else None,
                )
            )
    return found


def ratio_bars(run: Run, group: str, title: str) -> Figure | None:
    """trioctx over bare Trio: bars from 1 with their intervals, goals and floors.

    Where several have goals they stand above the rest, on an axis of their own: some of the rest is
    far away.
    """
    found = bars([case for case in run["cases"] if case["group"] == group])
    with_goal = [bar for bar in found if bar.goal is not None]
    others = [bar for bar in found if bar.goal is None]
    panels = [panel for panel in (with_goal, others) if panel] if len(with_goal) > 1 else [found]
    if not found:
        return None
    figure = Figure(figsize=(10, 1.5 + 0.27 * len(found) + 0.5 * len(panels)), layout="constrained")
    figure.suptitle(title)
    sizes = {"height_ratios": [len(panel) + 0.8 for panel in panels]}
    columns = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw=sizes)
    for (axes,), panel in zip(columns, panels, strict=True):
        draw_bars(axes, panel)
    columns[-1][0].set_xlabel("trioctx / bare Trio (less is better)")
    keys: list[Artist] = [Patch(color=BLUE, label="trioctx, with its 95 % interval")]
    if any(bar.missed for bar in found):
        keys.append(
            Patch(facecolor=VERMILLION, hatch="////", edgecolor="white", label="goal missed")
        )
    if with_goal:
        keys.append(
            Line2D([], [], color=DARK, linestyle="", marker="|", markersize=11, label="goal")
        )
    if any(bar.floor is not None for bar in found):
        keys.append(
            Line2D(
                [],
                [],
                color="white",
                linestyle="",
                marker="D",
                markeredgecolor=DARK,
                label="floor: Trio's calls alone",
            )
        )
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
    return figure


def draw_bars(axes: Axes, panel: Sequence[Bar]) -> None:
    for place, bar in enumerate(panel):
        axes.barh(
            place,
            bar.ratio - 1,
            left=1,
            height=0.62,
            color=VERMILLION if bar.missed else BLUE,
            hatch="////" if bar.missed else "",
            edgecolor="white",
            linewidth=0,
        )
        axes.errorbar(
            bar.ratio,
            place,
            xerr=[[bar.ratio - bar.low], [bar.high - bar.ratio]],
            color=DARK,
            capsize=2.5,
            linewidth=1,
        )
        if bar.goal is not None:
            axes.plot([bar.goal] * 2, [place - 0.42, place + 0.42], color=DARK, linewidth=2.2)
        if bar.floor is not None:
            axes.plot(bar.floor, place, "D", color="white", markeredgecolor=DARK, markersize=5)
        axes.annotate(
            ratio(bar.ratio),
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    ratio_axis(axes, panel)
    axes.set_yticks(range(len(panel)), labels=[bar.label for bar in panel])
    axes.set_ylim(len(panel) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


CLOSE = 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16
FAR = *(10.0**power for power in range(-6, 0)), 0.3, 1, 3, *(10.0**power for power in range(1, 6))


def ratio_axis(axes: Axes, panel: Sequence[Bar]) -> None:
    """Logarithmic, so that half and twice are as far from 1."""
    ends = [v for bar in panel for v in (bar.low, bar.high, bar.goal or 1, bar.floor or 1)]
    low, high = min(*ends, 0.75), max(*ends, 1.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(CLOSE if high / low < 200 else FAR))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(low / (high / low) ** 0.03, high * (high / low) ** 0.03)
    axes.axvline(1, color=DARK, linewidth=1.2)


def servers(run: Run) -> Figure | None:
    """Requests a second above, waits below; a column for each protocol."""
    races = [race for race in run["races"] if race["kind"] == "load"]
    protocols = list(dict.fromkeys(race["protocol"] for race in races))
    if not protocols:
        return None
    figure = Figure(figsize=(10, 8), layout="constrained")
    figure.suptitle("Servers under load")
    halves = figure.subfigures(1, len(protocols), squeeze=False)[0]
    for half, protocol in zip(halves, protocols, strict=True):
        above, below = half.subplots(2, 1)
        loaded = [race for race in races if race["protocol"] == protocol]
        by_connections = {
            race["connections"]: {s["label"]: s for s in race["servers"] if s["samples"]}
            for race in loaded
        }
        labels = [
            server["label"]
            for server in loaded[0]["servers"]
            if any(server["label"] in has for has in by_connections.values())
        ]
        rates(above, by_connections, labels)
        above.set_title(protocol)
        waits(below, by_connections, labels)
        legend_below(half, above, 2)
    return figure


Race = Mapping[int, Mapping[str, Mapping[str, Any]]]
"""For each number of connections, each server's figures."""


def grouped(by_connections: Race, labels: Sequence[str]) -> tuple[float, list[list[float]]]:
    """The width of a bar, and for each server its places."""
    width = 0.84 / len(labels)
    left = -width * (len(labels) - 1) / 2
    places = [
        [group + left + width * index for group in range(len(by_connections))]
        for index in range(len(labels))
    ]
    return width, places


def group_axis(axes: Axes, by_connections: Race) -> None:
    axes.set_xticks(range(len(by_connections)), labels=[short(n) for n in by_connections])
    axes.set_xlabel("connections")
    axes.grid(visible=False, axis="x")


def rates(axes: Axes, by_connections: Race, labels: Sequence[str]) -> None:
    width, places = grouped(by_connections, labels)
    for label, at in zip(labels, places, strict=True):
        style = server_look(label)
        values = [has[label]["rate"] if label in has else 0.0 for has in by_connections.values()]
        axes.bar(
            at,
            values,
            width * 0.92,
            color=style.colour,
            hatch=style.hatch,
            edgecolor="white",
            linewidth=0,
            label=label,
        )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(int(value))))
    axes.set_ylabel("requests a second (more is better)")
    group_axis(axes, by_connections)


def waits(axes: Axes, by_connections: Race, labels: Sequence[str]) -> None:
    """A marker at the median, and a line up to the 99th percentile."""
    _, places = grouped(by_connections, labels)
    for label, at in zip(labels, places, strict=True):
        style = server_look(label)
        for place, has in zip(at, by_connections.values(), strict=True):
            if label not in has:
                continue
            half, most = has[label]["p50"], has[label]["p99"]
            axes.plot([place, place], [half, most], color=style.colour, linewidth=2)
            axes.plot(place, half, style.marker, color=style.colour, markersize=6)
            axes.plot(place, most, "_", color=style.colour, markersize=8, markeredgewidth=2)
    log_units(axes, axis="y")
    axes.set_ylabel("wait for an answer, p50 to p99")
    group_axis(axes, by_connections)
    axes.set_xlim(-0.6, len(by_connections) - 0.4)
