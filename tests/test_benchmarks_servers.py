"""The benchmarks of the servers: real processes, each checked, none skipped without a word.

Nothing here looks at how fast anything was.
"""

import json
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import pytest

from benchmarks import golang
from benchmarks.processor_time import processor_time
from benchmarks.races import Outcome, Race, race_as_json, races, run_race, samples_of
from benchmarks.races.checks import check_echo, check_hello
from benchmarks.races.contestants import ECHO, GOALS_AT, HELLO, SLEEP, Contestant
from benchmarks.races.disconnects import disconnect
from benchmarks.races.loads import wrk_load
from benchmarks.races.outcomes import HEADLINE, Sample, Standing
from benchmarks.races.processes import Program, Server, serving
from benchmarks.races.report import FIGURES
from benchmarks.sides import WrongOutcome

EVERYWHERE = {
    "trioctx",
    "Trio + httptools, bare",
    "Trio, bare",
    "Trio, a task that reads",
    "asyncio streams",
}
"""What every environment of the tests has; the others need what may not be installed."""


@pytest.mark.parametrize("name", list(races()))
def test_each_server_has_a_figure_or_a_reason(name: str) -> None:
    """Who takes part is there in each round; who is not installed is named, and why."""
    race = races()[name]
    steps: list[None] = []
    outcome = run_race(race, rounds=2, warmup=1, scale=0.001, step=lambda: steps.append(None))
    assert len(steps) == samples_of(race, rounds=2, warmup=1)
    stored = json.loads(json.dumps(race_as_json(outcome)))
    assert (stored["name"], stored["kind"]) == (name, race.kind)
    assert stored["load"] == ("own" if race.kind == "load" else "")
    assert [s["label"] for s in stored["servers"]] == [c.label for c in race.contestants]
    for contestant, server in zip(race.contestants, stored["servers"], strict=True):
        if server["absent"] is not None:
            assert contestant.lacks or server["label"] not in EVERYWHERE
            assert server["samples"] == []
            continue
        assert len(server["samples"]) == 2
        for sample in server["samples"]:
            assert set(FIGURES[race.kind]) <= set(sample)
        if race.kind == "load":
            assert server["rate"] > 0
            assert 0 < server["p50"] <= server["p99"] <= server["max"]
        if race.kind == "disconnect":
            assert 0 < server["fin"] <= server["fin_max"]
            assert 0 < server["rst"] <= server["rst_max"]
        if race.kind != "idle":  # what so few connections take may be no page of memory
            low, high = server["interval"]
            assert low <= server["ratio"] <= high


