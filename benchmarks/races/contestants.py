"""Everything that is measured of servers, as a table: who takes part in which race."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from .. import golang
from .checks import check_echo, check_hello

Kind = Literal["load", "disconnect", "idle"]
Protocol = Literal["hello", "echo"]

GOALS_AT = 50  # connections


@dataclass(frozen=True)
class Contestant:
    """A server: the module of `benchmarks.peers`, and what that imports."""

    label: str
    module: str
    needs: tuple[str, ...] = ()
    goal: float | None = None
    """trioctx should answer at least so many times as many requests."""
    lacks: str | None = None
    """Why it has nothing of what the race measures."""
    is_go: bool = False
    """Then `module` is what the program of `peers/go` is asked to serve."""

    @property
    def absent(self) -> str | None:
        """Why it cannot take part."""
        if self.lacks is not None:
            return self.lacks
        if self.is_go:
            return golang.absent(golang.SERVERS)
        missing = [name for name in self.needs if find_spec(name) is None]
        return f"{' and '.join(missing)} not installed" if missing else None

    def command(self, profile_into: Path | None = None) -> list[str]:
        """What starts it; with the profiler (`benchmarks.peers.sampled`) where that has a file."""
        if self.is_go:
            return [str(golang.built(golang.SERVERS)), self.module]
        module = f"benchmarks.peers.{self.module}"
        if profile_into is None:
            return [sys.executable, "-m", module]
        return [sys.executable, "-m", "benchmarks.peers.sampled", module, str(profile_into)]


@dataclass(frozen=True)
class Race:
    """Servers that do the same. The first is trioctx's, which the others are compared with."""

    name: str
    kind: Kind
    protocol: Protocol
    connections: int
    what: str
    contestants: tuple[Contestant, ...]
    quick: bool = False
    """Whether ``--quick`` takes it."""

    @property
    def check(self) -> Callable[[int], None]:
        """Raises `WrongOutcome` unless the server on this port does what it is timed for."""
        return check_hello if self.protocol == "hello" else check_echo


UVICORN = ("uvicorn", "uvloop", "httptools")

HELLO = (
    Contestant("trioctx", "trioctx_hello", ("httptools",)),
    Contestant("Trio + httptools, bare", "trio_hello", ("httptools",), goal=0.75),
    Contestant("uvicorn, uvloop + httptools", "uvicorn_hello", UVICORN, goal=0.75),
    Contestant("aiohttp", "aiohttp_hello", ("aiohttp",)),
    Contestant("Go, net/http", "hello", is_go=True),
    Contestant("hypercorn, Trio worker", "hypercorn_hello", ("hypercorn",), goal=10.0),
)

ECHO = (
    Contestant("trioctx", "trioctx_echo"),
    Contestant("Trio, bare", "trio_echo", goal=0.9),
    Contestant("AnyIO on Trio", "anyio_echo", ("anyio",)),
    Contestant("asyncio streams", "asyncio_echo"),
    Contestant("Go, net", "echo", is_go=True),
)

SLEEP = (
    Contestant("trioctx", "trioctx_sleep", ("httptools",)),
    Contestant("Trio, a task that reads", "trio_sleep", ("httptools",)),
    Contestant("uvicorn, a task in receive()", "uvicorn_sleep", UVICORN),
    Contestant("aiohttp, handler_cancellation", "aiohttp_sleep", ("aiohttp",)),
    Contestant("Go, net/http", "sleep", is_go=True),
    Contestant("hypercorn, a task in receive()", "hypercorn_sleep", ("hypercorn",)),
)

SLOW = "raced with 50 connections only, for which it has a goal"


def loads(
    protocol: Protocol, contestants: tuple[Contestant, ...], connections: int
) -> tuple[Contestant, ...]:
    """The contestants of a race with so many connections."""
    if connections == GOALS_AT:
        return contestants
    return tuple(
        replace(c, goal=None, lacks=SLOW if c.module == "hypercorn_hello" else None)
        for c in contestants
    )


def all_races() -> Iterator[Race]:
    protocols: tuple[tuple[Protocol, tuple[Contestant, ...]], ...] = (
        ("hello", HELLO),
        ("echo", ECHO),
    )
    for protocol, contestants in protocols:
        for connections in 1, 50, 500:
            yield Race(
                f"{protocol}_{connections}",
                "load",
                protocol,
                connections,
                f"{protocol}, {connections} connection{'s' * (connections > 1)}: requests a "
                "second, and how long each waits for its answer",
                loads(protocol, contestants, connections),
                quick=connections == GOALS_AT,
            )
    yield Race(
        "hello_disconnect",
        "disconnect",
        "hello",
        1,
        "from the client's close() in mid-request to the end of the handler, which sleeps",
        SLEEP,
    )
    for protocol, contestants in protocols:
        yield Race(
            f"{protocol}_idle",
            "idle",
            protocol,
            500,
            f"{protocol}, 500 connections that have had one answer and wait: memory of each",
            tuple(replace(c, goal=None) for c in contestants),
        )


def races() -> dict[str, Race]:
    """All of them by name, in the order in which they are run."""
    return {race.name: race for race in all_races()}
