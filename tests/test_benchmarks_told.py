"""What a run of the benchmarks tells: figures, tables, pictures, the difference to another run."""

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import benchmarks.__main__ as program
from benchmarks import against, stored
from benchmarks.cases import Case, Group
from benchmarks.driver import Result
from benchmarks.figures import bootstrap, distribution, quantile, ratios
from benchmarks.race_tables import race_table
from benchmarks.remaining import Remaining
from benchmarks.run import Session, Settings
from benchmarks.screen import Plain, Rich, Screen, screen
from benchmarks.stored import Run, StoredCase, stored_case
from benchmarks.tables import Table, comparison, group_tables, legend, spreads
from benchmarks.units import BYTES, amount, digits, duration, minutes, spread


def test_quantiles_are_values_that_were_there() -> None:
    """The smallest that so large a part does not exceed."""
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [quantile(values, part) for part in (0, 0.2, 0.5, 0.99, 1)] == [1, 1, 3, 5, 5]
    many = [float(n) for n in range(1000)]
    parts = distribution(many)
    assert (len(parts), parts[0], parts[50], parts[99], parts[100]) == (101, 0, 499, 989, 999)
    assert parts == sorted(parts)


def test_the_interval_holds_the_median() -> None:
    """It is as wide as the rounds disagree, and the same each time."""
    low, high = bootstrap([1.0, 1.1, 1.2, 1.3, 9.0])
    assert 1.0 <= low < 1.2 < high <= 9.0
    assert bootstrap([1.0, 1.1, 1.2, 1.3, 9.0]) == (low, high)
    assert bootstrap([1.5]) == (1.5, 1.5)
    assert ratios([3.0, 8.0], [2.0, 4.0]) == [1.5, 2.0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.2e-8, "42.0 ns"), (7.314e-6, "7.31 µs"), (0.0123, "12.3 ms"), (2.5, "2.50 s"), (0, "0 ns")],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    """From nanoseconds to seconds, with three digits."""
    assert duration(seconds) == text


def test_several_figures_share_a_unit() -> None:
    """That of the largest, unless the smallest would be nothing in it."""
    assert spread([6.28e-4, 0.0125, 0.0125]) == "0.63 / 12.5 / 12.5 ms"
    assert spread([5e-6, 6e-3]) == "5.00 / 6000 µs"
    assert (amount(1536, BYTES), amount(640, BYTES)) == ("1.50 KiB", "640 B")
    assert (digits(0.5), minutes(125.4), minutes(-1)) == ("0.50", "2:05", "0:00")


def result(
    name: str,
    sides: Mapping[str, Sequence[float]],
    *,
    group: Group = "cost",
    goal: float | None = None,
    rival: tuple[str, str] | None = None,
    absent: dict[str, str] | None = None,
    failed: dict[str, str] | None = None,
) -> StoredCase:
    """A stored case in which each side has these figures, a round each."""
    metrics = {"latency": ("first", "last", "left"), "lateness": ("late",)}.get(group, ("each",))
    args: dict[str, Any] = {}
    if group == "latency":
        args = {"tasks": 10, "trigger": "cancel", "load": 0}
    elif group == "lateness":
        args = {"deadlines": 10, "spread": 1.0}
    case = Case(
        name,
        group,
        f"what {name} does",
        "fanout" if group == "latency" else name,
        args,
        metric=metrics[-1],
        goal=goal,
        against=rival,
    )
    found = {
        side: [{metric: [value] for metric in metrics} for value in values]
        for side, values in sides.items()
    }
    labels = {side: f"{side}'s way" for side in sides}
    return stored_case(Result(case, labels, found, absent or {}, failed or {}, 1.0), 10)


def server(label: str, ratio: float = 1.0, interval: Sequence[float] = (0.9, 1.1)) -> Any:
    return {
        "label": label,
        "goal": None,
        "absent": None,
        "rate": 1000.0,
        "processor": 0.001,
        "p50": 0.001,
        "p99": 0.002,
        "max": 0.003,
        "ratio": ratio,
        "interval": list(interval),
        "processor_ratio": 0.71,
        "load_was_the_limit": False,
        "samples": [{"rate": 1000.0}] * 5,
    }


