"""Signals: the first stops, the second cancels; in this process, and in real ones."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
import trio.testing

import trioctx
from trioctx import _nesting

LONG = 1e6

# Long enough for any machine; reached only by a test that fails.
LIMIT = 20.0


def handlers() -> list[object]:
    """Who handles what: to be the same after a block as before."""
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.fixture(autouse=True)
def stray() -> Iterator[list[int]]:
    """Collects the SIGTERMs that no context received, and sees that the handlers are restored."""
    received: list[int] = []
    default = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    before = handlers()
    yield received
    assert handlers() == before
    signal.signal(signal.SIGTERM, default)
    assert received == []


async def receive(number: int) -> None:
    """Raise the signal, and let whoever waits for it act upon it."""
    signal.raise_signal(number)
    await trio.testing.wait_all_tasks_blocked()


# --- with_signals -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_stops(number: signal.Signals) -> None:
    """Regions end, nothing is cancelled, and what ends by itself ends quietly."""
    ended: list[str] = []

    async def accept(ctx: trioctx.Context) -> None:
        with ctx.until_stopping():
            await trio.sleep_forever()
        ended.append("region")

    async with trioctx.with_signals(trioctx.current()) as ctx:
        ctx.start_soon(accept, ctx)
        await trio.testing.wait_all_tasks_blocked()
        assert not ctx.stopping
        await receive(number)
        assert ctx.stopping
        assert not ctx.cancelled
        assert ended == ["region"]
        await trio.lowlevel.checkpoint()
    assert ctx.err is None


async def test_the_second_signal_cancels() -> None:
    """With a cause of its own; the block ends quietly, as after any `cancel()`."""
    async with trioctx.with_signals(trioctx.current(), grace=LONG) as ctx:
        await receive(signal.SIGTERM)
        assert not ctx.cancelled
        await receive(signal.SIGINT)
        assert ctx.cancelled
        await trio.sleep_forever()
    assert isinstance(ctx.err, trioctx.ContextCancelled)
    assert ctx.err.context is ctx
    assert isinstance(ctx.cause, trioctx.ContextCancelled)
    assert str(ctx.cause) == "received SIGINT"


async def test_a_third_signal_has_its_usual_effect(stray: list[int]) -> None:
    """After the second none is received any more: who insists ends a shutdown that hangs."""
    async with trioctx.with_signals(trioctx.current()) as ctx:
        with trio.CancelScope(shield=True):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
                await receive(number)
    assert str(ctx.cause) == "received SIGINT"
    assert stray == [signal.SIGTERM]
    stray.clear()


async def test_signals_are_received_while_the_block_cleans_up(stray: list[int]) -> None:
    """Also after something else has cancelled it: the first one does not hit the process."""
    with trio.CancelScope() as scope:
        async with trioctx.with_signals(trioctx.current()) as ctx:
            scope.cancel()
            with trio.CancelScope(shield=True):
                await receive(signal.SIGTERM)
            await trio.sleep_forever()
    assert ctx.stopping
    assert stray == []


async def test_two_signals_at_once_are_a_first_and_a_second() -> None:
    """None is lost because the task that waits had not run in between."""
    async with trioctx.with_signals(trioctx.current()) as ctx:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()
    assert str(ctx.cause) in ("received SIGINT", "received SIGTERM")


async def test_the_grace_ends_what_has_not_finished(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Phase two comes `grace` seconds after the signal, with the signal as the cause."""
    began = trio.current_time()
    async with trioctx.with_signals(trioctx.current(), grace=10) as ctx:
        await trio.sleep(3)
        await receive(signal.SIGTERM)
        assert ctx.deadline == began + 13
        await trio.sleep_forever()
    assert trio.current_time() == began + 13
    assert isinstance(ctx.err, trioctx.ContextCancelled)
    assert str(ctx.cause) == "received SIGTERM"


