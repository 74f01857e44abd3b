"""`KeyboardInterrupt` at every bytecode of the library, and by the thousand in a real process.

The sweeps trace the opcodes of all that a block calls into, and raise a real SIGINT at the k-th of
them, for every k. Trio's own handler then decides as it always does: `KeyboardInterrupt` at once
where the running frame is not protected, else at the next checkpoint of the main task. Whatever it
decides, afterwards everything has to be as it was.
"""

import contextvars
import dis
import gc
import math
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeAlias

import pytest
import trio
import trio.testing

import trioctx
from trioctx import _nesting

LIBRARY = str(Path(trioctx.__file__).parent)
LONG = 1000.0
ENDED = (trioctx.ContextCancelled, trioctx.DeadlineExceeded, ValueError)

VAR: ContextVar[str] = ContextVar("interrupted")
OTHER: ContextVar[str] = ContextVar("interrupted_other")


class Stage:
    """What a block is tried on: contexts around it and elsewhere, which must not notice."""

    def __init__(self, outer: trioctx.Context, elsewhere: trioctx.Context) -> None:
        self.outer = outer
        self.elsewhere = elsewhere
        self.fresh = trioctx.with_value(trioctx.with_cancel(elsewhere), OTHER, "fresh")

    def snapshot(self) -> "Snapshot":
        """Everything that an interrupted block could have left behind."""
        task = trio.lowlevel.current_task()
        assert self.outer._run is not None
        return Snapshot(
            current=trioctx.current(),
            values=dict(contextvars.copy_context()),
            innermost=dict(_nesting.innermost),
            nurseries=list(task.child_nurseries),
            deadline=trio.current_effective_deadline(),
            below=[list(ctx._below or ()) for ctx in self.parents],
            listeners=self.outer._run.listeners,
            told=[(ctx.err, ctx.stopping, ctx.deadline) for ctx in self.parents],
        )

    @property
    def parents(self) -> list[trioctx.Context]:
        """Those that something may have been registered with."""
        chain = [self.outer, self.elsewhere, self.fresh]
        assert self.fresh.parent is not None
        return [*chain, self.fresh.parent]


@dataclass
class Snapshot:
    """Compared before and after."""

    current: trioctx.Context
    values: dict[ContextVar[Any], Any]
    innermost: dict[trio.lowlevel.Task, trioctx.Context]
    nurseries: list[trio.Nursery]
    deadline: float
    below: list[list[object]]
    listeners: int
    told: list[tuple[object, bool, float]]


Scenario: TypeAlias = Callable[[Stage], Awaitable[None]]


@cache
def looked_for(code: CodeType) -> frozenset[int]:
    """Where in `code` CPython looks for signals: on entry, going back in a loop, after a call.

    Not after a call that made a coroutine, which it goes on to await.
    """
    found: set[int] = set()
    after_call = False
    for step in dis.get_instructions(code):
        entry = step.opname == "RESUME" and step.arg is not None and step.arg & 3 < 2
        if entry or step.opname == "JUMP_BACKWARD":
            found.add(step.offset)
        if after_call and step.opname != "GET_AWAITABLE":
            found.add(step.offset)
        after_call = step.opname in {"CALL", "CALL_KW", "CALL_FUNCTION_EX"}
    return frozenset(found)


