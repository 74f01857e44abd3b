"""A server under load: how much it answers, in what processor time, how long a request waits."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..processor_time import processor_time
from ..sides import WrongOutcome
from .contestants import Race
from .outcomes import Sample
from .processes import LIMIT, Server, on_core, started

Load = Callable[[Race, Server, float], Sample]
"""Loads this server for so many seconds."""

QUANTILES = {"p50": "50%", "p99": "99%"}  # as wrk calls them
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@contextmanager
def own_load(core: int | None) -> Iterator[Load]:
    """The load of `benchmarks.peers.load`, in a process that lives as long as the block."""
    with started([sys.executable, "-m", "benchmarks.peers.load"], core) as program:

        def load(race: Race, server: Server, seconds: float) -> Sample:
            request = {
                "port": server.port,
                "kind": race.protocol,
                "connections": race.connections,
                "seconds": seconds,
                "server": server.pid,
            }
            program.tell(json.dumps(request))
            answer = program.line(LIMIT + seconds)
            if not answer:
                raise WrongOutcome(f"the load of {race.name} has ended")
            told = json.loads(answer)
            served, took, requests = told["server"], told["seconds"], told["requests"]
            return {
                "rate": requests / took,
                "processor": None if served is None else served / requests,
                **{name: told[name] for name in ("p50", "p99", "max")},
                "server_busy": None if served is None else served / took,
                "load_busy": told["load"] / took,
            }

        yield load


@contextmanager
def wrk_load(core: int | None) -> Iterator[Load]:
    """The load of wrk, for hello. It measures in whole seconds, and a look at it for each sample.

    The processor's time includes that of opening and closing the connections.
    """

    def load(race: Race, server: Server, seconds: float) -> Sample:
        url = f"http://127.0.0.1:{server.port}/hello"
        options = ["-t1", f"-c{race.connections}", f"-d{max(1, round(seconds))}s", "--latency"]
        before, served_before = os.times(), processor_time(server.pid)
        with on_core(core):
            done = subprocess.run(
                ["wrk", *options, url], stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT
            )
        after, served_after = os.times(), processor_time(server.pid)
        requests, took, waits = read_wrk(done.stdout)
        worked = sum(after[2:4]) - sum(before[2:4])  # of children that have ended
        served = None
        if served_before is not None and served_after is not None:
            served = served_after - served_before
        return {
            "rate": requests / took,
            "processor": None if served is None else served / requests,
            **waits,
            "server_busy": None if served is None else served / took,
            "load_busy": worked / took,
        }

    yield load


def read_wrk(told: str) -> tuple[int, float, dict[str, float]]:
    """Requests, seconds, and the quantiles of the waits."""
    found = re.search(r"(\d+) requests in ([\d.]+)(\w+)", told)
    longest = re.search(r"Latency +\S+ +\S+ +([\d.]+)(\w+)", told)
    if found is None or longest is None or "errors" in told or "Non-2xx" in told:
        raise WrongOutcome(f"wrk says {told!r}")
    waits = {"max": float(longest[1]) * UNITS[longest[2]]}
    for name, called in QUANTILES.items():
        part = re.search(rf"^ +{called} +([\d.]+)(\w+)", told, re.MULTILINE)
        if part is None:
            raise WrongOutcome(f"wrk does not say {called}: {told!r}")
        waits[name] = float(part[1]) * UNITS[part[2]]
    return int(found[1]), float(found[2]) * UNITS[found[3]], waits
