"""after_func: a call that waits for a context to end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVarTuple, final

import trio

from . import _checks
from ._clock import Run
from ._derive import check_context
from ._stop import Region, run_of

if TYPE_CHECKING:
    from ._context import Context

Ts = TypeVarTuple("Ts")

_logger = logging.getLogger("trioctx")


def after_func(ctx: Context, fn: Callable[[*Ts], object], *args: *Ts) -> AfterFunc:
    """Call `fn(*args)` once, soon after `ctx` is cancelled or its deadline passes. Go's AfterFunc.

    In the Trio thread, under the ContextVars of this call, never inside `cancel()` itself; soon, if
    that has already happened; never when `ctx` closes normally. What `fn` raises is logged to the
    logger `trioctx` with its traceback. Not a checkpoint.

    Args:
        ctx: Whose end is waited for.
        fn: A sync function, which must not block.

    Returns:
        A handle; `handle.stop()` takes the call back.

    Raises:
        TypeError: `ctx` is no context, or `fn` cannot be called.
        RuntimeError: Outside the Trio run of `ctx`.

    Example::

        handle = trioctx.after_func(ctx, connection.abort)
        await connection.send(data)
        handle.stop()
    """
    check_context("ctx", ctx)
    _checks.sync_function("fn", fn)
    handle = AfterFunc(ctx, run_of(ctx), partial(fn, *args))
    if ctx._parent is not None and (ctx._state != "closed" or ctx.cancelled):
        trio.lowlevel.spawn_system_task(handle._wait, name=fn, context=copy_context())
    return handle


@final
class AfterFunc:
    """The handle of `after_func`.

    Example::

        handle = trioctx.after_func(ctx, print, "ended")
        assert handle.stop()
    """

    __slots__ = ("_call", "_ctx", "_lock", "_region", "_run")

    def __init__(self, ctx: Context, run: Run, call: partial[object]) -> None:
        self._ctx = ctx
        self._run = run
        self._call: partial[object] | None = call
        self._region = Region(ctx, stops=False)
        self._lock = threading.Lock()

    def stop(self) -> bool:
        """Take the call back. True if that kept it from being made, False if it was too late for
        that, or not the first `stop()`. Not a checkpoint, any thread.

        Example::

            if not handle.stop():
                print("it was called")
        """
        if self._take() is None:
            return False
        self._run.call(self._region._scope.cancel)
        return True

    def _take(self) -> partial[object] | None:
        """The call, to the one who asks first."""
        with self._lock:
            call, self._call = self._call, None
            return call

    async def _wait(self) -> None:
        try:
            while self._call is not None and not self._ctx.done:
                with self._region:
                    await trio.sleep_forever()
        finally:
            # Also when the run is being shut down: then a context may have ended that nobody could
            # be told of any more.
            call = self._take() if self._ctx.cancelled else None
            if call is not None:
                try:
                    _checks.sync_result("fn", call(), call.func)
                except Exception:
                    _logger.exception("after_func: %r failed", call.func)