def race(name: str, *servers: Any) -> Any:
    return {
        "name": name,
        "kind": "load",
        "protocol": "hello",
        "connections": 50,
        "what": "who is fast",
        "conditions": "as it was",
        "headline": "rate",
        "servers": [server("trioctx"), *servers],
        "seconds": 1.0,
        "steps": 10,
    }


def run_of(*cases: StoredCase, races: Sequence[Any] = (), **machine: str) -> Run:
    settings = {"rounds": 5, "warmup": 1}
    return {"machine": machine, "settings": settings, "cases": list(cases), "races": list(races)}


def rows(table: Table) -> dict[str, str]:
    """Each row, by its first cell."""
    return {row[0]: " | ".join(row) for row in table.rows}


def test_a_missed_goal_is_said() -> None:
    """Beside Trio, or beside what the case says; where there is neither, that is said."""
    both = {"trioctx": [3.0] * 5, "trio": [2.0] * 5}
    met = result("met", both, goal=2.0)
    missed = result("missed", {**both, "floor": [1.0] * 5}, goal=1.0)
    beside = {"trioctx": [3.0] * 5, "trioctx other": [1.0] * 5, "trio": [6.0] * 5}
    other = result("other", beside, goal=1.5, rival=("trioctx", "other"))
    alone = result("alone", {"trioctx": [3.0], "asyncio": [1.0]}, goal=1.5)
    found = rows(comparison("", [met, missed, other, alone]))
    assert found["met"] == "met | 3.00 s | 2.00 s | 1.50 | – | ≤ 2 |  | –"
    assert found["missed"] == "missed | 3.00 s | 2.00 s | 1.50 | – | ≤ 1 MISSED | 0.50 | –"
    assert "| 0.50 | – | ≤ 1.5 beside trioctx other: 3.00 MISSED |" in found["other"]
    assert found["alone"] == "alone | 3.00 s | – | – | – | ≤ 1.5, not compared |  | 1.00 s"


def test_what_is_absent_or_failed_stands_below() -> None:
    """With the reason, and the cases that it holds for where it is not all; so do the rounds."""
    ours, no_go = [1.0] * 5, {"go": "no go command"}
    one = result("one", {"trioctx": ours}, absent={**no_go, "asyncio": "none"})
    two = result("two", {"trioctx": ours[:1]}, absent=no_go, failed={"trio": "it broke"})
    assert comparison("", [one, two]).notes == [
        "asyncio absent (one): none",
        "Go absent: no go command",
        "Trio FAILED in two: it broke",
        "rounds: 5; fewer of what takes long: two 1",
    ]
    assert list(legend([one])) == ["one: what one does. trioctx: trioctx's way"]


def test_a_latency_is_told_in_full() -> None:
    """A row for each side, p50, p99 and max of each metric."""
    sides = {"trioctx": [1e-3, 2e-3, 9e-3], "trio": [1e-3] * 3}
    case = result("fanout_10", sides, group="latency", goal=1.0)
    table = spreads("", [case])
    assert len(table.rows) == 2
    assert [len(row) for row in table.rows] == [len(table.head)] * 2
    assert table.rows[0][:3] == ["fanout_10", "trioctx", "2.00 / 9.00 / 9.00 ms"]
    assert table.rows[1][1:] == [
        *["Trio", *["1.00 / 1.00 / 1.00 ms"] * 3],
        *["2.00", "1.00 to 9.00", "≤ 1 MISSED"],
    ]


