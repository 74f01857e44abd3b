"""Runs a race: starts its servers, checks them, and takes samples in turn.

All servers of a race are up all the time; they are measured in turn (A B C, A B C ...), and a ratio
is taken within each round. Only for the memory of idle connections each round has fresh servers.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .contestants import Contestant, Race
from .disconnects import check_disconnect, disconnects
from .idle import idle
from .loads import own_load, wrk_load
from .outcomes import Outcome, Sample, Standing
from .processes import Server, cores, serving, serving_all

SECONDS = 0.2
"""How long a server is loaded in a sample."""
DISCONNECTS = 20
"""Of either kind in a sample."""
IDLE_ROUNDS = 3
"""At most: each takes the start of all servers, and the figures hardly differ."""

Step = Callable[[], None]
Measure = Callable[[Server], Sample]


def rounds_of(race: Race, rounds: int) -> int:
    """How many rounds are taken where so many are asked for."""
    return min(rounds, IDLE_ROUNDS) if race.kind == "idle" else rounds


def samples_of(race: Race, *, rounds: int, warmup: int) -> int:
    """How often `run_race` calls ``step``, for who shows progress."""
    warmup = 0 if race.kind == "idle" else warmup
    return len(present(race)) * (rounds_of(race, rounds) + warmup)


def present(race: Race) -> list[Contestant]:
    """Who can take part: nobody where trioctx cannot."""
    if race.contestants[0].absent is not None:
        return []
    return [contestant for contestant in race.contestants if contestant.absent is None]


def loads(race: Race, load: str | None) -> str:
    """The name of what loads this race: "own", or "wrk" for hello where that is asked for."""
    if race.kind != "load":
        return ""
    return "wrk" if load == "wrk" and race.protocol == "hello" else "own"


@contextmanager
def measure_of(race: Race, load: str, scale: float, core: int | None) -> Iterator[Measure]:
    """What takes a sample of a server."""
    if race.kind == "load":
        seconds = max(SECONDS / 20, SECONDS * scale)
        if load == "wrk" and shutil.which("wrk") is None:
            raise FileNotFoundError("no wrk command")
        with (wrk_load if load == "wrk" else own_load)(core) as loaded:
            yield lambda server: loaded(race, server, seconds)
    elif race.kind == "disconnect":
        number = max(2, round(DISCONNECTS * scale))
        yield lambda server: disconnects(server, number)
    else:
        connections = max(10, round(race.connections * scale))
        yield lambda server: idle(race, server, connections)


def check(race: Race, server: Server) -> None:
    if race.kind == "disconnect":
        check_disconnect(server)
    else:
        race.check(server.port)


def run_race(
    race: Race,
    *,
    rounds: int,
    warmup: int,
    scale: float = 1.0,
    load: str | None = None,
    step: Step = lambda: None,
) -> Outcome:
    """Start and check all servers that can take part, then measure them in turn.

    Args:
        rounds: how many count; fewer where `rounds_of` says so.
        warmup: how many are taken before, and thrown away.
        scale: multiplies the length of a sample, down to a twentieth, or the number of disconnects
            or connections in it.
        load: "wrk" or "own", for what loads hello; without it "own". wrk takes a second or more for
            each sample.
        step: called after each sample.
    """
    for_servers, for_load = cores() or (None, None)
    taking_part = present(race)
    load = loads(race, load)
    samples: dict[Contestant, list[Sample]] = {contestant: [] for contestant in taking_part}
    with measure_of(race, load, scale, for_load) as measure:
        if race.kind == "idle":
            for contestant in taking_part * rounds_of(race, rounds):
                with serving(contestant, for_servers) as server:
                    check(race, server)
                    samples[contestant].append(measure(server))
                step()
        else:
            with serving_all(taking_part, for_servers) as servers:
                found = in_turn(race, servers, warmup + rounds, measure, step)
            for contestant, taken in zip(taking_part, found, strict=True):
                samples[contestant] = taken[warmup:]
    ours = race.contestants[0]
    nobody = None if taking_part else f"nothing to compare with: {ours.absent}"
    standings = [Standing(c, samples.get(c, []), c.absent or nobody) for c in race.contestants]
    return Outcome(race, load, standings)


def in_turn(
    race: Race, servers: Sequence[Server], rounds: int, measure: Measure, step: Step
) -> list[list[Sample]]:
    """For each server its samples."""
    found: list[list[Sample]] = [[] for _ in servers]
    for server in servers:
        check(race, server)
    for _ in range(rounds):
        for server, samples in zip(servers, found, strict=True):
            samples.append(measure(server))
            server.settle()
            step()
    return found
