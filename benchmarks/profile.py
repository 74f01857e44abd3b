"""Where a server's processor time goes: ``python -m benchmarks.profile``.

The server runs under a sampling profiler (`benchmarks.peers.sampled`), loaded as in a race. Each
sample is counted for the layer that it was in, without the time that the server had nothing to do,
and the processor time for a request is shared out in that proportion; so trioctx and its bare peer
can be told apart layer by layer.
"""

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from linecache import getline
from pathlib import Path
from typing import Any

import trio

import trioctx

from .machine import machine
from .processor_time import scheduled
from .races.contestants import GOALS_AT, Contestant, Race, races
from .races.loads import own_load
from .races.outcomes import Standing
from .races.processes import LIMIT, cores, serving
from .sides import WrongOutcome

SECONDS = 5.0
TOP = 12

Frame = tuple[str, str, int]

LAYERS = {
    "system": "system calls: recv, send, epoll",
    "httptools": "httptools, without what it calls back",
    "server": "the server: trioctx/servers/, or the bare peer",
    "contexts": "contexts: trioctx itself",
    "trio for contexts": "Trio, called by a context: scopes, nurseries",
    "trio for server": "Trio, called by the server: waiting, streams",
    "scheduler": "Trio's scheduler",
    "other": "the rest",
}

SYSTEM_CALL = re.compile(
    r"\.(recv|recv_into|send|sendmsg|accept|poll|modify|register)\("
    r"|\bos\.(read|write)\(|fn\(self\._sock"
)
IDLE = re.compile(r"_epoll\.poll\(")  # Trio's, where a server waits for something to do
HTTPTOOLS = re.compile(r"\b(feed_data|parse_url|get_method|get_http_version|should_\w+)\(")

TRIO = str(Path(trio.__file__).parent)
TRIOCTX = str(Path(trioctx.__file__).parent)
PEERS = str(Path(__file__).parent / "peers")


@dataclass(frozen=True)
class Profile:
    """Seconds of the processor for one request, by layer and by function, the most first."""

    race: str
    label: str
    samples: int
    layers: dict[str, float]
    functions: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.layers.values())


@cache
def part(file: str) -> str:
    """Whose code a file is."""
    if file.startswith((f"{TRIOCTX}{os.sep}servers", PEERS)):
        return "server"
    if file.startswith(TRIOCTX):
        return "contexts"
    return "trio" if file.startswith(TRIO) else "other"


def layer(stack: Sequence[Frame]) -> str:
    """The layer that a sample was in.

    What Trio does counts for whoever called it; so does the standard library.
    """
    file, _, line = stack[0]
    text = getline(file, line)
    if SYSTEM_CALL.search(text):
        return "system"
    if HTTPTOOLS.search(text):
        return "httptools"
    in_trio = False
    for file, function, _ in stack:
        if function == "unrolled_run":
            return "scheduler"
        if (whose := part(file)) == "trio":
            in_trio = True
        elif whose != "other":
            return f"trio for {whose}" if in_trio else whose
    return "other"


def waiting(stack: Sequence[Frame]) -> bool:
    """Whether a sample was where an idle server is; a busy one is there too, for a moment."""
    file, _, line = stack[0]
    return IDLE.search(getline(file, line)) is not None


def short(frame: Frame) -> str:
    """A function, and its file from the package on."""
    file, function, _ = frame
    parts = Path(file).parts
    starts = [i for i, name in enumerate(parts) if name in ("trioctx", "trio", "benchmarks")]
    return f"{'/'.join(parts[starts[-1] if starts else -1 :])} {function}"


def taken_from(file: Path, pid: int) -> list[dict[str, Any]]:
    """What the server under the profiler has noted since the last time."""
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if file.exists():
            told: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
            return told
        time.sleep(0.02)
    raise WrongOutcome("the profiled server does not tell what it has noted")


