"""The processes of a race: each server is one, and so is what loads them.

Where the system has two cores, the servers share one and the load has the other.
"""

import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trioctx

from ..processor_time import processor_time
from ..sides import WrongOutcome
from .contestants import Contestant

LIMIT = 30.0  # seconds for what takes one, to start or to answer
PAUSE = 0.005


def cores() -> tuple[int, int] | None:
    """One core for the servers and one for the load, where there are two and one can choose."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else None


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """This process, and what it starts in the block, runs on this core only."""
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
    roots = [Path(__file__).parents[2], Path(trioctx.__file__).parents[1]]
    path = [*map(str, roots), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


@dataclass(frozen=True)
class Program:
    """A process that talks in lines, on its standard input and output."""

    name: str
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    def line(self, seconds: float = LIMIT) -> str:
        """The next line that it prints; empty where none comes within this time, or ever."""
        assert self.process.stdout is not None
        data, deadline = b"", time.monotonic() + seconds
        while not data.endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self.process.stdout], [], [], left)[0]:
                return ""
            more = self.process.stdout.read(1)  # unbuffered, so no line is left where select fails
            if not more:
                return ""
            data += more
        return data.decode().strip()


@contextmanager
def started(command: list[str], core: int | None) -> Iterator[Program]:
    """A process that never outlives the block."""
    with on_core(core):
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment(),
        )
    try:
        yield Program(" ".join(command[-2:]), process)
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class Server:
    """A server that listens."""

    program: Program
    port: int

    @property
    def pid(self) -> int:
        return self.program.pid

    def settle(self, seconds: float = 1.0) -> None:
        """Wait until it has nothing more to do, such as with connections that were closed.

        The next server would have to share the core with it.
        """
        deadline = time.monotonic() + seconds
        before = processor_time(self.pid)
        while before is not None and time.monotonic() < deadline:
            time.sleep(PAUSE)
            after = processor_time(self.pid)
            if after is None or after - before < PAUSE / 10:
                return
            before = after


@contextmanager
def serving_all(
    contestants: list[Contestant], core: int | None, *, profile_into: Path | None = None
) -> Iterator[list[Server]]:
    """All of these servers; they start at the same time. None outlives the block."""
    with ExitStack() as stack:
        programs = [
            stack.enter_context(started(contestant.command(profile_into), core))
            for contestant in contestants
        ]
        servers = []
        for contestant, program in zip(contestants, programs, strict=True):
            line = program.line()
            if not line.isdigit():
                raise WrongOutcome(f"{contestant.module} does not say its port but {line!r}")
            servers.append(Server(program, int(line)))
        yield servers


@contextmanager
def serving(
    contestant: Contestant, core: int | None, *, profile_into: Path | None = None
) -> Iterator[Server]:
    """The process of this server."""
    with serving_all([contestant], core, profile_into=profile_into) as [server]:
        yield server
