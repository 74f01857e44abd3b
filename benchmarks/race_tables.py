"""What a race of servers found, as a table."""

from typing import Any

from .tables import MISSED, NONE, Table, interval
from .units import BYTES, amount, ratio, spread

Stored = dict[str, Any]

HEADS = {
    "load": ["requests/s", "server CPU", "wait: p50 / p99 / max"],
    "disconnect": ["client closes: p50 / p99 / max", "client resets: p50 / p99 / max"],
    "idle": ["a connection"],
}


def together(server: Stored, *names: str) -> str:
    values = [server[name] for name in names]
    return NONE if None in values else spread(values)


def cells(kind: str, server: Stored) -> list[str]:
    match kind:
        case "load":
            rate, processor = server["rate"], server["processor"]
            return [
                NONE if rate is None else f"{rate:,.0f}",
                NONE if processor is None else amount(processor),
                together(server, "p50", "p99", "max"),
            ]
        case "disconnect":
            return [together(server, way, f"{way}_p99", f"{way}_max") for way in ("fin", "rst")]
        case _:
            return [NONE if server["bytes"] is None else amount(server["bytes"], BYTES)]


def goal(server: Stored) -> str:
    if server["goal"] is None or server["ratio"] is None:
        return ""
    return f"≥ {server['goal']:g}" + ("" if server["ratio"] >= server["goal"] else f" {MISSED}")


def beside(kind: str, server: Stored) -> list[str]:
    """trioctx's figure over this server's; for what is under load also by processor."""
    found = [NONE, NONE]
    if server["ratio"] is not None:
        found = [f"× {ratio(server['ratio'])}", interval(server["interval"])]
    if kind == "load":
        by_processor = server["processor_ratio"]
        found += [NONE if by_processor is None else f"× {ratio(by_processor)}", goal(server)]
    return found


def race_table(race: Stored) -> Table:
    kind = race["kind"]
    head = ["", *HEADS[kind], "trioctx is", "interval"]
    head += ["by CPU", "goal"] if kind == "load" else []
    rows, notes = [], []
    for place, server in enumerate(race["servers"]):
        if not server["samples"]:
            notes.append(f"{server['label']} absent: {server['absent']}")
            continue
        found = [server["label"], *cells(kind, server)]
        found += beside(kind, server) if place else []
        rows.append(found + [""] * (len(head) - len(found)))
        if server["load_was_the_limit"]:
            notes.append(f"the load was the limit for {server['label']}, which can answer more")
    return Table(f"{race['name']}: {race['what']} ({race['conditions']})", head, rows, notes=notes)
