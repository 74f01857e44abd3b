"""Random programs against the model of the contract in `model.py`.

A program is a list of steps: make contexts of every kind, enter and leave their blocks in several
tasks, start tasks, cancel, stop, let time pass. The driver carries it out under Trio with a clock
that only moves when the program says so, waits after every step until nothing moves any more, and
compares every context ever made, every block that was left and every task with the model.

In CI the programs are the same each time. To look further::

    TRIOCTX_MODEL_EXAMPLES=5000 python -m pytest tests/test_model.py                  # a new seed
    TRIOCTX_MODEL_EXAMPLES=5000 python -m pytest tests/test_model.py --hypothesis-seed=7

What it does not do: failing tasks and bodies, plain Trio scopes, `nursery.start`, threads, several
runs. Those have tests of their own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

import trio
from hypothesis import given, settings, strategies as st
from model import End, Model, Node, Values, refuses
from trio.testing import MockClock, wait_all_tasks_blocked

import trioctx

EXAMPLES = os.environ.get("TRIOCTX_MODEL_EXAMPLES")
VARIABLES: dict[str, ContextVar[int]] = {name: ContextVar(name) for name in "XYZ"}

# --- programs ------------------------------------------------------------------------------------

# A context is chosen by how long ago it was made; the last one is `background()`. A task is chosen
# among those that can take a command. What cannot be done is left out.
Kind = Literal["cancel", "timeout", "deadline", "value", "values", "without", "merge"]
How = Literal["with", "async with"]


@dataclass(frozen=True)
class Derive:
    """Make a context from another; -1: from that around the task, -2: the next"""

    kind: Kind
    parent: int = -1
    other: int = 0  # of a merge
    time: float = 0  # of a timeout or a deadline
    task: int = 0


@dataclass(frozen=True)
class Open:
    """Make a context and enter it at once."""

    derive: Derive
    how: How = "with"


@dataclass(frozen=True)
class Enter:
    """Enter a context that was made before."""

    ctx: int = 0
    how: How = "with"
    task: int = 0


@dataclass(frozen=True)
class Leave:
    """Finish the body of the innermost block of a task."""

    task: int = 0


@dataclass(frozen=True)
class Busy:
    """Let a task be away from any checkpoint, or again wait in one."""

    busy: bool = True
    task: int = 0


@dataclass(frozen=True)
class Start:
    """Start another task in an open `async with` block."""

    ctx: int = 0


@dataclass(frozen=True)
class Cancel:
    """Cancel a context."""

    ctx: int = 0
    cause: Literal["none", "text", "error"] = "text"


@dataclass(frozen=True)
class Stop:
    """Stop a context."""

    ctx: int = 0
    grace: float | None = None
    cause: Literal["none", "text", "error"] = "text"


@dataclass(frozen=True)
class Advance:
    """Let time pass."""

    seconds: float = 1


Step = Derive | Open | Enter | Leave | Busy | Start | Cancel | Stop | Advance

recent = st.sampled_from([0, 1, 2, 0, 1, 3, 5, 8])
tasks = st.sampled_from([0, 1, 0, 1, 2, 3])
hows: st.SearchStrategy[How] = st.sampled_from(["with", "async with"])
causes: st.SearchStrategy[Literal["none", "text", "error"]] = st.sampled_from(
    ["text", "none", "error"]
)
kinds: st.SearchStrategy[Kind] = st.sampled_from(
    ["cancel", "timeout", "deadline", "value", "cancel", "timeout", "values", "without", "merge"]
)
derives = st.builds(
    Derive,
    kinds,
    parent=st.sampled_from([-1, 0, 1, 2, -1, -2, -3, 0, 4]),
    other=recent,
    time=st.sampled_from([1.0, 2.0, 3.0, 4.0, 0.0, math.inf]),
    task=tasks,
)
graces = st.sampled_from([1.0, 2.0, 0.0, None, math.inf])
steps: st.SearchStrategy[Step] = st.one_of(
    derives,
    st.builds(Open, derives, how=hows),
    st.builds(Open, derives, how=hows),
    st.builds(Enter, ctx=recent, how=hows, task=tasks),
    st.builds(Enter, ctx=recent, how=hows, task=tasks),
    st.builds(Leave, task=tasks),
    st.builds(Busy, busy=st.booleans(), task=tasks),
    st.builds(Start, ctx=recent),
    st.builds(Cancel, ctx=recent, cause=causes),
    st.builds(
        Stop, ctx=recent, grace=st.sampled_from([1.0, 2.0, 0.0, None, math.inf]), cause=causes
    ),
    st.builds(Advance, seconds=st.sampled_from([1.0, 2.0])),
)

# A list of lists is as good as a list, and longer.
programs = st.lists(st.lists(steps, max_size=10), max_size=10).map(
    lambda parts: [step for part in parts for step in part]
)


# --- the driver ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pair:
    """A context and what the model has in its place."""

    ctx: trioctx.Context
    node: Node


Command = tuple[Pair, How] | Literal["leave", "look"]


class Worker:
    """A task that does as it is told."""

    def __init__(self, driver: Driver, home: Pair) -> None:
        self.driver = driver
        self.home = home  # the context in whose block it was started
        self.blocks: list[Pair] = []
        self.variables: Values = dict(home.node.stood)
        self.where: Literal["ready", "leaving", "over"] = "leaving"
        self.busy = len(driver.workers) % 2 == 1
        self.commands, self._received = trio.open_memory_channel[Command](math.inf)

    def __repr__(self) -> str:
        return f"task {self.driver.workers.index(self)}"

    @property
    def around(self) -> Pair:
        """The innermost block around the task."""
        return self.blocks[-1] if self.blocks else self.home

    async def run(self) -> None:
        """The whole task."""
        try:
            await self._body()
        except BaseException:
            self.home.node.interrupted = True
            raise
        finally:
            self.where = "over"

    async def _body(self) -> None:
        while True:
            self.look()
            self.where = "ready"
            try:
                with trio.CancelScope(shield=self.busy):
                    command = await self._received.receive()
            except trio.EndOfChannel:
                return
            except trio.Cancelled:
                ends = self.driver.model.ends(self.around.node)
                self.driver.expect(bool(ends), f"{self} is cancelled in {self.around.node}")
                raise
            finally:
                self.where = "leaving"
            if command == "leave":
                return
            if isinstance(command, tuple):
                await self._block(*command)

    async def _block(self, pair: Pair, how: How) -> None:
        outside = self.variables
        raised: BaseException | None = None
        try:
            if how == "with":
                with pair.ctx as same:
                    await self._inside(pair, how, same)
            else:
                async with pair.ctx as same:
                    await self._inside(pair, how, same)
        except BaseException as error:
            raised = error
        expected = self.driver.model.leave(pair.node)
        self.blocks.pop()
        self.variables = outside
        self.driver.compare_raised(pair, raised, expected)
        if raised is not None and expected == "travels":
            raise raised

    async def _inside(self, pair: Pair, how: How, same: trioctx.Context) -> None:
        self.driver.expect(same is pair.ctx, f"{pair.node}: entering returns {same}")
        self.variables = self.driver.model.enter(
            pair.node, self.around.node, self.variables, how == "async with"
        )
        self.blocks.append(pair)
        try:
            await self._body()
        except BaseException:
            pair.node.interrupted = True
            raise

    def look(self) -> None:
        """Compare what is around the task, and its variables."""
        expect = self.driver.expect
        current = trioctx.current()
        expect(current is self.around.ctx, f"{self}: current() is {current}, not {self.around}")
        variables = {name: var.get(None) for name, var in VARIABLES.items()}
        wanted = {name: self.variables.get(name) for name in VARIABLES}
        expect(variables == wanted, f"{self} sees {variables}, not {wanted}")


class Driver:
    """Carries out a program and compares what comes of it with the model."""

    def __init__(self, clock: MockClock, nursery: trio.Nursery) -> None:
        self.model = Model()
        self.clock = clock
        self.nursery = nursery
        self.background = Pair(trioctx.background(), self.model.background)
        self.pairs = [self.background]
        self.workers: list[Worker] = []
        self.problems: list[str] = []
        self.seen: dict[Node, object] = {}
        self.fresh = 0
        for _ in range(2):
            worker = Worker(self, self.background)
            self.workers.append(worker)
            nursery.start_soon(worker.run)

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note a difference."""
        if not holds:
            self.problems.append(f"at {self.model.now}: {otherwise}")

    @property
    def nodes(self) -> list[Node]:
        """All that the model has, in the order in which they were made."""
        return [pair.node for pair in self.pairs]

    def number(self) -> int:
        """A new number, for causes and values."""
        self.fresh += 1
        return self.fresh

    def pair(self, ago: int) -> Pair:
        """The context that was made so long ago."""
        return self.pairs[-1 - ago % len(self.pairs)]

    def worker(self, index: int) -> Worker | None:
        """A task that can take a command."""
        ready = [worker for worker in self.workers if worker.where == "ready"]
        return ready[index % len(ready)] if ready else None

    def cause(self, kind: str) -> tuple[BaseException | str | None, object]:
        """A cause, and what the model calls it."""
        text = f"cause {self.number()}"
        if kind == "text":
            return text, f"ContextCancelled: {text}"
        return (None, None) if kind == "none" else (OSError(text), f"OSError: {text}")

    async def do(self, step: Step) -> None:
        """Carry out a step and wait until nothing moves."""
        match step:
            case Derive():
                self.derive(step)
            case Open(derive, how):
                self.command(derive.task, (self.derive(derive), how))
            case Enter(ago, how, task):
                pair = self.pair(ago)
                if pair.node.state == "new":
                    self.command(task, (pair, how))
            case Leave(task):
                self.command(task, "leave", inside=True)
            case Busy(busy, task):
                worker = self.command(task, "look")
                if worker is not None:
                    worker.busy = busy
            case Start(ago):
                pair = self.pair(ago)
                if pair.node.state == "open" and pair.node.nursery:
                    worker = Worker(self, pair)
                    self.workers.append(worker)
                    pair.ctx.start_soon(worker.run)
            case Cancel(ago, kind):
                pair = self.pair(ago)
                cause, known = self.cause(kind)
                if self.accepted(pair, lambda: pair.ctx.cancel(cause)):
                    self.model.cancel(pair.node, known)
            case Stop(ago, grace, kind):
                pair = self.pair(ago)
                cause, known = self.cause(kind)
                if self.accepted(pair, lambda: pair.ctx.stop(cause, grace=grace)):
                    self.model.stop(pair.node, known, math.inf if grace is None else grace)
            case Advance(seconds):
                self.clock.jump(seconds)
                self.model.now += seconds
        await wait_all_tasks_blocked()

    def command(self, task: int, command: Command, *, inside: bool = False) -> Worker | None:
        """Tell a task what to do."""
        worker = self.worker(task)
        if worker is None or (inside and not worker.blocks and worker.home is self.background):
            return None
        worker.commands.send_nowait(command)
        return worker

    def accepted(self, pair: Pair, call: Callable[[], object]) -> bool:
        """Cancel or stop; refused where there is nothing to cancel."""
        refused = False
        try:
            call()
        except RuntimeError:
            refused = True
        expected = refuses(pair.node)
        self.expect(refused is expected, f"{pair.node} refuses: {refused}, not {expected}")
        return not refused

    def outer(self, step: Derive) -> Pair:
        """A context around a task."""
        worker = self.worker(step.task)
        node = None if worker is None else worker.around.node
        for _ in range(-1 - step.parent):
            node = node and (node.around or node)
        return next((pair for pair in self.pairs if pair.node is node), self.background)

    def derive(self, step: Derive) -> Pair:
        """Make a context."""
        parent = self.pair(step.parent) if step.parent >= 0 else self.outer(step)
        cause, known = self.cause("text")
        ctx, node, now = parent.ctx, parent.node, self.model.now
        values = dict.fromkeys("XY" if step.kind == "values" else "X", self.number())
        if step.time == 1:
            values = {"Z": self.number()}
        match step.kind:
            case "cancel":
                made = Pair(trioctx.with_cancel(ctx), self.model.derive(node))
            case "timeout":
                made = Pair(
                    trioctx.with_timeout(ctx, step.time, cause=cause),
                    self.model.derive(node, deadline=now + step.time, cause=known),
                )
            case "deadline":
                made = Pair(
                    trioctx.with_deadline(ctx, step.time, cause=cause),
                    self.model.derive(node, deadline=step.time, cause=known),
                )
            case "value":
                [(name, value)] = values.items()
                made = Pair(
                    trioctx.with_value(ctx, VARIABLES[name], value),
                    self.model.derive(node, given=values),
                )
            case "values":
                variables = {VARIABLES[name]: value for name, value in values.items()}
                made = Pair(
                    trioctx.with_values(ctx, variables), self.model.derive(node, given=values)
                )
            case "without":
                made = Pair(trioctx.without_cancel(ctx), self.model.derive(node, detaches=True))
            case "merge":
                other = self.pair(step.other)
                made = Pair(trioctx.merge(ctx, other.ctx), self.model.derive(node, other.node))
        self.pairs.append(made)
        return made

    # --- comparing ------------------------------------------------------------------------------

    def known(self, cause: BaseException | None) -> object:
        """What the model calls a cause."""
        if isinstance(cause, trioctx.ContextClosed):
            return ("closed", self.node(cause.context))
        return None if cause is None else f"{type(cause).__name__}: {cause}"

    def node(self, ctx: trioctx.Context | None) -> Node | None:
        """What the model has in the place of a context."""
        return next((pair.node for pair in self.pairs if pair.ctx is ctx), None)

    def told(self, error: BaseException | None) -> object:
        """An error as the model tells it."""
        if isinstance(error, trioctx.DeadlineExceeded):
            return ("deadline", self.node(error.context), self.known(error.cause))
        if isinstance(error, trioctx.ContextCancelled):
            return ("cancelled", self.node(error.context), self.known(error.cause))
        return error

    def compare_raised(
        self, pair: Pair, raised: BaseException | None, expected: set[End] | Literal["travels"]
    ) -> None:
        """Compare what a block raised."""
        if expected == "travels":
            cancelled = raised is not None and only_cancelled(raised)
            self.expect(cancelled, f"{pair.node} raised {raised!r}, not Cancelled")
        else:
            told, wanted = self.told(raised), as_told(expected)
            self.expect(told in wanted, f"{pair.node} raised {told!r}, not {wanted}")

    async def compare(self) -> None:
        """Compare everything."""
        for worker in self.workers:
            if worker.where == "ready":
                worker.commands.send_nowait("look")
        await wait_all_tasks_blocked()
        for pair in self.pairs:
            self.compare_context(pair)

    def compare_settled(self) -> None:
        """Every task is where it has to be, now that nothing moves."""
        for worker in self.workers:
            if worker.where == "ready" and not worker.busy:
                ends = self.model.ends(worker.around.node)
                self.expect(not ends, f"{worker} was not cancelled in {worker.around.node}: {ends}")
            if worker.where == "leaving":
                children = [each for each in self.workers if each.home is worker.around]
                alive = any(child.where != "over" for child in children)
                self.expect(alive, f"{worker} does not leave {worker.around.node}")

    def compare_context(self, pair: Pair) -> None:
        """Compare what a context says of itself."""
        ctx, node, model = pair.ctx, pair.node, self.model
        err, wanted = self.told(ctx.err), as_told(model.ends(node))
        self.expect(err in wanted, f"{node}.err is {err}, not {wanted}")
        if err is not None:
            first = self.seen.setdefault(node, err)
            self.expect(err == first, f"{node}.err is {err} and was {first}")
        deadline = model.deadline(node)
        values = {name: ctx[var] for name, var in VARIABLES.items() if var in ctx}
        told: dict[str, tuple[object, object]] = {
            "state": (ctx.state, node.state),
            "deadline": (ctx.deadline, deadline),
            "remaining": (ctx.remaining(), max(0, deadline - model.now)),
            "cancelled": (ctx.cancelled, err is not None),
            "done": (ctx.done, model.done(node)),
            "stopping": (ctx.stopping, model.stopping(node)),
            "values": (values, node.stood),
        }
        for name, (actual, expected) in told.items():
            self.expect(actual == expected, f"{node}.{name} is {actual}, not {expected}")