def profile(race: Race, contestant: Contestant, seconds: float) -> Profile:
    """Load this server for so long, and see where it was meanwhile."""
    for_server, for_load = cores() or (None, None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "stacks.json")
        with (
            serving(contestant, for_server, profile_into=file) as server,
            own_load(for_load) as load,
        ):
            race.check(server.port)
            load(race, server, seconds / 5)
            taken_from(file, server.pid)
            began, before = time.perf_counter(), scheduled(server.pid)
            sample = load(race, server, seconds)
            took, after = time.perf_counter() - began, scheduled(server.pid)
            told = taken_from(file, server.pid)
    idle = 0.0
    if before is not None and after is not None:
        idle = max(0.0, 1 - (sum(after) - sum(before)) / took)
    return counted(race.protocol, Standing(contestant, [sample]), told, idle)


def counted(race: str, standing: Standing, told: Sequence[dict[str, Any]], idle: float) -> Profile:
    """What was noted, as a `Profile`. ``idle``: the part of the time with nothing to do."""
    layers: Counter[str] = Counter(dict.fromkeys(LAYERS, 0))
    functions: Counter[str] = Counter()
    waits = sum(entry["samples"] for entry in told if waiting(entry["stack"]))
    idle_samples = idle * sum(entry["samples"] for entry in told)
    awake = max(0.0, 1 - idle_samples / waits) if waits else 1.0
    for entry in told:
        samples = round(entry["samples"] * (awake if waiting(entry["stack"]) else 1))
        layers[layer(entry["stack"])] += samples
        functions[short(entry["stack"][0])] += samples
    each = processor_of(standing) / layers.total()
    return Profile(
        race,
        standing.contestant.label,
        layers.total(),
        {name: samples * each for name, samples in layers.items()},
        {name: samples * each for name, samples in functions.most_common(TOP)},
    )


def processor_of(standing: Standing) -> float:
    """Seconds for a request; by the clock where the system does not tell the processor's."""
    processor, rate = standing.figure("processor"), standing.figure("rate")
    if processor is not None:
        return processor
    assert rate is not None
    return 1 / rate


def profiled() -> dict[str, Race]:
    """A race for each protocol: where the servers have so much to do that they are never idle."""
    found = (race for race in races().values() if race.kind == "load")
    return {race.protocol: race for race in found if race.connections == GOALS_AT}


def rows(ours: Profile, peer: Profile) -> list[str]:
    """The layers of both, and the functions of ours."""
    lines = [f"{ours.race}: µs of the processor for a request"]
    lines.append(f"  {'':48}{ours.label:>12}{peer.label:>24}")
    for name, label in LAYERS.items():
        lines.append(
            f"  {label:48}{ours.layers[name] * 1e6:>12.1f}{peer.layers[name] * 1e6:>24.1f}"
        )
    lines.append(f"  {'together':48}{ours.total * 1e6:>12.1f}{peer.total * 1e6:>24.1f}")
    lines.append(f"  most in {ours.label}:")
    lines.extend(f"  {seconds * 1e6:>8.1f}  {name}" for name, seconds in ours.functions.items())
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    known = profiled()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile",
        description="Where the servers' processor time goes, beside their bare Trio peers.",
    )
    parser.add_argument("--only", choices=known, action="append", help="profile only this race")
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="how long each is loaded, default: %(default)s",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="store the figures there")
    options = parser.parse_args(arguments)
    stored = []
    for name in options.only or known:
        race = known[name]
        both = race.contestants[:2]
        if absent := both[0].absent:
            print(f"{name}: absent: {absent}")
            continue
        ours, peer = (profile(race, contestant, options.seconds) for contestant in both)
        print("\n".join(rows(ours, peer)), flush=True)
        stored.append({"name": name, "profiles": [asdict(ours), asdict(peer)]})
    if options.json is not None:
        text = json.dumps({"machine": machine(), "layers": LAYERS, "races": stored}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
