"""Helpers for tests of your own code.

`cancel_at_every_checkpoint` finds the cleanup that is missing: it cancels a function at each place
where Trio can cancel it, one after the other.
"""

import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVarTuple

import trio
from trio.lowlevel import Task
from trio.testing import wait_all_tasks_blocked

import trioctx

__all__ = ["cancel_at_every_checkpoint"]

Ts = TypeVarTuple("Ts")


async def cancel_at_every_checkpoint(
    async_fn: Callable[[*Ts], Awaitable[object]],
    *args: *Ts,
    check: Callable[[], Awaitable[object]] | None = None,
    all_tasks: bool = False,
) -> int:
    """Run `async_fn(*args)` again and again, cancelled one checkpoint later each time.

    The first run is cancelled before it begins, the next ones at the first checkpoint, at the
    second, and so on; the last one runs through. A checkpoint, here, is each time that the task
    gives way to the scheduler. It is cancelled there twice, which matters where it waits:

    - as the checkpoint begins: a wait is interrupted;
    - in another run as it ends: what was waited for has happened, a lock is held, data has been
      taken, and the `Cancelled` comes at the next checkpoint.

    Nothing outside a task can cancel it at any other moment. A checkpoint inside a shield, and one
    that cannot be interrupted, is cancelled too: the `Cancelled` then comes after it, as always.

    After each run no task may be left that `async_fn` started, and `current()` must be what it was.
    Tasks that are about to end are given the time for it.

    Args:
        async_fn: Runs in the calling task. Each run has to begin anew: what is opened outside of
            it, or lasts from run to run, is for `check` to look at.
        check: `async def check()`, called after each run, also after the last, without any
            cancellation. Asserts what else must hold: files closed, locks free.
        all_tasks: Count the checkpoints of the tasks that `async_fn` starts, directly or not, as
            well. All are cancelled together. Trio runs tasks in a random order, so that the number
            of checkpoints can differ from run to run.

    Returns:
        How many checkpoints the last run had.

    Raises:
        AssertionError: A task or a context is left. This, and whatever else leaves `async_fn` or
            `check`, has a note that tells where the run was cancelled.
        TypeError: `async_fn` or `check` cannot be called.

    Unlike `trio.testing.assert_checkpoints`, which tells whether there is a checkpoint at all.

    Example::

        async def transfer():
            async with await connection.begin() as transaction:
                await transaction.send(data)

        async def check():
            assert not connection.transactions

        await cancel_at_every_checkpoint(transfer, check=check)
    """
    _check_callable("async_fn", async_fn)
    if check is not None:
        _check_callable("check", check)
    moment = 0
    while True:
        run = _Run(moment, all_tasks)
        try:
            await run.execute(async_fn, *args)
            if check is not None:
                await check()
        except BaseException as exc:
            exc.add_note(run.note)
            raise
        if not run.scope.cancel_called:
            return run.checkpoints
        moment += 1


def _check_callable(parameter: str, value: object) -> None:
    if not callable(value):
        if isinstance(value, Coroutine):
            value.close()
        raise TypeError(
            f"{parameter} must be an async function, not {value!r}: pass the function itself"
        )


class _Run(trio.abc.Instrument):
    """One run, and what Trio tells of it. Its moments are counted down; at 0 it is cancelled.

    step | checkpoint 1 | step | checkpoint 2 | step
    ^    ^              ^      ^              ^
    0    1              2      3              4
    """

    def __init__(self, moment: int, all_tasks: bool) -> None:
        self.scope = trio.CancelScope()
        self.checkpoints = 0
        self.note = "in the run that was not cancelled"
        self._countdown = moment
        self._task = trio.lowlevel.current_task()
        self._tasks = {self._task}
        self._counted = self._tasks if all_tasks else {self._task}

    async def execute(self, async_fn: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Run it, and look at what it leaves."""
        context = trioctx.current()
        if self._countdown == 0:
            self._cancel("cancelled before it began")
        trio.lowlevel.add_instrument(self)
        try:
            with self.scope:
                await async_fn(*args)
            self._counted = set()
            if len(self._tasks) > 1:
                # A task of after_func, for one, ends a step later than its context.
                await wait_all_tasks_blocked()
        finally:
            trio.lowlevel.remove_instrument(self)
        left = self._tasks - {self._task}
        if left:
            names = ", ".join(sorted(task.name for task in left))
            raise AssertionError(f"tasks left running: {names}")
        if trioctx.current() is not context:
            raise AssertionError(f"context left open: {trioctx.current()!r}")

    def task_spawned(self, task: Task) -> None:
        if trio.lowlevel.current_task() in self._tasks:  # the one that starts it
            self._tasks.add(task)

    def task_exited(self, task: Task) -> None:
        self._tasks.discard(task)

    def after_task_step(self, task: Task) -> None:
        if task in self._counted:
            self.checkpoints += 1
            self._pass_moment(task, "at checkpoint {}, in {}")

    # Not task_scheduled: that comes in the middle of another task's step.
    def before_task_step(self, task: Task) -> None:
        if task in self._counted:
            self._pass_moment(task, "after checkpoint {}, in {}")

    def _pass_moment(self, task: Task, place: str) -> None:
        self._countdown -= 1
        if self._countdown == 0:
            self._cancel(f"cancelled {place.format(self.checkpoints, task.name)}:\n{_stack(task)}")

    def _cancel(self, note: str) -> None:
        self.note = note
        self.scope.cancel("trioctx.testing.cancel_at_every_checkpoint")


def _stack(task: Task) -> str:
    """Where the task is, from `async_fn` or its own beginning on."""
    stack = traceback.StackSummary.extract(task.iter_await_frames())
    outside = max((n for n, frame in enumerate(stack, 1) if frame.filename == __file__), default=0)
    return "".join(stack.format()[outside:]).rstrip()