def test_a_race_is_told_with_what_was_absent_or_missed() -> None:
    """A limit of the load too."""
    slow = {**server("theirs", 0.7, (0.65, 0.75)), "goal": 0.75, "load_was_the_limit": True}
    gone = {"label": "gone", "absent": "gone is not installed", "samples": []}
    table = race_table(race("hello_50", slow, gone))
    assert rows(table) == {
        "trioctx": "trioctx | 1,000 | 1.00 ms | 1.00 / 2.00 / 3.00 ms |  |  |  | ",
        "theirs": "theirs | 1,000 | 1.00 ms | 1.00 / 2.00 / 3.00 ms | × 0.70 | 0.65 to 0.75 "
        "| × 0.71 | ≥ 0.75 MISSED",
    }
    assert "the load was the limit for theirs, which can answer more" in table.notes
    assert "gone absent: gone is not installed" in table.notes
    assert "who is fast" in table.title


CASES = {
    "slower": ([1.0, 1.1, 1.0, 1.1, 1.0], [2.0, 2.1, 2.0, 2.1, 2.0]),
    "faster": ([2.0, 2.1, 2.0, 2.1, 2.0], [1.0, 1.1, 1.0, 1.1, 1.0]),
    "as before": ([1.0, 2.0, 1.0, 2.0, 1.5], [1.1, 2.1, 1.1, 2.1, 1.6]),
    "too few rounds": ([1.0, 1.0], [2.0, 2.0]),
}


def two_runs() -> tuple[Run, Run]:
    """The same machine, on which everything took twice as long the second time."""
    before = run_of(
        *(
            result(name, {"trioctx": old, "trio": [1.0] * len(old)})
            for name, (old, _) in CASES.items()
        ),
        result("dropped", {"trioctx": [1.0], "trio": [1.0]}),
        races=[race("hello_50", server("theirs", 1.0, (0.95, 1.05)))],
        python="3.11",
    )
    now = run_of(
        *(
            result(name, {"trioctx": [2 * v for v in new], "trio": [2.0] * len(new)})
            for name, (_, new) in CASES.items()
        ),
        result("new", {"trioctx": [1.0], "trio": [1.0]}),
        result("alone", {"trioctx": [1.0]}),
        races=[race("hello_50", server("theirs", 0.5, (0.4, 0.6)))],
        python="3.12",
    )
    return now, before


def test_what_got_slower_is_found_by_the_ratio() -> None:
    """By more than the interval; of requests a second, less is slower."""
    comparison = against.compare(*two_runs())
    verdicts = {change.name: change.verdict for change in comparison.changes}
    assert verdicts == {**{name: name for name in CASES}, "hello_50": "slower"}
    assert [change.name for change in comparison.slower] == ["slower", "hello_50"]
    assert comparison.only_now == ["new"]
    assert comparison.only_before == ["dropped"]
    assert comparison.machines == ["python: 3.11, now 3.12"]
    table = against.table(comparison, "old.json")
    assert [row[1] for row in table.rows[:3]] == ["SLOWER", "SLOWER", "faster"]
    assert table.rows[0][3:] == [
        *["1.00 (1.00 to 1.10)", "2.00 (2.00 to 2.10)"],
        *["1.00 s", "4.00 s"],
    ]
    assert any("dropped" in note for note in table.notes)


def test_a_run_is_not_slower_than_itself() -> None:
    """Nor faster."""
    run, _ = two_runs()
    comparison = against.compare(run, deepcopy(run))
    assert {change.verdict for change in comparison.changes} == {"as before", "too few rounds"}
    assert not (comparison.only_now or comparison.only_before or comparison.machines)