@dataclass
class Injector:
    """Raises SIGINT at the `at`-th opcode of the library, and of what else `scenario` calls.

    What the library calls in turn is not traced: where it is protected, so is that. With `real`
    only those opcodes count at which CPython looks for signals: what is not protected may rely on
    there being none between, say, the making of a coroutine and its `await`.
    """

    scenario: CodeType
    at: int
    real: bool
    seen: int = 0
    sent: bool = False
    _previous: Any = field(default=None, init=False)

    def __enter__(self) -> None:
        self._previous = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # without one such frame, 3.12 traces no opcodes
        sys.settrace(self._call)

    def __exit__(self, *exc: object) -> None:
        sys.settrace(self._previous)

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        if self.sent or not self._wanted(frame):
            return None
        frame.f_trace = self._opcode  # before the next line: 3.13 looks for it there
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._opcode

    def _wanted(self, frame: FrameType) -> bool:
        file, caller = frame.f_code.co_filename, frame.f_back
        if file.startswith(LIBRARY):
            return True
        return file != __file__ and caller is not None and caller.f_code is self.scenario

    def _opcode(self, frame: FrameType, event: str, arg: object) -> Any:
        counts = not self.real or frame.f_lasti in looked_for(frame.f_code)
        if event == "opcode" and counts and not self.sent:
            if self.seen == self.at:
                self.sent = True  # Trio's handler finds this frame, the one that is traced, below
                signal.raise_signal(signal.SIGINT)
            self.seen += 1
        return self._opcode


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """An outer context around, and another one open in a task of its own."""
    async with trio.open_nursery() as nursery:
        opened: list[trioctx.Context] = []

        async def hold() -> None:
            with trioctx.with_value(trioctx.background(), OTHER, "elsewhere"):
                with trioctx.with_cancel(trioctx.current()) as ctx:
                    opened.append(ctx)
                    await trio.sleep_forever()

        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        [elsewhere] = opened
        with trioctx.with_cancel(trioctx.current()) as outer:
            yield Stage(outer, elsewhere)
        nursery.cancel_scope.cancel()


def interruptions(exc: BaseException) -> int:
    """How many KeyboardInterrupts `exc` holds, beside what ended the block; nothing else."""
    if isinstance(exc, BaseExceptionGroup):
        return sum(map(interruptions, exc.exceptions))
    if isinstance(exc, KeyboardInterrupt):
        return 1
    if isinstance(exc, ENDED):
        return 0
    raise exc


async def pause() -> None:
    """A checkpoint of the user's own: Trio's code in it is not what is interrupted."""
    await trio.lowlevel.checkpoint()


async def settled() -> None:
    """Let what was just cancelled come to its end."""
    for _ in range(3):
        await trio.lowlevel.checkpoint()


async def still_sane() -> None:
    """A cancellation and a deadline still end the block they belong to, and nothing around it."""
    with trioctx.with_cancel(trioctx.current()) as ctx:
        ctx.cancel()
        await trio.lowlevel.checkpoint()
        pytest.fail("the cancellation did not arrive")
    with pytest.raises(trioctx.DeadlineExceeded):
        with trioctx.with_timeout(trioctx.current(), 0):
            await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()


def sweep(
    scenario: Callable[[Stage], Any],
    check: Callable[[], None] = lambda: None,
    stride: int = 1,
    real: bool = False,
    clock: trio.abc.Clock | None = None,
) -> int:
    """Interrupt `scenario` at each `stride`-th opcode in turn; afterwards all must be as before.

    The interrupt has to come out, once, of the scenario or of the checkpoint after it. `check` is
    called after each attempt. Returns how many opcodes there were.
    """
    trio.lowlevel.disable_ki_protection(scenario)

    async def attempt(stage: Stage, at: int) -> bool:
        before = stage.snapshot()
        injector = Injector(scenario.__code__, at, real)
        delivered = 0
        try:
            with injector:
                await scenario(stage)
        except BaseException as exc:
            delivered += interruptions(exc)
        try:
            await trio.lowlevel.checkpoint()
        except KeyboardInterrupt:
            delivered += 1
        await settled()
        assert delivered == injector.sent, at
        after = stage.snapshot()
        assert after == before, at
        check()
        if not injector.sent:
            # Trio runs tasks in no fixed order, which may make for a few opcodes.
            assert at - stride - 10 < injector.seen <= at, "not the same scenario every time"
        return injector.sent

    @trio.lowlevel.enable_ki_protection
    async def main() -> int:
        at = 0
        with trio.fail_after(LONG):
            async with stage() as here:
                while await attempt(here, at):
                    at += stride
                    if at % 50 < stride:
                        await still_sane()
                await still_sane()
        return at

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    # What a traceback kept goes at the end, and neither in another test nor in the middle of `dis`,
    # where Python cannot tell of a coroutine that never ran.
    gc.disable()
    try:
        places = trio.run(main, clock=clock or trio.testing.MockClock(autojump_threshold=0))
        assert not _nesting.innermost
        gc.collect()
    finally:
        gc.enable()
    return places


