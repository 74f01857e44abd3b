"""What a type checker knows of trioctx: checked by mypy with the rest of the tests, never run."""

from collections.abc import Awaitable, Callable, ItemsView, Iterator, KeysView, ValuesView
from contextlib import AbstractContextManager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Literal, assert_type

import trio

import trioctx
from trioctx import Context

NUMBER: ContextVar[int] = ContextVar("NUMBER")
TEXT: ContextVar[str] = ContextVar("TEXT")
MAYBE: ContextVar[str | None] = ContextVar("MAYBE", default=None)


def roots_and_deriving(ctx: Context, when: datetime) -> None:
    """Everything that derives returns a Context."""
    assert_type(trioctx.background(), Context)
    assert_type(trioctx.todo(), Context)
    assert_type(trioctx.current(), Context)
    assert_type(trioctx.with_cancel(ctx, name="x"), Context)
    assert_type(trioctx.with_timeout(ctx, 1, cause="x"), Context)
    assert_type(trioctx.with_timeout(ctx, 1.5, cause=OSError()), Context)
    assert_type(trioctx.with_deadline(ctx, 1.5), Context)
    assert_type(trioctx.with_deadline(ctx, when), Context)
    assert_type(trioctx.with_value(ctx, NUMBER, 1), Context)
    assert_type(trioctx.with_value(ctx, MAYBE, None), Context)
    assert_type(trioctx.with_values(ctx, {NUMBER: 1, TEXT: "x"}), Context)
    assert_type(trioctx.without_cancel(ctx), Context)
    assert_type(trioctx.merge(ctx, ctx, ctx), Context)
    assert_type(trioctx.with_signals(ctx, 2, 15, grace=None), Context)


def values(ctx: Context) -> None:
    """`ctx[VAR]` of a `ContextVar[T]` is a T; `get` is as that of `contextvars.Context`."""
    assert_type(ctx[NUMBER], int)
    assert_type(ctx[TEXT], str)
    assert_type(ctx[MAYBE], str | None)
    assert_type(ctx.get(NUMBER), int | None)
    assert_type(ctx.get(NUMBER, 0), int)
    assert_type(ctx.get(NUMBER, "none"), int | str)
    assert_type(ctx.get(MAYBE, ""), str | None)
    assert_type(NUMBER in ctx, bool)
    assert_type(len(ctx), int)
    assert_type(iter(ctx), Iterator[ContextVar[Any]])
    assert_type(ctx.keys(), KeysView[ContextVar[Any]])
    assert_type(ctx.values(), ValuesView[Any])
    assert_type(ctx.items(), ItemsView[ContextVar[Any], Any])
    assert_type(ctx.lookup("NUMBER"), Any)
    assert_type(dict(ctx), dict[ContextVar[Any], Any])


def running(ctx: Context) -> None:
    """`run` takes the function's arguments and returns its result."""
    assert_type(ctx.run(both, 1, "x"), float)
    assert_type(ctx.run(both, number=1, text="x"), float)


def reading(ctx: Context) -> None:
    """What a context tells."""
    assert_type(ctx.name, str)
    assert_type(ctx.parent, Context | None)
    assert_type(ctx.deadline, float)
    assert_type(ctx.remaining(), float)
    assert_type(ctx.state, Literal["new", "open", "closed"])
    assert_type(ctx.err, trioctx.ContextError | None)
    assert_type(ctx.cause, BaseException | None)
    assert_type(ctx.cancelled, bool)
    assert_type(ctx.done, bool)
    assert_type(ctx.stopping, bool)
    assert_type(ctx.nursery, trio.Nursery)
    assert_type(ctx.cancel_scope, trio.CancelScope)
    assert_type(ctx.until_stopping(), AbstractContextManager[None])


async def entering(ctx: Context) -> None:
    """Both ways of entering give the Context."""
    with ctx as entered:
        assert_type(entered, Context)
    async with ctx as entered_too:
        assert_type(entered_too, Context)


async def starting(ctx: Context) -> None:
    """Functions are checked against their arguments."""
    ctx.start_soon(fetch, 1, "x")
    ctx.start_soon(fetch, 1, "x", name="fetcher")
    ctx.start_service(fetch, 1, "x")
    ctx.start_soon(trio.sleep_forever)
    assert_type(await ctx.run_in_thread(both, 1, "x"), float)
    assert_type(await ctx.run_in_thread(both, 1, "x", abandon_on_cancel=True), float)
    await ctx.start(serve, "localhost")
    ctx.cancel()
    ctx.cancel("text")
    ctx.cancel(OSError())
    ctx.stop("text", grace=None)
    ctx.stop(grace=1)
    await ctx.wait_done()
    await ctx.wait_stopping()


def waiting(ctx: Context) -> None:
    """`after_func` checks arguments too."""
    handle = trioctx.after_func(ctx, both, 1, "x")
    assert_type(handle, trioctx.AfterFunc)
    assert_type(handle.stop(), bool)


def errors(error: trioctx.ContextError) -> None:
    """An error knows its context and its cause."""
    assert_type(error.context, Context | None)
    assert_type(error.cause, BaseException | None)
    too_slow: trio.TooSlowError = trioctx.DeadlineExceeded()
    assert_type(str(too_slow), str)


def wrapping(ctx: Context, task: Callable[[Context], Awaitable[None]]) -> None:
    """A context is an argument like any other."""
    ctx.start_soon(task, ctx)


def both(number: int, text: str) -> float:
    """A sync function."""
    return number / len(text)


async def fetch(number: int, text: str) -> float:
    """An async function."""
    return number / len(text)


async def serve(host: str, *, task_status: trio.TaskStatus[int]) -> None:
    """A function for `start`."""
    task_status.started(len(host))