def test_the_races_are_those_of_the_goals() -> None:
    """One, fifty and five hundred connections; goals where there are fifty."""
    for protocol in "hello", "echo":
        found = [r for r in races().values() if (r.protocol, r.kind) == (protocol, "load")]
        assert [race.connections for race in found] == [1, GOALS_AT, 500]
        for race in found:
            has_goal = any(contestant.goal for contestant in race.contestants)
            assert has_goal == race.quick == (race.connections == GOALS_AT)
    names = {contestant.label: contestant.goal for contestant in (*HELLO, *ECHO)}
    assert (names["Trio + httptools, bare"], names["uvicorn, uvloop + httptools"]) == (0.75, 0.75)
    assert (names["hypercorn, Trio worker"], names["Trio, bare"]) == (10.0, 0.9)


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that gives this answer, once, to whatever is sent, then closes."""

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(4096)
            client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"HTTP/1.1 500 No\r\n\r\nhello\n", "the status of /hello: b'HTTP/1.1 500'"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello\n", "the connection closed after b''"),
        (b"HTTP/1.1 200 OK\r\n\r\ngoodbye\n", "the connection closed after b'HTTP/1.1 200"),
    ],
)
def test_a_server_with_another_answer_is_not_timed(answer: bytes, what: str) -> None:
    """Wrong status, wrong body, no second answer on the connection."""
    with answering(answer) as port, pytest.raises(WrongOutcome) as caught:
        check_hello(port)
    assert str(caught.value).startswith(what)


def test_an_echo_of_something_else_is_not_timed() -> None:
    """The same for echo."""
    with answering(b"ONE\n") as port, pytest.raises(WrongOutcome, match="the echo"):
        check_echo(port)


def test_a_server_that_does_not_start_is_an_error() -> None:
    """Not a wait for ever, nor a figure."""
    no_server = Contestant("none", "asgi")  # a module that ends at once
    with pytest.raises(WrongOutcome, match="asgi does not say its port"), serving(no_server, None):
        pass


@pytest.mark.parametrize("contestants", [HELLO[:2], ECHO[:2]])
def test_a_client_that_resets_does_not_end_a_server(contestants: tuple[Contestant, ...]) -> None:
    """wrk goes without waiting for its last answers."""
    check = check_hello if contestants[0] is HELLO[0] else check_echo
    for contestant in contestants:
        with serving(contestant, None) as server:
            with socket.create_connection(("127.0.0.1", server.port), 20) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(b"GET /hello HTTP/1.1\r\n")
            check(server.port)


def test_a_handler_that_is_not_ended_is_an_error() -> None:
    """A server that does not look at a working handler's client has no time to tell."""

    @dataclass
    class Deaf:
        said: list[str]
        name: str = "deaf"

        def line(self, seconds: float = 0.0) -> str:
            return self.said.pop(0)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for said, what in (
            (["began", ""], "deaf: no handler is ended where the client resets"),
            ([""], "deaf: the handler does not begin: ''"),
        ):
            with pytest.raises(WrongOutcome, match=what):
                disconnect(Server(cast(Program, Deaf(said)), port), reset=True)


def test_a_process_has_its_time_told() -> None:
    """It never shrinks, and is None for a process that is gone, or where there is no such file."""
    with serving(ECHO[1], None) as server:
        before = processor_time(server.pid)
        check_echo(server.port)
        server.settle()
        after = processor_time(server.pid)
    assert (before is None) is (after is None) is not sys.platform.startswith("linux")
    assert before is None or after is None or after >= before > 0
    assert processor_time(server.pid) is None


def outcome(*standings: Standing) -> Outcome:
    contestants = tuple(standing.contestant for standing in standings)
    race = Race("example", "load", "echo", 50, "an example", contestants)
    return Outcome(race, "own", standings)


def samples(*rates: float, load: float = 0.2, server: float | None = 0.5) -> list[Sample]:
    waits = {"p50": 0.001, "p99": 0.002, "max": 0.003}
    return [
        {
            "rate": rate,
            "processor": None if server is None else server / rate,
            **waits,
            "server_busy": server,
            "load_busy": load,
        }
        for rate in rates
    ]


def test_ratios_are_taken_within_a_round() -> None:
    """trioctx's rate over the other's; a limit of the load is said."""
    ours = Standing(Contestant("ours", ""), samples(100, 300, 200))
    slow = Standing(Contestant("slow", "", goal=10.0), samples(50, 150, 100))
    fast = Standing(Contestant("fast", "", goal=0.75), samples(100, 300, 200, load=0.99))
    result = outcome(ours, slow, fast)
    assert result.ratios(slow) == [2.0, 2.0, 2.0]
    assert (result.ratio(slow), result.interval(slow)) == (2.0, (2.0, 2.0))
    assert result.processor_ratio(slow) == 2.0
    told = race_as_json(result)["servers"]
    assert [server["goal"] for server in told] == [None, 10.0, 0.75]
    assert [server["rate"] for server in told] == [200, 100, 200]
    assert [server["ratio"] for server in told] == [1.0, 2.0, 1.0]
    assert [server["load_was_the_limit"] for server in told] == [False, False, True]


def test_a_maximum_is_that_of_all_rounds() -> None:
    """Of everything else the median stands for the rounds."""
    first, second, third = samples(1, 2, 3)
    standing = Standing(Contestant("ours", ""), [first, {**second, "max": 9.0, "p99": 9.0}, third])
    assert (standing.figure("max"), standing.figure("p99")) == (9.0, 0.002)


