"""``python -m benchmarks``: what is chosen is measured, told and stored; what fails is said.

Nothing here looks at how long anything took: that is what a run is for.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import benchmarks.__main__ as program
from benchmarks import stored
from benchmarks.__main__ import INTERRUPTED, chosen, listed, main, settings
from benchmarks.cases import METRICS, Case, cases
from benchmarks.driver import Driver, Worker, worker
from benchmarks.races import races
from benchmarks.races.processes import environment
from benchmarks.remaining import Remaining

TINY = {"size": 3, "tasks": 3, "children": 3, "repeat": 1, "deadlines": 5, "spread": 0.01}
FEW = "with_timeout", "linked_new", "fanout_10", "lateness_1000", "memory_with_cancel"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, Case]:
    """A few cheap cases, one or two of each group, instead of all; and no race."""
    few = {
        name: replace(case, args={**case.args, **{k: TINY[k] for k in case.args if k in TINY}})
        for name, case in cases().items()
        if name in FEW
    }
    monkeypatch.setattr(program, "cases", lambda: few)
    monkeypatch.setattr(program, "races", dict)
    return few


def test_each_case_has_its_figures_on_every_side(
    tiny: dict[str, Case], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In real workers, each is checked, measured, printed with its goal, and stored."""
    file = tmp_path / "run.json"
    assert main(["--rounds", "2", "--warmup", "1", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    run = stored.read(file)
    assert [case["name"] for case in run["cases"]] == list(tiny)
    for case in run["cases"]:
        assert case["rounds"] == min(2, tiny[case["name"]].rounds or 2)
        assert {"trioctx", "trio", "asyncio", case["rival"]} <= case["sides"].keys()
        assert not case["failed"]
        for side in case["sides"].values():
            assert set(side["metrics"]) == set(METRICS[tiny[case["name"]].group])
            for metric in side["metrics"].values():
                assert len(metric["rounds"]) == case["rounds"]
                assert metric["p50"] <= metric["p99"] <= metric["max"]
                assert ("cdf" in metric) is (case["group"] == "lateness")
            assert f"{side['label']}" in printed
        low, high = case["sides"][case["rival"]]["ratio"]["interval"]
        assert 0 < low <= case["sides"][case["rival"]]["ratio"]["median"] <= high
        assert f"  {case['name']} " in printed
        assert case["goal"] is None or f"≤ {case['goal']:g}" in printed
        assert all(why in printed for why in case["absent"].values())
    assert "gc: collected before each sample" in printed
    assert f"python {run['machine']['python']}" in printed
    assert {"trio", "anyio", "trioctx", "go", "cpu", "cores", "system"} <= run["machine"].keys()


def test_only_the_named_are_measured() -> None:
    """Names, patterns and groups, in the order of the table."""
    found, raced = chosen(["fanout_1*0", "with_timeout", "echo_50"], quick=False)
    names = [case.name for case in found]
    assert names[0] == "with_timeout"
    assert {"fanout_10", "fanout_100", "fanout_10000"} < set(names)
    assert not any(name.endswith("load") or name == "fanout_1" for name in names)
    assert [race.name for race in raced] == ["echo_50"]
    assert {case.group for case in chosen(["memory"], quick=False)[0]} == {"memory"}
    assert chosen(["servers"], quick=False) == ([], list(races().values()))


def test_quick_takes_a_part_of_each_group() -> None:
    """With fewer rounds, unless so many are asked for; a name counts for more than ``--quick``."""
    found, raced = chosen([], quick=True)
    assert {case.group for case in found} == {case.group for case in cases().values()}
    assert 0 < len(found) < len(cases())
    assert 0 < len(raced) < len(races())
    options = program.parser().parse_args
    assert settings(options(["--quick"])).rounds < 20 <= settings(options([])).rounds
    assert settings(options(["--quick", "--rounds", "7", "--warmup", "0"])).rounds == 7
    assert len(chosen(["fanout_1", "fanout_100000"], quick=True)[0]) == 2


def test_the_list_has_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Each case and race with what it is, and nothing is measured."""
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines() == list(listed())
    about = [(c.name, c.what) for c in cases().values()]
    about += [(r.name, r.what) for r in races().values()]
    for name, what in about:
        assert f" {name} " in printed
        assert what in printed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--only", "no_such"], "nothing is called 'no_such'"),
        (["--rounds", "0"], "a whole number, 1 or more, not '0'"),
        (["--warmup", "few"], "a whole number, 0 or more, not 'few'"),
        (["--json", "/no/such/folder/run.json"], "there is no such folder"),
        (["--against", "/no/such/run.json"], "/no/such/run.json"),
        (["--load", "heavy"], "heavy"),
    ],
)
def test_bad_arguments_are_refused(
    wrong: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 and a message, before anything is measured."""
    with pytest.raises(SystemExit) as caught:
        main(wrong)
    assert caught.value.code == 2
    found = capsys.readouterr()
    assert told in found.err
    assert not found.out


FAKE = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    match asked["do"], asked.get("side"):
        case "sides", _:
            sides = "trioctx", "trio", "wrong", "unable", "mortal"
            answer = {side: {"works": ["work"], "lacks": {}} for side in sides}
            answer["other"] = {"works": [], "lacks": {"work": "it has none"}}
            answer["gone"] = {"absent": "not installed"}
        case "deadlines", _:
            print(asked["number"], file=open(sys.argv[1], "a"))
            answer = {}
        case "check", "wrong":
            answer = {"error": "the answer: 1 instead of 2"}
        case "check", "unable":
            answer = {"absent": "not so many"}
        case "check", side:
            answer = {"label": "as " + side}
        case "sample", "mortal":
            os.kill(os.getpid(), 9)
        case "sample", side:
            print(side, file=open(sys.argv[1], "a"))
            answer = {"figures": {"each": [3.0 if side == "trioctx" else 2.0]}}
    print(json.dumps(answer), flush=True)
"""


@contextmanager
def fake(folder: Path) -> Iterator[tuple[Worker, Path]]:
    """A worker of six sides, and the file in which it notes what it was asked."""
    program, log = folder / "fake.py", folder / "log"
    program.write_text(FAKE, encoding="utf-8")
    log.touch()
    with worker("fake", [sys.executable, str(program), str(log)], None) as made:
        yield made, log


CASE = Case("example", "cost", "an example", "work", goal=1.2, deadlines=7)


def test_a_side_that_fails_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    """Wrong outcomes, and a process that ends: the next request has a new one, armed again."""
    with fake(tmp_path) as (made, log):
        driver = Driver([made], {"far": "no such program"})
        result = driver.measure(CASE, rounds=2, warmup=1)
        asked = log.read_text(encoding="utf-8").split()
    assert result.labels == {"trioctx": "as trioctx", "trio": "as trio"}
    each = [{"each": [3.0]}, {"each": [3.0]}]
    assert result.rounds == {"trioctx": each, "trio": [{"each": [2.0]}, {"each": [2.0]}]}
    assert result.absent == {
        "other": "it has none",
        "gone": "not installed",
        "far": "no such program",
        "unable": "not so many",
    }
    assert result.failed == {
        "wrong": "the answer: 1 instead of 2",
        "mortal": "the worker fake was ended by SIGKILL",
    }
    assert asked == ["7", "trioctx", "trio", "7", "trioctx", "trio", "trioctx", "trio"]


def test_what_failed_is_told_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the exit status is 1, though the others were measured."""

    @contextmanager
    def faked() -> Iterator[Driver]:
        with fake(tmp_path) as (made, _):
            yield Driver([made], {})

    monkeypatch.setattr("benchmarks.run.driver", faked)
    monkeypatch.setattr(program, "cases", lambda: {"example": CASE})
    monkeypatch.setattr(program, "races", dict)
    assert main(["--rounds", "2"]) == 1
    printed = capsys.readouterr().out
    assert "≤ 1.2 MISSED" in printed
    assert "FAILED: example, mortal: the worker fake was ended by SIGKILL" in printed
    assert "FAILED: example, wrong: the answer: 1 instead of 2" in printed


def test_a_worker_that_does_not_start_is_told(tmp_path: Path) -> None:
    """With the last that it said."""
    broken = [sys.executable, "-c", "raise ValueError('no such loop')"]
    with worker("broken", broken, None) as made:
        driver = Driver([made], {})
    assert driver.broken == ["the worker broken exited 1: ValueError: no such loop"]
    assert driver.sides(CASE) == []


def children(pid: int) -> list[int]:
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in file.read_text(encoding="utf-8").split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, 143)]
)
def test_an_interrupted_run_leaves_no_process(number: signal.Signals, status: int) -> None:
    """It tells what there is, and ends with the status of the signal."""
    command = [sys.executable, "-m", "benchmarks", "--only", "with_*", "--rounds", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as run:
        stuck = threading.Timer(120, run.kill)
        stuck.start()
        assert run.stdout is not None
        while "[1/" not in run.stdout.readline():
            assert run.poll() is None
        workers = children(run.pid)
        assert workers
        run.send_signal(number)
        rest = run.stdout.read()
        assert run.wait(60) == status
        stuck.cancel()
    assert "Traceback" not in rest
    assert ("interrupted: nothing is stored" in rest) is (number == signal.SIGINT)
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_time_left_is_told_by_the_stored_run_and_by_the_samples() -> None:
    """At the pace of what was measured; for what is unknown, as long as the unknown so far."""
    now = 0.0
    remaining = Remaining({"a": 4, "b": 2, "c": 10}, {"a": 1.0, "b": 5.0}, clock=lambda: now)
    assert remaining.seconds() == pytest.approx(4 * 1.0 + 2 * 5.0 + 10 * 0.05)
    remaining.begin("a")
    assert remaining.place == (1, 3)
    now = 2.0  # twice as long as stored
    remaining.step()
    assert remaining.seconds() == pytest.approx(3 * 2.0 + 2 * 10.0 + 10 * 0.05)
    assert remaining.end() == 1
    remaining.begin("c")
    now = 3.0
    remaining.step()
    assert remaining.seconds() == pytest.approx(2 * 10.0 + 9 * 1.0)
    assert remaining.elapsed == 3.0


def test_a_run_can_be_read_again(tmp_path: Path) -> None:
    """As it was, rounded; one line for each part that has no parts."""
    run: stored.Run = {"machine": {"cpu": "x"}, "settings": {}, "cases": [], "races": []}
    run["races"] = [{"name": "echo", "servers": [{"rate": 123456.789, "samples": []}]}]
    file = tmp_path / "run.json"
    stored.write(run, file)
    assert stored.read(file) == stored.rounded(run)
    assert stored.read(file)["races"][0]["servers"][0]["rate"] == 123460.0
    assert '\n   "servers": [\n    {"rate": 123460.0, "samples": []}\n   ]' in file.read_text()


@pytest.mark.parametrize("text", ["{", "[]", '{"results": []}', '{"machine": 1, "cases": [{}]}'])
def test_another_file_is_not_taken_for_a_run(text: str, tmp_path: Path) -> None:
    """It says which file."""
    file = tmp_path / "other.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(stored.NotARun, match=r"other\.json"):
        stored.read(file)
    whole = {"machine": {}, "settings": {}, "races": [], "cases": [{"name": "x"}]}
    file.write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(stored.NotARun, match="a case without"):
        stored.read(file)
