"""Starts the workers, asks them in turn, and keeps what they find.

Rounds are interleaved: A B C, A B C ..., each side once a round, whatever process it lives in. The
workers share one core where there are two, so that only one of them runs at a time and the screen
has the other; this process only waits meanwhile.
"""

import json
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any

from . import golang
from .cases import Case
from .races.processes import cores, environment, on_core
from .sides import Figures, WrongOutcome

OURS = "trioctx"
PEER = "trio"  # what a goal compares with, unless a case says otherwise
PATIENCE = 5.0  # seconds for a process to end that has closed its output
LIMIT = 120.0  # seconds for one answer: a sample that takes longer is stuck


class WorkerEnded(Exception):
    """The process is gone, and with it the answer."""


@dataclass(frozen=True)
class Result:
    """What each side of a case found, round by round; for the others, why they have nothing."""

    case: Case
    labels: Mapping[str, str]
    rounds: Mapping[str, Sequence[Figures]]
    absent: Mapping[str, str]
    failed: Mapping[str, str]
    """Sides that should have had figures: wrong outcome, an error, a process that ended."""
    seconds: float
    """Of the clock, for all of it."""


class Worker:
    """A process that answers one request at a time, in lines of JSON."""

    def __init__(
        self, name: str, command: Sequence[str], core: int | None, errors: IO[str]
    ) -> None:
        self.name = name
        self._command = command
        self._core = core
        self._deadlines = 0
        self._errors = errors
        self._process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        self._errors.seek(0)
        self._errors.truncate()
        with on_core(self._core):
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=environment(),
                process_group=0,  # a terminal's Ctrl-C is for the driver, which then ends this
            )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Raises `WrongOutcome` for an error, `WorkerEnded` if there is no answer."""
        if self._process.poll() is not None:
            self._process.communicate()
            self._process = self._started()
        assert self._process.stdin is not None and self._process.stdout is not None
        line, answered = "", True
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            # Nothing is left in the buffer of an answer before: there is one line for each request.
            answered = bool(select.select([self._process.stdout], [], [], LIMIT)[0])
            line = self._process.stdout.readline() if answered else ""
        except BrokenPipeError:
            pass
        if not line:
            how = self._end() if answered else f"gave no answer in {LIMIT:g} seconds"
            self._process.kill()
            self._process.wait()
            self._deadlines = 0  # went with it
            raise WorkerEnded(f"the worker {self.name} {how}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WrongOutcome(answer["error"])
        return answer

    def _end(self) -> str:
        """How the process ended by itself, and the last that it said."""
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "closed its output"
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited {status}"
        self._errors.seek(0)
        said = [line.strip(" |+-\n") for line in self._errors]  # a group's errors are in a frame
        told = [line for line in said if line]
        return f"{how}: {told[-1]}" if told else how

    def arm(self, deadlines: int) -> None:
        if deadlines != self._deadlines:
            self.ask(do="deadlines", number=deadlines)
            self._deadlines = deadlines

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Driver:
    """All sides that can be measured here, and how to reach them."""

    def __init__(self, workers: Sequence[Worker], absent: Mapping[str, str]) -> None:
        self.absent = dict(absent)
        self.broken: list[str] = []
        """Why workers that should be there are not."""
        self._by_side: dict[str, Worker] = {}
        self._works: dict[str, Sequence[str]] = {}
        self._lacks: dict[str, Mapping[str, str]] = {}
        for worker in workers:
            try:
                sides = worker.ask(do="sides")
            except (WrongOutcome, WorkerEnded) as exc:
                self.broken.append(str(exc))
                continue
            for side, has in sides.items():
                if "absent" in has:
                    self.absent[side] = has["absent"]
                else:
                    self._by_side[side] = worker
                    self._works[side] = has["works"]
                    self._lacks[side] = has["lacks"]

    def sides(self, case: Case) -> list[str]:
        return [side for side, works in self._works.items() if case.work in works]

    def samples(self, case: Case, *, rounds: int, warmup: int) -> int:
        """How many samples `measure` will take."""
        entrants = len(self.sides(case)) + (case.against is not None)
        warmup, rounds = self.rounds(case, warmup, rounds)
        return entrants * (warmup + rounds)

    @staticmethod
    def rounds(case: Case, warmup: int, rounds: int) -> tuple[int, int]:
        """How many are taken of this case: what takes long has fewer, and one to warm up."""
        if case.rounds is None:
            return warmup, rounds
        return min(warmup, 1), min(rounds, case.rounds)

    def measure(
        self, case: Case, *, rounds: int, warmup: int, step: Callable[[], None] = lambda: None
    ) -> Result:
        """Check all sides, then sample them in turn; ``step`` is called after each sample.

        A side that fails is left out from then on, and the others go on.
        """
        began = time.perf_counter()
        warmup, rounds = self.rounds(case, warmup, rounds)
        absent = {s: lacks[case.work] for s, lacks in self._lacks.items() if case.work in lacks}
        labels: dict[str, str] = {}
        found: dict[str, list[Figures]] = {}
        failed: dict[str, str] = {}

        entrants = {side: (side, case.work) for side in self.sides(case)}
        if case.against is not None:
            entrants[case.rival] = case.against

        def asked(key: str, do: str) -> dict[str, Any]:
            side, work = entrants[key]
            worker = self._by_side[side]
            try:
                worker.arm(case.deadlines)
                return worker.ask(do=do, side=side, work=work, args=dict(case.args))
            except (WrongOutcome, WorkerEnded) as exc:
                failed[key] = str(exc)
                found.pop(key, None)
                return {}

        for side in entrants:
            answer = asked(side, "check")
            if "absent" in answer:
                absent[side] = answer["absent"]
            elif answer:
                labels[side], found[side] = answer["label"], []
        for _ in range(warmup + rounds):
            for side in list(found):
                if answer := asked(side, "sample"):
                    found[side].append(answer["figures"])
                step()
        return Result(
            case,
            {side: labels[side] for side in found},
            {side: figures[warmup:] for side, figures in found.items()},
            {**absent, **self.absent},
            failed,
            time.perf_counter() - began,
        )


@contextmanager
def worker(name: str, command: Sequence[str], core: int | None) -> Iterator[Worker]:
    """The process never outlives the block."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = Worker(name, command, core, errors)
        try:
            yield process
        finally:
            process.close()


def commands() -> tuple[dict[str, list[str]], dict[str, str]]:
    """How to start each worker that this machine can have; why it cannot have the others."""
    loops = ("trio", "asyncio")
    present = {loop: [sys.executable, "-m", "benchmarks.worker", loop] for loop in loops}
    try:
        present["go"] = [str(golang.built(golang.SIDES))]
    except golang.NoGo as exc:
        return present, {"go": str(exc)}
    return present, {}


@contextmanager
def driver() -> Iterator[Driver]:
    """A driver with all workers that this machine can have."""
    core, _ = cores() or (None, None)
    present, absent = commands()
    with ExitStack() as stack:
        workers = [
            stack.enter_context(worker(name, command, core)) for name, command in present.items()
        ]
        yield Driver(workers, absent)
