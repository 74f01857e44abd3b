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
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.measure import WrongOutcome
from benchmarks.report import race_rows
from benchmarks.servers import (
    Contestant,
    Outcome,
    Race,
    Sample,
    Standing,
    check_echo,
    check_hello,
    processor_time,
    races,
    run_race,
    serving,
    wrk_load,
)

TINY = ["--rounds", "2", "--warmup", "0", "--scale", "0.001", "--load", "own"]


@pytest.mark.parametrize("name", list(races()))
def test_each_server_has_a_figure_or_a_reason(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """trioctx and bare Trio are always there; who is not installed is named."""
    file = tmp_path / "figures.json"
    assert main([*TINY, "--only", name, "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert stored["results"] == []
    [race] = stored["races"]
    assert (race["name"], race["load"]) == (name, "own")
    servers = race["servers"]
    assert [s["label"] for s in servers] == [c.label for c in races()[name].contestants]
    assert servers[0]["absent"] is servers[1]["absent"] is None
    for server in servers:
        assert f"\n  {server['label']} " in printed
        if server["absent"]:
            assert f"absent: {server['absent']}" in printed
        else:
            assert len(server["samples"]) == 2
            assert server["rate"] > 0
            low, high = server["interval"]
            assert low <= server["ratio"] <= high


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


@pytest.mark.parametrize("name", list(races()))
def test_a_client_that_resets_does_not_end_a_server(name: str) -> None:
    """wrk goes without waiting for its last answers."""
    race = races()[name]
    for contestant in race.contestants[:2]:
        with serving(contestant, None) as (_, port):
            with socket.create_connection(("127.0.0.1", port), 20) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(b"GET /hello HTTP/1.1\r\n")
            race.check(port)


def test_a_process_has_its_time_told() -> None:
    """It never shrinks, and is None for a process that is gone, or where there is no such file."""
    with serving(races()["echo"].contestants[1], None) as (pid, port):
        before = processor_time(pid)
        check_echo(port)
        after = processor_time(pid)
    assert (before is None) is (after is None) is not sys.platform.startswith("linux")
    assert before is None or after is None or after >= before > 0
    assert processor_time(pid) is None


def outcome(*standings: Standing) -> Outcome:
    race = Race("example", tuple(s.contestant for s in standings), check_echo)
    return Outcome(race, "own", standings)


def samples(*rates: int, load: float = 0.2) -> list[Sample]:
    return [Sample(rate, 1.0, 0.5, load) for rate in rates]


def test_ratios_are_taken_within_a_round() -> None:
    """trioctx's rate over the other's; a missed goal and a limit of the load are said."""
    ours = Standing(Contestant("ours", ""), samples(100, 300, 200))
    slow = Standing(Contestant("slow", "", goal=10.0), samples(50, 150, 100))
    fast = Standing(Contestant("fast", "", goal=0.75), samples(100, 300, 200, load=0.99))
    result = outcome(ours, slow, fast)
    assert result.ratios(slow) == [2.0, 2.0, 2.0]
    assert (result.ratio(slow), result.interval(slow)) == (2.0, (2.0, 2.0))
    rows = race_rows(result)
    assert rows[0].split() == ["ours", "200", "2.5", "ms"]
    assert " ".join(rows[1].split()) == "slow 100 5.0 ms × 2.00 2.00-2.00 × 2.00 >= 10 MISSED"
    assert "× 1.00" in rows[2]
    assert rows[2].endswith(">= 0.75  (the load was the limit: it can answer more)")


def test_a_busy_load_is_no_limit_where_the_server_is_as_busy() -> None:
    """Then both are."""
    [sample] = samples(100, load=0.99)
    assert sample.load_was_the_limit
    assert not replace(sample, server=0.99).load_was_the_limit
    assert not replace(sample, load=0.5).load_was_the_limit


def test_without_trioctx_nothing_is_run() -> None:
    """It says what is missing, for each server."""
    race = Race(
        "echo",
        (Contestant("ours", "", ("no_such_a", "no_such_b")), Contestant("other", "trio_echo")),
        check_echo,
    )
    result = run_race(race, rounds=1, warmup=0, scale=0.0)
    assert [row.split("absent: ")[1] for row in race_rows(result)] == [
        "no_such_a and no_such_b not installed",
        "nothing to compare with: no_such_a and no_such_b not installed",
    ]


WRK = """\
Running 1s test @ http://127.0.0.1:1/hello
  1 threads and 50 connections
  14171 requests in 1.25s, 1.85MB read
{}Requests/sec:  11336.80
"""


def fake_wrk(folder: Path, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = folder / "wrk"
    command.write_text(f"#!{sys.executable}\nprint({says!r})\n", encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_what_wrk_says_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests and seconds."""
    fake_wrk(tmp_path, WRK.format(""), monkeypatch)
    figures = wrk_load(races()["hello"], 1, 1.0, None)
    assert (figures["requests"], figures["seconds"]) == (14171, 1.25)


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
        wrk_load(races()["hello"], 1, 1.0, None)
