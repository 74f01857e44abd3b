"""The profile of the servers: each sample counts for a layer, and together they are a request."""

import json
import os
from pathlib import Path

import pytest
import trio

import trioctx
from benchmarks.peers import trio_hello
from benchmarks.profile import LAYERS, counted, layer, main, profiled, short
from benchmarks.races.outcomes import Standing

RUN = str(Path(trio.__file__).parent / "_core" / "_run.py")
SOCKET = str(Path(trio.__file__).parent / "_socket.py")
CONTEXT = str(Path(trioctx.__file__).parent / "_context.py")
SERVER = str(Path(trioctx.__file__).parent / "servers" / "_tcp.py")
PEER = trio_hello.__file__
STANDARD = os.__file__
LOOP = (RUN, "unrolled_run", 0)
ABOVE = [LOOP, (CONTEXT, "run", 0)]  # trioctx.run, which is always there


@pytest.mark.parametrize(
    ("frames", "name"),
    [
        ([], "scheduler"),
        ([(RUN, "reschedule", 0)], "scheduler"),
        ([(STANDARD, "f", 0)], "scheduler"),
        ([(CONTEXT, "f", 0), (SERVER, "f", 0)], "contexts"),
        ([(STANDARD, "f", 0), (CONTEXT, "f", 0), (SERVER, "f", 0)], "contexts"),
        ([(RUN, "f", 0), (STANDARD, "f", 0), (CONTEXT, "f", 0)], "trio for contexts"),
        ([(RUN, "f", 0), (SERVER, "f", 0), (CONTEXT, "f", 0)], "trio for server"),
        ([(SERVER, "f", 0), (CONTEXT, "f", 0)], "server"),
        ([(PEER, "f", 0)], "server"),
        ([(RUN, "f", 0), (PEER, "f", 0)], "trio for server"),
    ],
)
def test_a_sample_counts_for_a_layer(frames: list[tuple[str, str, int]], name: str) -> None:
    """What Trio and the standard library do counts for the innermost that called them."""
    assert name in LAYERS
    assert layer([*frames, *ABOVE]) == name


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("data = sock.recv(100)", "system"),
        ("return os.write(fd, data)", "system"),
        ("return fn(self._sock, *args)", "system"),
        ("self._parser.feed_data(data)", "httptools"),
        ("await stream.send_all(data)", "server"),
    ],
)
def test_a_call_into_c_is_known_by_its_line(line: str, name: str, tmp_path: Path) -> None:
    """There is no frame for it."""
    file = tmp_path / "called.py"
    file.write_text(f"# first\n{line}\n", encoding="utf-8")
    assert layer([(str(file), "f", 2), (SERVER, "serve", 0), *ABOVE]) == name


def test_time_with_nothing_to_do_is_not_shared_out(tmp_path: Path) -> None:
    """Half of the samples were idle: they are taken from the waiting, and from nothing else."""
    file = tmp_path / "polled.py"
    file.write_text("return self._epoll.poll(timeout)\n", encoding="utf-8")
    told = [
        {"stack": [(str(file), "get_events", 1), *ABOVE], "samples": 60},
        {"stack": [(SERVER, "serve", 1), *ABOVE], "samples": 40},
    ]
    contestant = profiled()["echo"].contestants[0]
    standing = Standing(contestant, [{"rate": 1000.0, "processor": 0.0005}])
    profile = counted("echo", standing, told, 0.5)
    assert profile.samples == 50
    assert profile.layers["system"] == pytest.approx(0.0001)
    assert profile.layers["server"] == pytest.approx(0.0004)
    assert profile.total == pytest.approx(0.0005)


def test_a_function_is_named_with_its_file_from_the_package_on() -> None:
    """Not with the machine's folders."""
    assert short((SOCKET, "recv", 1)) == "trio/_socket.py recv"
    assert short((SERVER, "serve", 1)) == "trioctx/servers/_tcp.py serve"
    assert short(("<frozen abc>", "f", 1)) == "<frozen abc> f"


@pytest.mark.parametrize("name", list(profiled()))
def test_a_server_is_profiled_beside_its_bare_peer(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every layer has a figure, and together they are the time of a request."""
    file = tmp_path / "profile.json"
    assert main(["--only", name, "--seconds", "0.1", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert figures["layers"] == LAYERS
    [race] = figures["races"]
    assert [p["label"] for p in race["profiles"]] == [
        c.label for c in profiled()[name].contestants[:2]
    ]
    for profile in race["profiles"]:
        assert profile["samples"] > 0
        assert set(profile["layers"]) == set(LAYERS)
        assert sum(profile["layers"].values()) > 0
    for label in LAYERS.values():
        assert f"\n  {label} " in printed
