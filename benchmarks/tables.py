"""What was found, as tables: the screen prints them, and the page has the same."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from .cases import WORKS
from .driver import OURS, PEER
from .figures import ratios
from .stored import Ratio, StoredCase, figures
from .units import amount, ratio, spread, units

Called = Literal["name", "what"]
"""How a case is called in a table."""

FLOOR = "floor"
"""The side that does only what a case cannot do without: Trio's calls alone."""

SIDES = {
    OURS: "trioctx",
    PEER: "Trio",
    FLOOR: "floor",
    "anyio-trio": "AnyIO on Trio",
    "asyncio": "asyncio",
    "anyio-asyncio": "AnyIO on asyncio",
    "go": "Go",
}
"""What people call them, in the order in which they are shown."""

GROUPS = {
    "latency": "Latency: from the cancellation to the first task, the last, and the block's end",
    "lateness": "Lateness: how long after its deadline a block ends",
    "cost": "Cost: time for one",
    "memory": "Memory: bytes for one",
}

MISSED = "MISSED"
NONE = "–"


@dataclass(frozen=True)
class Table:
    """Cells as text. ``left``: so many columns are words, the others figures."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    notes: Sequence[str] = field(default=())


def side_name(side: str) -> str:
    return SIDES.get(side, side)


def place(side: str) -> int:
    return list(SIDES).index(side) if side in SIDES else len(SIDES)


def ordered(sides: Iterable[str]) -> list[str]:
    """Sides in the order of `SIDES`, unknown ones last."""
    return sorted(set(sides), key=lambda side: (place(side), side))


def interval(pair: Sequence[float]) -> str:
    """Where all rounds agree, or there is only one, there is none."""
    low, high = pair
    if low == high:
        return NONE
    return f"{ratio(low)} to {ratio(high)}"


def compared(case: StoredCase, side: str) -> Ratio | None:
    """trioctx beside this one."""
    found = case["sides"].get(side)
    return None if found is None else found.get("ratio")


def floor(case: StoredCase) -> float | None:
    """The unavoidable calls alone, over what the goal compares with."""
    rounds = {
        name: side["metrics"][case["metric"]]["rounds"] for name, side in case["sides"].items()
    }
    if FLOOR not in rounds or case["rival"] not in rounds:
        return None
    return median(ratios(rounds[FLOOR], rounds[case["rival"]]))


def goal(case: StoredCase) -> str:
    """The goal, and whether it was met; beside what and how far, where that is not Trio's way."""
    if case["goal"] is None:
        return ""
    text = f"≤ {case['goal']:g}"
    found = compared(case, case["rival"])
    if found is None:
        return f"{text}, not compared"
    if case["rival"] != PEER:
        text += f" beside {case['rival']}: {ratio(found['median'])}"
    return text + f" {MISSED}" * (found["median"] > case["goal"])


def beside(case: StoredCase) -> list[str]:
    """Ratio, interval, goal."""
    found = compared(case, PEER)
    if found is None:
        return [NONE, NONE, goal(case)]
    return [ratio(found["median"]), interval(found["interval"]), goal(case)]


def comparison(title: str, cases: Sequence[StoredCase], called: Called = "name") -> Table:
    """A row for each case, with the median of each side."""
    floors = [floor(case) for case in cases]
    hidden = {OURS, PEER, FLOOR, *(case["rival"] for case in cases)}
    others = [s for s in ordered(s for c in cases for s in c["sides"]) if s not in hidden]
    rows = []
    for case, lowest in zip(cases, floors, strict=True):
        known = {
            side: amount(median(metric["rounds"]), units(case["group"]))
            for side, _, metric in figures(case)
        }
        row = [case[called], known.get(OURS, NONE), known.get(PEER, NONE), *beside(case)]
        if any(floors):
            row.append("" if lowest is None else ratio(lowest))
        rows.append(row + [known.get(side, NONE) for side in others])
    head = ["", side_name(OURS), side_name(PEER), "ratio", "interval", "goal"]
    head += [side_name(FLOOR)] * any(floors)
    return Table(title, [*head, *map(side_name, others)], rows, notes=list(notes(cases)))


def spreads(title: str, cases: Sequence[StoredCase], called: Called = "name") -> Table:
    """A row for each side of each case: p50 / p99 / max of each metric."""
    metrics = list(
        dict.fromkeys(m for c in cases for side in c["sides"].values() for m in side["metrics"])
    )
    rows = []
    for case in cases:
        for side in ordered(case["sides"]):
            found = case["sides"][side]
            cells = [
                spread([m["p50"], m["p99"], m["max"]], units(case["group"]))
                if (m := found["metrics"].get(metric)) is not None
                else NONE
                for metric in metrics
            ]
            last = ["", "", ""]
            if "ratio" in found:
                over = found["ratio"]
                last = [ratio(over["median"]), interval(over["interval"]), ""]
                if side == case["rival"]:
                    last[2] = goal(case)
            name = case[called] if side == ordered(case["sides"])[0] else ""
            rows.append([name, side_name(side), *cells, *last])
    head = ["", "", *(f"{m}: p50 / p99 / max" for m in metrics), "trioctx is ×", "interval", "goal"]
    return Table(title, head, rows, left=2, notes=list(notes(cases)))


def group_tables(group: str, cases: Sequence[StoredCase]) -> Iterator[Table]:
    """What the screen shows of a group."""
    title = GROUPS.get(group, group)
    yield (spreads if group in ("latency", "lateness") else comparison)(title, cases)


def notes(cases: Sequence[StoredCase]) -> Iterator[str]:
    """What is absent and why, what failed, and where fewer rounds were taken."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        for side, why in case["absent"].items():
            reasons.setdefault((side, why), []).append(case["name"])
    for side, why in sorted(reasons, key=lambda pair: place(pair[0])):
        names = reasons[side, why]
        where = "" if len(names) == len(cases) else f" ({', '.join(names)})"
        yield f"{side_name(side)} absent{where}: {why}"
    for case in cases:
        for side, why in case["failed"].items():
            yield f"{side_name(side)} FAILED in {case['name']}: {why}"
    most = max((case["rounds"] for case in cases), default=0)
    fewer = [f"{case['name']} {case['rounds']}" for case in cases if case["rounds"] < most]
    yield f"rounds: {most}" + f"; fewer of what takes long: {', '.join(fewer)}" * bool(fewer)


def legend(cases: Sequence[StoredCase]) -> Iterator[str]:
    """What each side does, once for each work."""
    for work, case in {case["work"]: case for case in cases}.items():
        labels = (
            f"{side_name(side)}: {case['sides'][side]['label']}" for side in ordered(case["sides"])
        )
        yield f"{work}: {WORKS.get(work, case['what'])}. {'; '.join(labels)}"
