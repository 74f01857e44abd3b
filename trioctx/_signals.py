"""Signals: a context that the operating system's signals stop, and a run under one."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import trio

from . import _checks
from ._context import Context
from ._derive import background, make
from ._node import Kind

T = TypeVar("T")

_SIGNALS = Kind("with_signals")
_RUN = Kind("run")


def with_signals(
    parent: Context, *signals: int, grace: float | None = None, name: str | None = None
) -> Context:
    """A context that a signal stops; a second signal cancels it. For `async with` only.

    The first does `ctx.stop("received SIGTERM", grace=grace)`, the second `ctx.cancel(...)`. They
    are received from entry to exit of the block, by a task that does not keep it open; after the
    second they have their usual effect again, so that whoever insists can end a shutdown that
    hangs. Go's `signal.NotifyContext`, in two phases.

    Args:
        parent: What it ends with and takes its values from.
        signals: Default SIGINT and SIGTERM.
        grace: Seconds from the first signal to the cancellation; None: only a second one cancels.
        name: For `repr` and error messages.

    Raises:
        TypeError, ValueError: `parent` is no context, or an argument of the wrong kind.
        RuntimeError: On entry: not in the main thread, or entered with `with`.

    Example::

        async with trioctx.with_signals(trioctx.current(), grace=10) as ctx:
            ctx.start_soon(serve)
    """
    wanted = _check_signals(signals or (signal.SIGINT, signal.SIGTERM))
    limit = _checks.grace("grace", grace)
    ctx = make(_SIGNALS, parent, name)
    ctx._listen = partial(_listen, wanted, limit)
    return ctx


def run(
    async_fn: Callable[..., Awaitable[T]],
    *args: object,
    signals: Iterable[int] = (signal.SIGINT, signal.SIGTERM),
    grace: float | None = None,
    **trio_options: Any,
) -> T | None:
    """`trio.run`, calling `async_fn(ctx, *args)` under a root context that signals stop.

    Returns what `async_fn` returned; None if its context was cancelled first. What it raises is
    raised bare, unless tasks were started in its context.

    Args:
        async_fn: Called with the context and `args`.
        signals: Those that stop it, see `with_signals`; empty for none, as is needed outside the
            main thread.
        grace: Seconds from the first signal to the cancellation; None: only a second one cancels.
        trio_options: Passed to `trio.run`: `clock`, `instruments` and so on.

    Raises:
        TypeError, ValueError: An argument of the wrong kind.
        RuntimeError: There are `signals`, and this is not the main thread.

    Example::

        async def main(ctx: trioctx.Context) -> None:
            await ctx.wait_stopping()

        trioctx.run(main, grace=10)
    """
    _checks.function("async_fn", async_fn)
    wanted = _check_signals(signals)
    limit = _checks.grace("grace", grace)

    async def main() -> T | None:
        root = make(_RUN, background(), None)
        if wanted:
            root._listen = partial(_listen, wanted, limit)
        async with root as ctx:
            return await _checks.coroutine("async_fn", async_fn(ctx, *args), async_fn)
        return None

    return trio.run(main, **trio_options)


def _check_signals(signals: object) -> tuple[signal.Signals, ...]:
    if isinstance(signals, str) or not isinstance(signals, Iterable):
        raise TypeError(
            f"signals must be several signals such as (signal.SIGTERM,), not {signals!r}"
        )
    wanted = []
    for number in signals:
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"signals must be signals such as signal.SIGTERM, not {number!r}")
        try:
            wanted.append(signal.Signals(number))
        except ValueError:
            raise ValueError(f"signals: there is no signal {number!r} on this system") from None
    return tuple(dict.fromkeys(wanted))


def _listen(
    signals: tuple[signal.Signals, ...], grace: float, ctx: Context
) -> Callable[[], Awaitable[None]]:
    """Begin to receive `signals`; returns the task that acts upon them until it is cancelled."""
    stack = ExitStack()
    received = stack.enter_context(trio.open_signal_receiver(*signals))

    async def listen() -> None:
        with stack:
            async for number in received:
                cause = f"received {signal.Signals(number).name}"
                if ctx._stop is None:
                    ctx.stop(cause, grace=grace)
                else:
                    ctx.cancel(cause)
                    return

    return listen
