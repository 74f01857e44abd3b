"""The benchmarks do the work that they time, and give a figure for everything they list.

Nothing here looks at how long anything took: that is what a run of ``python -m benchmarks`` is for.
"""

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.measure import Comparison, Result, Side, WrongOutcome, bootstrap, expect, measure
from benchmarks.report import duration, row
from benchmarks.suite import comparisons

TINY = ["--rounds", "2", "--warmup", "0", "--scale", "0.001"]


def test_each_comparison_has_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every name is printed with its goal, and stored with all of its samples."""
    file = tmp_path / "figures.json"
    assert main([*TINY, "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert [result["name"] for result in stored["results"]] == list(comparisons())
    for result in stored["results"]:
        assert result["ratio"] > 0
        assert result["interval"][0] <= result["ratio"] <= result["interval"][1]
        assert [len(samples) for samples in result["seconds"].values()] == [2, 2]
        assert f"\n{result['name']} " in printed
        assert result["goal"] is None or f"<= {result['goal']:g}" in printed
    assert "gc: " in printed
    assert f"python {stored['machine']['python']}" in printed


def test_only_the_named_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """``--only`` can be repeated, and keeps the order given."""
    assert main([*TINY, "--only", "with_value", "--only", "with_timeout"]) == 0
    printed = capsys.readouterr().out
    assert "with_value" in printed.split("with_timeout")[0]
    assert "start_soon" not in printed


@pytest.mark.parametrize("wrong", [["--only", "no_such"], ["--rounds", "0"]])
def test_bad_arguments_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2 and a message, before anything is measured."""
    with pytest.raises(SystemExit) as caught:
        main(wrong)
    assert caught.value.code == 2
    assert wrong[0] in capsys.readouterr().err


async def test_sides_are_checked_first_and_sampled_in_turn() -> None:
    """Checks, then A B A B; the warm-up is taken and thrown away."""
    calls: list[str] = []

    def side(name: str, seconds: float) -> Side:
        async def sample(size: int) -> float:
            calls.append(f"{name}{size}")
            return seconds * size

        async def check() -> None:
            calls.append(f"check {name}")

        return Side(name, sample, check)

    comparison = Comparison("example", side("a", 3.0), side("b", 2.0), size=10)
    result = await measure(comparison, rounds=2, warmup=1, scale=0.5)
    assert calls == ["check a", "check b", "a5", "b5", "a5", "b5", "a5", "b5"]
    assert result == Result(comparison, 5, [3.0, 3.0], [2.0, 2.0])
    assert (result.ratio, result.interval) == (1.5, (1.5, 1.5))


def test_the_interval_holds_the_median() -> None:
    """It is as wide as the rounds disagree, and the same each time."""
    low, high = bootstrap([1.0, 1.1, 1.2, 1.3, 9.0])
    assert 1.0 <= low < 1.2 < high <= 9.0
    assert bootstrap([1.0, 1.1, 1.2, 1.3, 9.0]) == (low, high)


def test_a_missed_goal_is_said() -> None:
    """The goal stands beside the ratio."""

    async def sample(size: int) -> float:
        return float(size)

    async def check() -> None:
        pass

    side = Side("side", sample, check)
    met = Result(Comparison("met", side, side, 1, goal=2.0), 1, [1.0], [1.0])
    missed = Result(Comparison("missed", side, side, 1, goal=1.0), 1, [3.0], [2.0])
    assert row(met).endswith("<= 2")
    assert row(missed).endswith("<= 1 MISSED")


def test_a_wrong_outcome_is_not_timed() -> None:
    """A side that does something else is an error that shows both."""
    with pytest.raises(WrongOutcome, match=r"the variable: 'unset' instead of 'set'"):
        expect("the variable", "unset", "set")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.2e-8, "42.0 ns"), (7.31e-6, "7.3 µs"), (0.0123, "12.3 ms"), (2.5, "2.5 s")],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    """From nanoseconds to seconds."""
    assert duration(seconds) == text
