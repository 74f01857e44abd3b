"""Threads: a sync function of a context in a worker thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

from . import _checks, _nesting
from ._node import Given
from ._stop import Region, run_of
from ._tasks import Tasks
from ._values import ENTERED, differing

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Threads(Tasks):
    """What a context runs in threads."""

    __slots__ = ()

    async def run_in_thread(
        self,
        sync_fn: Callable[[*Ts], T],
        *args: *Ts,
        abandon_on_cancel: bool = False,
        limiter: trio.CapacityLimiter | None = None,
    ) -> T:
        """Run `sync_fn(*args)` in a worker thread with this context's values; returns its result.

        In the thread `current()` is the caller's. If this context does not enclose the caller, its
        end reaches the call as it reaches a linked child. `ctx.check()` lets the function notice.
        A checkpoint. Options are those of `trio.to_thread.run_sync`.

        Args:
            abandon_on_cancel: Return at a cancellation and leave the thread alone with its work,
                instead of waiting for it.
            limiter: Bounds the number of threads; Trio's default limiter if None.

        Raises:
            ContextCancelled, DeadlineExceeded: This context, which does not enclose the caller,
                ended the call.
            RuntimeError: Outside the context's Trio run.
            TypeError: `sync_fn` cannot be called.

        Example::

            rows = await ctx.run_in_thread(query, "select 1")
        """
        _checks.sync_function("sync_fn", sync_fn)
        run_of(self)
        caller = _nesting.current()
        given: Given = ((ENTERED, caller),)
        if caller is not self:
            given += differing(self._child_values())
        call = trio.to_thread.run_sync
        if self._parent is None or self._surrounds(caller):
            return await call(
                _under, given, sync_fn, args, abandon_on_cancel=abandon_on_cancel, limiter=limiter
            )
        with Region(self._me(), stops=False):
            return await call(
                _under, given, sync_fn, args, abandon_on_cancel=abandon_on_cancel, limiter=limiter
            )
        end = self._ending() or self._end_by_closing()
        assert end is not None
        raise self._error(end)


def _under(given: Given, fn: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
    """Call `fn(*args)` with `given` set; the thread's ContextVars are a copy for this call."""
    for var, value in given:
        var.set(value)
    return _checks.sync_result("sync_fn", fn(*args), fn)