async def test_without_a_grace_there_is_no_phase_two(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Only a second signal cancels."""
    async with trioctx.with_signals(trioctx.current()) as ctx:
        await receive(signal.SIGTERM)
        assert ctx.deadline == math.inf
        await trio.sleep(LONG)
        assert not ctx.cancelled


async def test_a_signal_after_a_stop_is_a_second_one() -> None:
    """Whoever said stop first: the operator does not have to say it twice."""
    async with trioctx.with_signals(trioctx.current(), grace=LONG) as ctx:
        ctx.stop("maintenance", grace=LONG)
        await receive(signal.SIGTERM)
        await trio.sleep_forever()
    assert str(ctx.cause) == "received SIGTERM"


async def test_only_the_signals_that_were_named() -> None:
    """Others keep their handlers."""
    before = signal.getsignal(signal.SIGINT)
    async with trioctx.with_signals(trioctx.current(), signal.SIGTERM, signal.SIGTERM) as ctx:
        assert signal.getsignal(signal.SIGINT) is before
        await receive(int(signal.SIGTERM))
        assert ctx.stopping


async def test_the_listener_does_not_keep_the_block_open() -> None:
    """Nor its children, which it does not wait for either."""
    done: list[int] = []

    async def child() -> None:
        await trio.lowlevel.checkpoint()
        done.append(1)

    async with trioctx.with_signals(trioctx.current()) as ctx:
        pass
    assert ctx.state == "closed"
    async with trioctx.with_signals(trioctx.current()) as ctx:
        ctx.start_soon(child)
    assert done == [1]


async def test_it_ends_with_its_parents() -> None:
    """As any context; the handlers are given back."""
    before = handlers()
    parent = trioctx.with_cancel(trioctx.background())
    with pytest.raises(trioctx.ContextCancelled) as caught:
        async with trioctx.with_signals(parent):
            assert handlers() != before
            parent.cancel("parent")
            await trio.sleep_forever()
    assert caught.value.context is parent
    assert handlers() == before


async def test_a_signal_that_nobody_read_goes_to_the_handler_from_before(
    stray: list[int],
) -> None:
    """It came too late for the block, and is not lost: Trio hands it on."""
    async with trioctx.with_signals(trioctx.current()) as ctx:
        signal.raise_signal(signal.SIGTERM)
    assert stray == ([] if ctx._stop else [signal.SIGTERM])
    stray.clear()


async def test_with_is_refused() -> None:
    """Nothing is half-entered: the same context can still be entered as it has to be."""
    before = handlers()
    around = trioctx.current()
    ctx = trioctx.with_signals(around)
    with pytest.raises(RuntimeError, match="async with"):
        with ctx:
            pytest.fail("entered")
    assert trioctx.current() is around
    assert handlers() == before
    assert ctx.state == "new"
    async with ctx:
        assert trioctx.current() is ctx


async def test_an_error_stays_bare_unless_tasks_were_started() -> None:
    """The library's own task does not count."""
    with pytest.raises(ZeroDivisionError):
        async with trioctx.with_signals(trioctx.current()):
            raise ZeroDivisionError
    with pytest.raises(ExceptionGroup) as caught:
        async with trioctx.with_signals(trioctx.current()) as ctx:
            ctx.start_soon(trio.lowlevel.checkpoint)
            raise ZeroDivisionError
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
    with pytest.raises(ExceptionGroup):
        async with trioctx.with_signals(trioctx.current()) as ctx:
            assert ctx.nursery is not None
            raise ZeroDivisionError
    assert isinstance(ctx.cause, ZeroDivisionError)


@pytest.mark.parametrize(
    ("signals", "options", "error", "words"),
    [
        (("SIGTERM",), {}, TypeError, "'SIGTERM'"),
        ((True,), {}, TypeError, "True"),
        ((None,), {}, TypeError, "None"),
        ((12345,), {}, ValueError, "12345"),
        ((signal.SIGTERM, 0), {}, ValueError, "0"),
        ((), {"grace": -1}, ValueError, "grace.*-1"),
        ((), {"grace": math.nan}, ValueError, "grace.*nan"),
        ((), {"grace": True}, TypeError, "grace.*True"),
        ((), {"grace": "10"}, TypeError, "grace.*'10'"),
        ((), {"name": 3}, TypeError, "name.*3"),
    ],
)
async def test_bad_arguments_are_refused_at_the_call(
    signals: tuple[Any, ...], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Naming the parameter or showing the value."""
    with pytest.raises(error, match=words):
        trioctx.with_signals(trioctx.current(), *signals, **options)


async def test_a_parent_is_needed() -> None:
    """A signal in its place is no context."""
    wrong: Any = signal.SIGTERM
    with pytest.raises(TypeError, match=r"parent.*SIGTERM"):
        trioctx.with_signals(wrong)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL there")
async def test_a_signal_that_cannot_be_received_leaves_nothing_half_entered() -> None:
    """What the system says about it comes out of the entry."""
    before = handlers()
    around = trioctx.current()
    nurseries = list(trio.lowlevel.current_task().child_nurseries)
    ctx = trioctx.with_signals(around, signal.SIGTERM, signal.SIGKILL)
    with pytest.raises(OSError, match=r"."):
        async with ctx:
            pytest.fail("entered")
    assert trioctx.current() is around
    assert trio.lowlevel.current_task().child_nurseries == nurseries
    assert handlers() == before
    await trio.lowlevel.checkpoint()


def in_a_thread(fn: Callable[[], object]) -> object:
    """What `fn` returns in a thread that is not the main one; its exception is raised here."""

    async def main() -> object:
        return await trio.to_thread.run_sync(fn)

    return trio.run(main)


def test_entering_outside_the_main_thread_is_refused() -> None:
    """Python delivers signals to the main thread; nothing is half-entered."""

    async def main() -> str:
        around = trioctx.current()
        ctx = trioctx.with_signals(around)
        nurseries = list(trio.lowlevel.current_task().child_nurseries)
        with pytest.raises(RuntimeError, match="main thread"):
            async with ctx:
                pytest.fail("entered")
        assert trioctx.current() is around
        assert trio.lowlevel.current_task().child_nurseries == nurseries
        await trio.lowlevel.checkpoint()
        with trioctx.with_cancel(around) as after:
            after.cancel()
            await trio.sleep_forever()
        return ctx.state

    assert in_a_thread(lambda: trio.run(main)) == "new"


# --- run ----------------------------------------------------------------------------------------


def test_run_returns_what_the_function_returned() -> None:
    """It is called with a root context, which is current, and the arguments."""

    async def main(ctx: trioctx.Context, *args: int) -> int:
        assert trioctx.current() is ctx
        assert ctx.name == "run"
        assert ctx.parent is trioctx.background()
        assert ctx.deadline == math.inf
        await trio.lowlevel.checkpoint()
        return sum(args)

    assert trioctx.run(main, 1, 2, 3) == 6
    assert not _nesting.innermost


def test_run_stops_and_cancels_as_with_signals() -> None:
    """None is returned where the cancellation came first."""

    async def main(ctx: trioctx.Context) -> str:
        await receive(signal.SIGINT)
        assert ctx.stopping
        with ctx.until_stopping():
            await trio.sleep_forever()
        seen.append("stopping")
        signal.raise_signal(signal.SIGTERM)
        try:
            await trio.sleep_forever()
        finally:
            seen.append(str(ctx.cause))
        return "not reached"

    seen: list[str] = []
    assert trioctx.run(main) is None
    assert seen == ["stopping", "received SIGTERM"]


def test_run_returns_the_value_of_work_that_finishes_within_the_grace() -> None:
    """A stop alone takes nothing away; a grace that is over does."""

    async def main(ctx: trioctx.Context, seconds: float) -> str:
        await receive(signal.SIGTERM)
        await trio.sleep(seconds)
        return "finished"

    def clock() -> trio.abc.Clock:
        return trio.testing.MockClock(autojump_threshold=0)

    assert trioctx.run(main, 5, grace=10, clock=clock()) == "finished"
    assert trioctx.run(main, 15, grace=10, clock=clock()) is None


def test_run_passes_options_to_trio() -> None:
    """All that `trio.run` takes."""

    class Steps(trio.abc.Instrument):
        taken = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.taken += 1

    async def main(ctx: trioctx.Context) -> float:
        await trio.sleep(5)
        return trio.current_time()

    steps = Steps()
    clock = trio.testing.MockClock(autojump_threshold=0)
    assert trioctx.run(main, clock=clock, instruments=[steps]) == 5
    assert steps.taken > 0


def test_an_error_of_run_is_bare_unless_tasks_were_started() -> None:
    """As a block raises it."""

    async def fail(ctx: trioctx.Context) -> None:
        raise ZeroDivisionError

    async def fail_with_a_task(ctx: trioctx.Context) -> None:
        ctx.start_soon(trio.lowlevel.checkpoint)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trioctx.run(fail)
    with pytest.raises(ZeroDivisionError):
        trioctx.run(fail, signals=())
    with pytest.raises(ExceptionGroup):
        trioctx.run(fail_with_a_task)


async def unused(ctx: trioctx.Context) -> None:
    """Never to be called."""
    pytest.fail("called")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"signals": ["SIGINT"]}, TypeError, "'SIGINT'"),
        ({"signals": [True]}, TypeError, "True"),
        ({"signals": [12345]}, ValueError, "12345"),
        ({"grace": -1}, ValueError, "grace.*-1"),
        ({"grace": math.nan}, ValueError, "grace.*nan"),
        ({"grace": "10"}, TypeError, "grace.*'10'"),
    ],
)
def test_run_refuses_bad_arguments(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Before anything is started."""
    with pytest.raises(error, match=words):
        trioctx.run(unused, **options)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: unused(trioctx.background()), "async_fn"),
        (lambda: lambda ctx: None, r"async_fn.*returned"),
        (lambda: None, "async_fn"),
    ],
    ids=["a coroutine", "a sync function", "no function"],
)
def test_run_refuses_what_is_no_async_function(make: Callable[[], Any], words: str) -> None:
    """And says what to pass."""
    with pytest.raises(TypeError, match=words):
        trioctx.run(make())


