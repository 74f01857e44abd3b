"""Starts the workers, asks them in turn, and keeps what they find.

Rounds are interleaved: A B C, A B C ..., each side once a round, whatever process it lives in. The
workers share one core where there are two, so that only one of them runs at a time and the screen
has the other; this process only waits meanwhile.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from .cases import Case
from .sides import Figures, WrongOutcome

OURS = "trioctx"
PEER = "trio"  # what a goal compares with


@dataclass(frozen=True)
class Result:
    """What each side of a case found, round by round; for the others, why they have nothing."""

    case: Case
    labels: Mapping[str, str]
    rounds: Mapping[str, Sequence[Figures]]
    absent: Mapping[str, str]


class Worker:
    """A process that answers one request at a time, in lines of JSON."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._deadlines = 0

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise WrongOutcome(f"the worker ended over {request}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WrongOutcome(f"{request}: {answer['error']}")
        return answer

    def arm(self, deadlines: int) -> None:
        if deadlines != self._deadlines:
            self.ask(do="deadlines", number=deadlines)
            self._deadlines = deadlines


class Driver:
    """All sides that can be measured here, and how to reach them."""

    def __init__(self, workers: Sequence[Worker], absent: Mapping[str, str]) -> None:
        self.absent = dict(absent)
        self._workers = workers
        self._by_side: dict[str, Worker] = {}
        self._lacks: dict[str, Mapping[str, str]] = {}
        for worker in workers:
            for side, has in worker.ask(do="sides").items():
                self._by_side[side] = worker
                self._lacks[side] = has["lacks"]

    def sides(self, case: Case) -> list[str]:
        return [side for side, lacks in self._lacks.items() if case.work not in lacks]

    def measure(
        self, case: Case, *, rounds: int, warmup: int, step: Callable[[], None] = lambda: None
    ) -> Result:
        """Check all sides, then sample them in turn; ``step`` is called after each sample."""
        rounds = min(rounds, case.rounds or rounds)
        sides = self.sides(case)
        absent = {s: lacks[case.work] for s, lacks in self._lacks.items() if case.work in lacks}
        for worker in self._workers:
            worker.arm(case.deadlines)
        asked: dict[str, Any] = {"work": case.work, "args": dict(case.args)}
        labels = {s: self._by_side[s].ask(do="check", side=s, **asked)["label"] for s in sides}
        found: dict[str, list[Figures]] = {side: [] for side in sides}
        for _ in range(warmup + rounds):
            for side in sides:
                answer = self._by_side[side].ask(do="sample", side=side, **asked)
                found[side].append(answer["figures"])
                step()
        taken = {side: figures[warmup:] for side, figures in found.items()}
        return Result(case, labels, taken, {**absent, **self.absent})


@contextmanager
def worker(command: Sequence[str], core: int | None) -> Iterator[Worker]:
    """The process never outlives the block."""
    pin = None if core is None else {core}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if pin is not None:
            os.sched_setaffinity(process.pid, pin)
        yield Worker(process)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def driver(core: int | None = None) -> Iterator[Driver]:
    """A driver with all workers that this machine can have."""
    with ExitStack() as stack:
        workers = [
            stack.enter_context(worker([sys.executable, "-m", "benchmarks.worker", loop], core))
            for loop in ("trio", "asyncio")
        ]
        yield Driver(workers, {})
