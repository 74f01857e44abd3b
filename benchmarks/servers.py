"""trioctx's servers beside others: requests a second, and processor time for each.

Every server is a process of its own (`benchmarks.peers`), and so is the load. Where the system has
two cores, the servers share one and the load has the other. All servers of a race are up all the
time; they are loaded in turn (A B C A B C ...), and a ratio is taken within each round.
"""

import json
import os
import re
import select
import shutil
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import trioctx

from .measure import WrongOutcome, bootstrap, expect

CONNECTIONS = 50
SECONDS = 1.0
LIMIT = 30.0  # seconds for what takes one, to start or to answer
SATURATED = 0.95


@dataclass(frozen=True)
class Contestant:
    """A server: the module of `benchmarks.peers`, and what that imports."""

    label: str
    module: str
    needs: tuple[str, ...] = ()
    goal: float | None = None
    """trioctx should answer at least so many times as many requests."""

    @property
    def absent(self) -> str | None:
        """Why it cannot take part."""
        missing = [name for name in self.needs if find_spec(name) is None]
        return f"{' and '.join(missing)} not installed" if missing else None


@dataclass(frozen=True)
class Race:
    """Servers that do the same. The first is trioctx's."""

    name: str
    contestants: tuple[Contestant, ...]
    check: Callable[[int], None]
    """Raises `WrongOutcome` unless the server on this port does what it is timed for."""


@dataclass(frozen=True)
class Sample:
    """One server under load for a while. Seconds: of the clock, and of each side's processor."""

    requests: int
    seconds: float
    server: float | None
    load: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def each(self) -> float | None:
        """Seconds of the server's processor for one request."""
        return None if self.server is None else self.server / self.requests

    @property
    def load_was_the_limit(self) -> bool:
        """The load could not ask for more, and the server could have answered more."""
        server = SATURATED * self.seconds if self.server is None else self.server
        return self.load / self.seconds > SATURATED >= server / self.seconds


@dataclass(frozen=True)
class Standing:
    """One contestant's samples, in the order of the rounds; none where it is absent."""

    contestant: Contestant
    samples: Sequence[Sample]

    @property
    def rate(self) -> float:
        return statistics.median(sample.rate for sample in self.samples)

    @property
    def processor(self) -> float | None:
        """Seconds of the server's processor for one request, where the system tells it."""
        each = [sample.each for sample in self.samples if sample.each is not None]
        return statistics.median(each) if each else None

    @property
    def load_was_the_limit(self) -> bool:
        """In more than half of the rounds."""
        return 2 * sum(sample.load_was_the_limit for sample in self.samples) > len(self.samples)


@dataclass(frozen=True)
class Outcome:
    race: Race
    load: str
    standings: Sequence[Standing]

    def ratios(self, standing: Standing) -> list[float]:
        """trioctx's requests a second over this one's, round by round."""
        ours = self.standings[0].samples
        return [a.rate / b.rate for a, b in zip(ours, standing.samples, strict=True)]

    def ratio(self, standing: Standing) -> float:
        return statistics.median(self.ratios(standing))

    def processor_ratio(self, standing: Standing) -> float | None:
        """How many requests trioctx answers in the processor time of one of this one's."""
        ours = self.standings[0].samples
        pairs = zip(ours, standing.samples, strict=True)
        each = [b.each / a.each for a, b in pairs if a.each and b.each]
        return statistics.median(each) if each else None

    def interval(self, standing: Standing) -> tuple[float, float]:
        return bootstrap(self.ratios(standing))


def received(client: socket.socket, ending: bytes) -> bytes:
    data = b""
    while not data.endswith(ending):
        more = client.recv(65536)
        if not more:
            raise WrongOutcome(f"the connection closed after {data!r}")
        data += more
    return data


def check_hello(port: int) -> None:
    """200 twice and 404 on one connection."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
        for path, status, ending in (
            ("/hello", b"HTTP/1.1 200", b"\r\n\r\nhello\n"),
            ("/hello", b"HTTP/1.1 200", b"\r\n\r\nhello\n"),
            ("/no-such-path", b"HTTP/1.1 404", b"\n"),
        ):
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            expect(f"the status of {path}", received(client, ending)[: len(status)], status)


def check_echo(port: int) -> None:
    """Two lines on one connection."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
        for line in b"one\n", b"two and more\n":
            client.sendall(line)
            expect("the echo", received(client, b"\n"), line)


def races() -> dict[str, Race]:
    hello = (
        Contestant("trioctx", "trioctx_hello", ("httptools",)),
        Contestant("Trio + httptools, bare", "trio_hello", ("httptools",), goal=0.75),
        Contestant(
            "uvicorn, uvloop + httptools",
            "uvicorn_hello",
            ("uvicorn", "uvloop", "httptools"),
            goal=0.75,
        ),
        Contestant("hypercorn, Trio worker", "hypercorn_hello", ("hypercorn",), goal=10.0),
    )
    echo = (
        Contestant("trioctx", "trioctx_echo"),
        Contestant("Trio, bare", "trio_echo", goal=0.9),
    )
    return {"hello": Race("hello", hello, check_hello), "echo": Race("echo", echo, check_echo)}