def test_run_in_a_thread_goes_without_signals() -> None:
    """With them it is refused; without it is as anywhere."""

    async def main(ctx: trioctx.Context) -> str:
        ctx.start_soon(trio.lowlevel.checkpoint)
        return "in a thread"

    assert in_a_thread(lambda: trioctx.run(main, signals=())) == "in a thread"
    with pytest.raises(RuntimeError, match="main thread"):
        in_a_thread(lambda: trioctx.run(unused))


def test_run_without_signals_leaves_control_c_to_trio() -> None:
    """`KeyboardInterrupt`, as from `trio.run`."""

    async def main(ctx: trioctx.Context) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trioctx.run(main, signals=())


# --- processes ----------------------------------------------------------------------------------


@contextmanager
def process(code: str) -> Iterator[subprocess.Popen[str]]:
    """A Python that runs `code` and has said that it is ready."""
    script = "import trio, trioctx\n" + textwrap.dedent(code)
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def outcome(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status and what was printed."""
    out, err = child.communicate(timeout=LIMIT)
    return child.returncode, out, err


posix = pytest.mark.skipif(sys.platform == "win32", reason="processes there get no signals")

SERVER = """
async def main(ctx):
    print("ready", flush=True)
    await ctx.wait_stopping()
    print("stopping", flush=True)
    {then}

print(trioctx.run(main{options}))
"""


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_ends_well_after_a_signal(number: signal.Signals) -> None:
    """Status 0, the value of the function, and not a word on stderr."""
    with process(SERVER.format(then="return 'bye'", options=", grace=60")) as child:
        child.send_signal(number)
        assert outcome(child) == (0, "stopping\nbye\n", "")


@posix
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_process_does_not_wait_after_a_second_signal(second: signal.Signals) -> None:
    """Work that would take for ever is cancelled, with the second signal as the cause."""
    then = "\n    ".join(
        ["try: await trio.sleep_forever()", "finally: print(ctx.cause, flush=True)"]
    )
    with process(SERVER.format(then=then, options="")) as child:
        child.send_signal(signal.SIGTERM)
        assert child.stdout is not None
        assert child.stdout.readline() == "stopping\n"
        child.send_signal(second)
        assert outcome(child) == (0, f"received {second.name}\nNone\n", "")


@posix
def test_a_process_ends_when_the_grace_is_over() -> None:
    """By itself, with the first signal as the cause."""
    then = "\n    ".join(
        ["try: await trio.sleep_forever()", "finally: print(ctx.cause, flush=True)"]
    )
    with process(SERVER.format(then=then, options=", grace=0.05")) as child:
        child.send_signal(signal.SIGTERM)
        assert outcome(child) == (0, "stopping\nreceived SIGTERM\nNone\n", "")


@posix
def test_a_process_with_a_block_of_its_own() -> None:
    """`with_signals` inside `trio.run`, with children that finish what they do."""
    code = """
    async def work(ctx):
        await ctx.wait_stopping()
        await trio.sleep(0.01)
        print("finished", flush=True)

    async def main():
        async with trioctx.with_signals(trioctx.current(), grace=60) as ctx:
            ctx.start_soon(work, ctx)
            with ctx.until_stopping():
                print("ready", flush=True)
                await trio.sleep_forever()
        print(ctx.err)

    trio.run(main)
    """
    with process(code) as child:
        child.send_signal(signal.SIGINT)
        assert outcome(child) == (0, "finished\nNone\n", "")