# --- with and async with ------------------------------------------------------------------------


def merged(stage: Stage) -> trioctx.Context:
    """One parent around, one elsewhere, one not entered."""
    return trioctx.merge(stage.outer, stage.elsewhere, stage.fresh)


def cleanup(stage: Stage) -> trioctx.Context:
    """Shielded, because what it is derived from is."""
    return trioctx.with_timeout(trioctx.without_cancel(stage.elsewhere), LONG)


FORMS: dict[str, Callable[[Stage], trioctx.Context]] = {
    "with_cancel": lambda stage: trioctx.with_cancel(stage.outer),
    "with_timeout": lambda stage: trioctx.with_timeout(stage.outer, LONG),
    "with_deadline": lambda stage: trioctx.with_deadline(stage.outer, LONG**2),
    "with_value": lambda stage: trioctx.with_value(stage.outer, VAR, "set"),
    "with_values": lambda stage: trioctx.with_values(stage.outer, {VAR: "set", OTHER: "set"}),
    "without_cancel": lambda stage: trioctx.without_cancel(stage.outer),
    "linked with_cancel": lambda stage: trioctx.with_cancel(stage.elsewhere),
    "linked with_timeout": lambda stage: trioctx.with_timeout(stage.elsewhere, LONG),
    "linked with_value": lambda stage: trioctx.with_value(stage.elsewhere, VAR, "set"),
    "below one not entered": lambda stage: trioctx.with_cancel(stage.fresh),
    "merge": merged,
    "shielded": cleanup,
}

forms = pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)


@forms
def test_with_is_entered_and_left_whole(make: Callable[[Stage], trioctx.Context]) -> None:
    """Wherever the interrupt falls, no block stays half-entered and no variable stays set."""

    async def scenario(stage: Stage) -> None:
        with make(stage):
            await pause()

    assert sweep(scenario) > 300


@forms
def test_async_with_is_entered_and_left_whole(make: Callable[[Stage], trioctx.Context]) -> None:
    """The same with a nursery: no nursery stays open either."""

    async def scenario(stage: Stage) -> None:
        async with make(stage):
            await pause()

    assert sweep(scenario, stride=3) > 300


def test_trio_open_nursery_is_the_measure() -> None:
    """The same of bare Trio, so that nothing is asked of `async with` that Trio does not do."""

    async def scenario(stage: Stage) -> None:
        async with trio.open_nursery():
            await pause()

    assert sweep(scenario) > 30


ENDINGS: dict[str, Callable[[trioctx.Context], object]] = {
    "its own cancel": lambda ctx: ctx.cancel("enough"),
    "its own stop": lambda ctx: ctx.stop("enough", grace=0),
    "its linked parent": lambda ctx: ctx.parent and ctx.parent.cancel("enough"),
    "its deadline": lambda ctx: None,
    "an error": lambda ctx: int("no number"),
}

endings = pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)


async def sleep() -> None:
    """What only an end ends."""
    await trio.sleep_forever()


def start_sleeping(nursery: trio.Nursery) -> None:
    """Trio's `start_soon` is not what is interrupted: it does not stand that itself."""
    nursery.start_soon(sleep)


@endings
def test_with_that_is_ended_is_left_whole(end: Callable[[trioctx.Context], object]) -> None:
    """However the block ends, the interrupt leaves nothing of it, and is not lost."""

    async def scenario(stage: Stage) -> None:
        seconds = math.inf if end is not ENDINGS["its deadline"] else 0
        parent = trioctx.with_cancel(stage.elsewhere)
        try:
            with trioctx.with_timeout(parent, seconds) as ctx:
                end(ctx)
                await sleep()
        except ENDED:
            pass

    assert sweep(scenario, stride=17) > 300


@endings
def test_async_with_that_is_ended_is_left_whole(end: Callable[[trioctx.Context], object]) -> None:
    """The same with a nursery that has a child."""

    async def scenario(stage: Stage) -> None:
        seconds = math.inf if end is not ENDINGS["its deadline"] else 0
        parent = trioctx.with_cancel(stage.elsewhere)
        try:
            async with trioctx.with_timeout(parent, seconds) as ctx:
                start_sleeping(ctx.nursery)
                end(ctx)
                await sleep()
        except (*ENDED, ExceptionGroup):
            pass

    assert sweep(scenario, stride=17) > 300


