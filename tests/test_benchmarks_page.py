"""The page of the benchmarks has the figures of the stored runs, and the profile tells layers."""

import json
import os
from pathlib import Path

import pytest
import trio

import trioctx
from benchmarks.page import PAGE, PART, PARTS, filled, stored
from benchmarks.peers import trio_hello
from benchmarks.profile import LAYERS, counted, layer, main, short
from benchmarks.servers import Sample, Standing, races


def test_the_page_has_the_stored_figures() -> None:
    """Each table is there, and nothing in one was typed by hand."""
    page = PAGE.read_text(encoding="utf-8")
    assert [match["name"] for match in PART.finditer(page)] == list(PARTS)
    assert filled(page, stored("benchmarks.json"), stored("profile.json")) == page


def test_the_page_tells_what_was_absent_or_missed() -> None:
    """Neither is left out."""
    server = {
        "label": "ours",
        "absent": None,
        "goal": None,
        "rate": 1000.0,
        "processor": 0.001,
        "ratio": 1.0,
        "interval": [1.0, 1.0],
        "processor_ratio": 1.0,
        "load_was_the_limit": False,
        "samples": ["a sample"],
    }
    figures = {"ratio": 0.7, "interval": [0.65, 0.75], "processor_ratio": 0.71}
    slow = {**server, **figures, "label": "theirs", "goal": 0.75, "load_was_the_limit": True}
    gone = {"label": "gone", "absent": "gone is not installed", "samples": []}
    race = {"name": "hello", "conditions": "as it was", "servers": [server, slow, gone]}
    text = "\n".join(PARTS["servers"]({"races": [race]}, {}))
    assert "Hello: as it was." in text
    assert "| ours | 1,000 | 1.0 ms |  |  |  |  |" in text
    assert "| × 0.70 | 0.65 to 0.75 | ≥ 0.75, **missed** | × 0.71 |" in text
    assert "| gone | absent: gone is not installed |" in text
    assert "The load was the limit for theirs," in text


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
    contestant = races()["echo"].contestants[0]
    standing = Standing(contestant, [Sample(1000, 1.0, 0.5, 0.2)])
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


@pytest.mark.parametrize("name", list(races()))
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
        c.label for c in races()[name].contestants[:2]
    ]
    for profile in race["profiles"]:
        assert profile["samples"] > 0
        assert set(profile["layers"]) == set(LAYERS)
        assert sum(profile["layers"].values()) > 0
    for label in LAYERS.values():
        assert f"\n  {label} " in printed