def cores() -> tuple[int, int] | None:
    """One core for the servers and one for the load, where there are two and one can choose."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else None


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """What is started in the block inherits that it runs on this core only."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def environment() -> dict[str, str]:
    """Where the trioctx and the benchmarks of this process are found."""
    roots = [Path(__file__).parents[1], Path(trioctx.__file__).parents[1]]
    path = [*map(str, roots), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


@contextmanager
def serving(
    contestant: Contestant, core: int | None, *, profile_into: Path | None = None
) -> Iterator[tuple[int, int]]:
    """The process of this server and its port. It never outlives the block."""
    command = [f"benchmarks.peers.{contestant.module}"]
    if profile_into is not None:
        command = ["benchmarks.peers.sampled", *command, str(profile_into)]
    with on_core(core):
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], LIMIT)
        line = process.stdout.readline() if ready else ""
        if not line.strip().isdigit():
            raise WrongOutcome(f"{contestant.module} does not say its port but {line!r}")
        yield process.pid, int(line)
    finally:
        process.kill()
        process.communicate()


def scheduled(pid: int) -> tuple[float, float] | None:
    """Seconds that the threads of a process have run, and waited for a core, on Linux."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    figures = [file.read_text(encoding="utf-8").split() for file in files]
    if not figures:
        return None
    return sum(int(ran) for ran, *_ in figures) / 1e9, sum(int(f[1]) for f in figures) / 1e9


def processor_time(pid: int) -> float | None:
    """Seconds that all threads of a process have run, on Linux."""
    figures = scheduled(pid)
    return None if figures is None else figures[0]


def output_of(command: Sequence[str], core: int | None) -> str:
    with on_core(core):
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT, env=environment()
        )
    return done.stdout


def own_load(race: Race, port: int, seconds: float, core: int | None) -> Mapping[str, float]:
    arguments = [str(port), race.name, str(CONNECTIONS), str(seconds)]
    told = output_of([sys.executable, "-m", "benchmarks.peers.load", *arguments], core)
    figures: dict[str, float] = json.loads(told)
    return figures


def wrk_load(race: Race, port: int, seconds: float, core: int | None) -> Mapping[str, float]:
    """wrk measures in whole seconds."""
    before = os.times()
    url = f"http://127.0.0.1:{port}/hello"
    told = output_of(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", url], core)
    after = os.times()
    found = re.search(r"(\d+) requests in ([\d.]+)s", told)
    if found is None or "errors" in told or "Non-2xx" in told:
        raise WrongOutcome(f"wrk says {told!r}")
    worked = sum(after[2:4]) - sum(before[2:4])  # of children that have ended
    return {"requests": int(found[1]), "seconds": float(found[2]), "load": worked}


def loads(race: Race) -> str:
    """The name of what loads this race."""
    return "wrk" if race.name == "hello" and shutil.which("wrk") else "own"


def sampled(
    race: Race, load: str, server: tuple[int, int], seconds: float, core: int | None
) -> Sample:
    pid, port = server
    before = processor_time(pid)
    figures = (wrk_load if load == "wrk" else own_load)(race, port, seconds, core)
    after = processor_time(pid)
    worked = None if before is None or after is None else after - before
    return Sample(int(figures["requests"]), figures["seconds"], worked, figures["load"])


def run_race(
    race: Race, *, rounds: int, warmup: int, scale: float, load: str | None = None
) -> Outcome:
    """Start and check all servers that can take part, then load them in turn.

    ``scale`` multiplies the second that a sample lasts, down to a twentieth. ``load`` is "wrk" or
    "own"; without it, wrk where it is present.
    """
    load = load or loads(race)
    seconds = max(SECONDS / 20, SECONDS * scale)
    for_servers, for_load = cores() or (None, None)
    present = [contestant for contestant in race.contestants if contestant.absent is None]
    if race.contestants[0] not in present:
        present = []
    samples: dict[Contestant, list[Sample]] = {contestant: [] for contestant in present}
    with ExitStack() as stack:
        servers = {
            contestant: stack.enter_context(serving(contestant, for_servers))
            for contestant in present
        }
        for _, port in servers.values():
            race.check(port)
        for _ in range(warmup + rounds):
            for contestant, server in servers.items():
                samples[contestant].append(sampled(race, load, server, seconds, for_load))
    standings = [Standing(c, samples.get(c, [])[warmup:]) for c in race.contestants]
    return Outcome(race, load, standings)