@pytest.mark.parametrize("slower", [True, False])
def test_the_exit_status_tells_whether_something_got_slower(
    slower: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 if it did; what is told names it."""
    now, before = two_runs()
    session = Session(Settings(5, 1), Plain(), {})
    session.run = now if slower else before
    options = program.parser().parse_args(["--against", "old.json", "--json", str(tmp_path / "f")])
    assert program.told(session, options, before, Plain()) == slower
    printed = capsys.readouterr().out
    assert f"slower: {'slower, hello_50' if slower else 'nothing'}" in printed
    assert stored.read(tmp_path / "f")["cases"]


@pytest.mark.parametrize("kind", [Plain, Rich])
def test_lines_and_rich_have_the_same_content(
    kind: Callable[[], Screen], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell and note; a terminal has colours besides."""
    sides = {"trioctx": [2.0] * 5, "trio": [1.0] * 5}
    table = next(group_tables("cost", [result("one[x]", sides, goal=1.0, failed={"go": "no"})]))
    if kind is Rich:
        pytest.importorskip("rich")
        monkeypatch.setenv("COLUMNS", "200")
    shown = kind()
    shown.show(table)
    shown.say("done [1/2]")
    remaining = Remaining({"one[x]": 3}, {})
    with shown.progress(remaining) as measuring:
        remaining.begin("one[x]")
        measuring("one[x]")
    printed = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", capsys.readouterr().out)
    for text in [table.title, *table.head, *table.rows[0], *table.notes, "done [1/2]"]:
        assert text in printed


def test_lines_are_in_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Words to the left, figures to the right; progress has its time."""
    Plain().show(Table("title", ["", "a"], [["x", "1.00"], ["yy", "20.00"]], notes=["note"]))
    assert capsys.readouterr().out == "\ntitle\n          a\n  x    1.00\n  yy  20.00\n  note\n\n"
    remaining = Remaining({"x": 1, "y": 1}, {"x": 60.0, "y": 61.0}, clock=lambda: 0.0)
    with Plain().progress(remaining) as measuring:
        remaining.begin("y")
        measuring("y")
    assert capsys.readouterr().out == "[2/2] y (0:00, 2:01 left)\n"
    assert isinstance(screen(), Plain)  # as this is no terminal


def drawable() -> Run:
    """A case of each kind of picture."""
    sides = {"trioctx": [1e-3, 2e-3], "trio": [1e-3, 1e-3], "go": [1e-5, 1e-5]}
    return run_of(
        result("with_timeout", {**sides, "floor": [1e-4, 1e-4]}, goal=1.0),
        result("fanout_10", sides, group="latency"),
        result("lateness_10", sides, group="lateness"),
        result("memory_x", sides, group="memory"),
        races=[race("hello_50", server("Trio, bare"), server("Go, net"))],
    )


def test_a_run_is_drawn_the_same_each_time(tmp_path: Path) -> None:
    """As SVG and PNG, with titles, units and each side's name; what has no figures is not drawn."""
    pytest.importorskip("matplotlib")
    from benchmarks.plots import draw, main

    first = list(draw(drawable(), tmp_path / "a"))
    names = {file.name for file in first}
    kinds = "fanout", "lateness", "cost", "memory", "servers"
    assert names == {f"{name}.{kind}" for name in kinds for kind in ("svg", "png")}
    file = tmp_path / "run.json"
    stored.write(drawable(), file)
    assert main([str(file), str(tmp_path / "b")]) == 0
    for drawn in first:
        data = drawn.read_bytes()
        assert (tmp_path / "b" / drawn.name).read_bytes() == data
        assert len(data) < 300_000
        if drawn.suffix == ".png":
            assert data.startswith(b"\x89PNG")
        else:
            assert ElementTree.fromstring(data).tag.endswith("svg")
            assert b"<dc:date>" not in data


def test_a_picture_shows_what_was_measured() -> None:
    """The points are the medians; bars start at 1, and end at the ratio."""
    pytest.importorskip("matplotlib")
    from benchmarks.drawings import bars
    from benchmarks.plots import PICTURES

    run = drawable()
    fanout = PICTURES["fanout"](run)
    assert fanout is not None
    assert len(fanout.axes) == 3
    drawn: Any = fanout.axes[0].get_lines()
    lines = {line.get_label(): line.get_xydata().tolist() for line in drawn}
    assert lines == {"trioctx": [[10, 1e-3]], "Trio": [[10, 1e-3]], "Go": [[10, 1e-5]]}
    [bar] = bars([case for case in run["cases"] if case["group"] == "cost"])
    assert (bar.ratio, bar.goal, bar.floor, bar.missed) == (1.5, 1.0, 0.1, True)
    assert PICTURES["depth"](run) is None
    assert all(drawn(run_of()) is None for drawn in PICTURES.values())