def as_told(ends: set[End]) -> set[object]:
    """What an error may say."""
    return {(end.error, end.node, end.cause) for end in ends} or {None}


def only_cancelled(error: BaseException) -> bool:
    """Whether an exception is Trio's `Cancelled`, or a group of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(only_cancelled, error.exceptions))
    return isinstance(error, trio.Cancelled)


async def carry_out(program: list[Step], often: bool, clock: MockClock) -> None:
    """Do the steps, then leave every block; compare after every step, or only at the end."""
    async with trio.open_nursery() as nursery:
        driver = Driver(clock, nursery)
        await wait_all_tasks_blocked()
        for step in program:
            await driver.do(step)
            driver.compare_settled()
            if often:
                await driver.compare()
            if driver.problems:
                break
        else:
            await driver.compare()
        for worker in driver.workers:
            worker.commands.close()
    await driver.compare()
    assert not driver.problems, "\n".join(["", *driver.problems])


@settings(
    max_examples=int(EXAMPLES or 400),
    derandomize=EXAMPLES is None,
    database=None,
    deadline=None,
    print_blob=False,
)
@given(program=programs, often=st.booleans())
def test_random_programs_behave_as_the_model_says(program: list[Step], often: bool) -> None:
    """Whatever is done to contexts, in whatever order, the contract says what comes of it."""
    clock = MockClock()
    trio.run(carry_out, program, often, clock, clock=clock)