# --- derive, cancel, stop, regions --------------------------------------------------------------

DERIVES: dict[str, Callable[[Stage], object]] = {
    **FORMS,
    "current": lambda stage: trioctx.current(),
    "with_signals": lambda stage: trioctx.with_signals(stage.fresh, grace=1),
    "values": lambda stage: dict(stage.fresh.items()),
    "repr": lambda stage: repr(stage.fresh),
}


@pytest.mark.parametrize("derive", DERIVES.values(), ids=DERIVES)
def test_an_interrupted_derive_leaves_nothing(derive: Callable[[Stage], object]) -> None:
    """Neither in the parents, nor in what is derived from them afterwards."""
    wrong: list[object] = []

    async def scenario(stage: Stage) -> None:
        try:
            derive(stage)
        finally:
            look(stage)

    def look(stage: Stage) -> None:
        expected = {**stage.elsewhere, OTHER: "fresh"}
        child = trioctx.with_value(stage.fresh, VAR, "set")
        found = (stage.fresh.state, dict(stage.fresh), dict(child))
        if found != ("new", expected, {**expected, VAR: "set"}):
            wrong.append(found)

    trio.lowlevel.enable_ki_protection(look)
    assert sweep(scenario) > 10
    assert not wrong


ACTS: dict[str, Callable[[trioctx.Context], None]] = {
    "cancel": lambda ctx: ctx.cancel("enough"),
    "stop": lambda ctx: ctx.stop("enough", grace=0),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_cancel_and_stop_are_done_whole(act: Callable[[trioctx.Context], None]) -> None:
    """An interrupt during them comes afterwards: what is below has been told, here and by links."""
    ends: list[tuple[object, ...]] = []

    async def scenario(stage: Stage) -> None:
        parent = trioctx.with_cancel(stage.elsewhere)
        try:
            with trioctx.with_cancel(parent) as linked:
                with trioctx.with_cancel(stage.outer) as own:
                    try:
                        act(own)
                        act(parent)
                    finally:
                        ends.append(
                            (
                                own.cancelled,
                                own.cancel_scope.cancel_called,
                                parent.cancelled,
                                linked.cancel_scope.cancel_called,
                            )
                        )
        except ENDED:
            pass

    assert sweep(scenario, stride=7) > 100
    for own, own_scope, parent, linked_scope in ends:
        assert own is own_scope
        assert parent is linked_scope
    assert (True, True, False, False) not in ends, "protected, so never between the two"


def test_a_region_is_entered_and_left_whole() -> None:
    """`until_stopping` of a context elsewhere, of one not entered, and of the enclosing one."""

    async def scenario(stage: Stage) -> None:
        for ctx in (stage.elsewhere, stage.fresh, stage.outer):
            with ctx.until_stopping():
                await pause()

    assert sweep(scenario, stride=3) > 100


def test_a_wait_that_is_interrupted_leaves_nothing() -> None:
    """`wait_done` and `wait_stopping` of what has not ended, given up by a scope around them."""

    async def scenario(stage: Stage) -> None:
        for wait in (stage.elsewhere.wait_done, stage.fresh.wait_stopping):
            with allowance():
                await wait()

    assert sweep(scenario, real=True) > 30


def allowance() -> trio.CancelScope:
    """Made out of the sight of the injector."""
    return trio.move_on_after(1)


def test_a_thread_call_that_is_interrupted_leaves_nothing() -> None:
    """`run_in_thread` of a context elsewhere."""

    async def scenario(stage: Stage) -> None:
        assert await stage.elsewhere.run_in_thread(int, "1") == 1

    assert sweep(scenario, real=True, clock=trio.testing.MockClock()) > 30


def test_an_interrupted_after_func_leaves_nothing() -> None:
    """Whether the call was noted or not, ending its context takes it away."""

    async def scenario(stage: Stage) -> None:
        with trioctx.with_cancel(stage.outer) as ctx:
            trioctx.after_func(ctx, int)
            await pause()

    assert sweep(scenario, real=True) > 30


async def started(task_status: trio.TaskStatus[int]) -> None:
    """A task for `start`."""
    task_status.started(1)
    await pause()


# A task that is interrupted before its first step never runs, nor does the coroutine it was given.
never_ran = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@never_ran
def test_tasks_do_not_keep_an_interrupted_block() -> None:
    """Children, services and started tasks all end, wherever the interrupt comes."""

    async def scenario(stage: Stage) -> None:
        async with trioctx.with_cancel(stage.outer) as ctx:
            ctx.start_soon(pause)
            ctx.start_service(sleep)
            await ctx.start(started)

    assert sweep(scenario, real=True) > 50


@never_ran
def test_starting_is_done_whole() -> None:
    """Whoever catches the interrupt inside the block finds that its tasks end as they always do."""

    async def scenario(stage: Stage) -> None:
        async with trioctx.with_cancel(stage.outer) as ctx:
            ctx.start_service(sleep)
            caught: list[KeyboardInterrupt] = []
            try:
                ctx.start_soon(pause)
                await ctx.start(started)
            except KeyboardInterrupt as exc:
                caught.append(exc)
        if caught:
            raise caught.pop()

    assert sweep(scenario, real=True) > 50


# --- real interrupts ----------------------------------------------------------------------------

WANTED = 2000

BOMBARDED = f"""
import contextvars, signal, sys
import trio, trioctx
from trioctx import _nesting

VAR = contextvars.ContextVar("bombarded", default="unset")
delivered = 0


@trio.lowlevel.disable_ki_protection
def work(outer, elsewhere):
    fresh = trioctx.with_value(trioctx.with_cancel(elsewhere), VAR, "elsewhere")
    while True:
        with trioctx.with_cancel(outer):
            with trioctx.with_value(trioctx.current(), VAR, "around"):
                with trioctx.with_timeout(fresh, 1000) as ctx:
                    assert VAR.get() == "elsewhere"
                    ctx.cancel()
                with trioctx.merge(outer, elsewhere):
                    pass
                with elsewhere.until_stopping():
                    pass
            with trioctx.without_cancel(outer):
                pass


async def hold(opened):
    with trioctx.with_cancel(trioctx.background()) as ctx:
        opened.append(ctx)
        await trio.sleep_forever()


async def settle():
    global delivered
    try:
        await trio.lowlevel.checkpoint()
    except KeyboardInterrupt:
        delivered += 1


@trio.lowlevel.enable_ki_protection
async def main():
    global delivered
    opened = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, opened)
        while not opened:
            await trio.sleep(0)
        [elsewhere] = opened
        with trioctx.with_cancel(trioctx.current()) as outer:
            values = dict(contextvars.copy_context())
            innermost = dict(_nesting.innermost)
            print("ready", flush=True)
            while delivered < {WANTED}:
                try:
                    work(outer, elsewhere)
                except KeyboardInterrupt:
                    delivered += 1
                await settle()
                assert trioctx.current() is outer
                assert dict(contextvars.copy_context()) == values
                assert _nesting.innermost == innermost
                assert not outer._below and not elsewhere._below
                assert outer._run.listeners == 0
                late = trioctx.with_timeout(outer, 0)
                try:
                    with late:
                        await trio.sleep_forever()
                except trioctx.DeadlineExceeded:
                    pass
                except KeyboardInterrupt:
                    delivered += 1
                assert isinstance(late.err, trioctx.DeadlineExceeded)
                assert outer.err is None and elsewhere.err is None
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            await settle()
        nursery.cancel_scope.cancel()


trio.run(main)
assert not _nesting.innermost
print(delivered, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no process can be sent a SIGINT there")
def test_two_thousand_real_interrupts() -> None:
    """A process that does nothing but enter and leave, interrupted from outside again and again."""
    with subprocess.Popen(
        [sys.executable, "-c", BOMBARDED], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            limit = time.monotonic() + 30  # reached only by a test that fails
            while process.poll() is None and time.monotonic() < limit:
                process.send_signal(signal.SIGINT)
                time.sleep(0.0003)
            assert process.poll() == 0
            assert int(process.stdout.read()) >= WANTED
        finally:
            process.kill()