def test_what_the_system_does_not_tell_is_left_out() -> None:
    """No processor's time, and so no ratio of it."""
    ours = Standing(Contestant("ours", ""), samples(100, server=None))
    other = Standing(Contestant("other", ""), samples(50, server=None))
    result = outcome(ours, other)
    stored = race_as_json(result)["servers"][1]
    assert (stored["processor"], stored["processor_ratio"], stored["ratio"]) == (None, None, 2.0)


def test_a_busy_load_is_no_limit_where_the_server_is_as_busy() -> None:
    """Then both are."""

    def limited(load: float, server: float | None) -> bool:
        standing = Standing(Contestant("any", ""), samples(100, load=load, server=server))
        return standing.load_was_the_limit

    assert limited(0.99, 0.5)
    assert limited(0.99, None)
    assert not limited(0.99, 0.99)
    assert not limited(0.5, 0.5)


def test_without_trioctx_nothing_is_run() -> None:
    """It says what is missing, for each server."""
    race = replace(
        races()["echo_1"],
        contestants=(
            Contestant("ours", "", ("no_such_a", "no_such_b")),
            Contestant("other", "trio_echo"),
        ),
    )
    assert samples_of(race, rounds=1, warmup=0) == 0
    result = run_race(race, rounds=1, warmup=0, scale=0.0)
    assert [standing.absent for standing in result.standings] == [
        "no_such_a and no_such_b not installed",
        "nothing to compare with: no_such_a and no_such_b not installed",
    ]


def test_each_contestant_says_why_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed, no go command, or nothing of the kind."""
    for contestant in (*HELLO, *ECHO, *SLEEP):
        if contestant.lacks:
            assert contestant.absent == contestant.lacks
        elif not contestant.is_go:
            missing = [name for name in contestant.needs if find_spec(name) is None]
            assert (contestant.absent is None) is (missing == [])
    monkeypatch.setattr(golang, "absent", lambda source: f"no go for {source.parent.name}")
    go = next(contestant for contestant in ECHO if contestant.is_go)
    assert go.absent == "no go for peers"
    assert set(HEADLINE) == set(FIGURES) == {race.kind for race in races().values()}


WRK = """\
Running 1s test @ http://127.0.0.1:1/hello
  1 threads and 50 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.16ms  198.12us   5.02ms   91.51%
    Req/Sec    43.11k     2.20k   45.52k    90.00%
  Latency Distribution
     50%    1.12ms
     75%    1.19ms
     90%    1.29ms
     99%    2.01ms
  14171 requests in 1.25s, 1.85MB read
{}Requests/sec:  11336.80
"""


def fake_wrk(folder: Path, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = folder / "wrk"
    command.write_text(f"#!{sys.executable}\nprint({says!r})\n", encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def told_by_wrk() -> Sample:
    with serving(HELLO[1], None) as server, wrk_load(None) as load:
        return load(races()["hello_50"], server, 1.0)


def test_what_wrk_says_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests, seconds, and how long the requests waited."""
    fake_wrk(tmp_path, WRK.format(""), monkeypatch)
    sample = told_by_wrk()
    assert sample["rate"] == 14171 / 1.25
    waits = (sample["p50"], sample["p99"], sample["max"])
    assert waits == pytest.approx((0.00112, 0.00201, 0.00502))


@pytest.mark.parametrize(
    "line",
    ["  Socket errors: connect 0, read 3, write 0, timeout 0\n", "  Non-2xx or 3xx responses: 9\n"],
)
def test_errors_that_wrk_counted_are_an_error(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fast refusal is no answer."""
    fake_wrk(tmp_path, WRK.format(line), monkeypatch)
    with pytest.raises(WrongOutcome, match="wrk says"):
        told_by_wrk()


def test_wrk_is_only_for_hello_and_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Echo has its own load; a missing command is an error before anything is started."""
    monkeypatch.setenv("PATH", str(tmp_path))
    few = replace(races()["echo_1"], contestants=ECHO[:1])
    assert run_race(few, rounds=1, warmup=0, scale=0.0, load="wrk").load == "own"
    with pytest.raises(FileNotFoundError, match="no wrk command"):
        run_race(races()["hello_1"], rounds=1, warmup=0, scale=0.0, load="wrk")
