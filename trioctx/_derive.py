"""Deriving: the roots, `current()`, and every way to make a context from another."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TypeVar

from . import _checks, _nesting
from ._clock import Run, enter_run, this_run
from ._context import Context

T = TypeVar("T")


def _root(name: str) -> Context:
    root = Context(name, None, None, None)
    root._state = "open"
    return root


_BACKGROUND = _root("background")
_TODO = _root("todo")


def background() -> Context:
    """The root of every tree: never ends, has no deadline and no values. Go's `context.Background`.

    Always the same object. It cannot be entered or cancelled; derive from it.

    Example::

        ctx = trioctx.with_cancel(trioctx.background())
    """
    return _BACKGROUND


def todo() -> Context:
    """A root like `background()`, to mark code that still has to be given a context. Go's `TODO`.

    Example::

        rows = await query(trioctx.todo(), "select 1")
    """
    return _TODO


def current() -> Context:
    """The innermost open context whose block encloses the running task; else `background()`.

    By Trio's nesting of nurseries, not by ContextVars: also right in a task that was started in an
    older nursery, or moved by `nursery.start`, and in system tasks. In a thread it is exact under
    `ctx.run_in_thread`, else the innermost still open context of the ContextVars copied there. Not
    a checkpoint.

    Example::

        trioctx.current().check()
    """
    return _nesting.current() or _BACKGROUND


def with_cancel(parent: Context, *, name: str | None = None) -> Context:
    """A context that can be cancelled on its own. Go's `WithCancelCause`.

    Args:
        parent: What it ends with and takes its values from.
        name: For `repr` and error messages.

    Raises:
        TypeError: `parent` is no context, or `name` no str.
        RuntimeError: `parent` belongs to another Trio run.

    Example::

        async with trioctx.with_cancel(trioctx.current()) as ctx:
            ctx.start_soon(listen)
            ctx.cancel("enough")
    """
    return Context("with_cancel", parent, _run_below(parent), _checks.name("name", name))


def with_timeout(
    parent: Context,
    seconds: float,
    *,
    cause: BaseException | str | None = None,
    name: str | None = None,
) -> Context:
    """A context that ends `seconds` from now; the clock starts at the call, not at entry.

    Go's `WithTimeoutCause`. The block raises `DeadlineExceeded`, a `trio.TooSlowError`, where
    `trio.fail_after` raises that; unlike it, never after a `cancel()` that came first.

    Args:
        parent: What it ends with and takes its values from.
        seconds: On Trio's clock; `math.inf` for no limit of its own, 0 to be born expired.
        cause: Why, should the deadline pass: becomes `err.cause`.
        name: For `repr` and error messages.

    Raises:
        TypeError: A wrong type; a bool is no number.
        ValueError: `seconds` is negative or NaN.
        RuntimeError: Outside a Trio run, or `parent` belongs to another.

    Example::

        with trioctx.with_timeout(trioctx.current(), 2):
            await trio.sleep(1)
    """
    duration = _checks.seconds("seconds", seconds)
    run = _clock_below(parent)
    ctx = Context("with_timeout", parent, run, _checks.name("name", name))
    ctx._limit(run.now() + duration, run, _checks.cause("cause", cause))
    return ctx


def with_deadline(
    parent: Context,
    deadline: float | datetime,
    *,
    cause: BaseException | str | None = None,
    name: str | None = None,
) -> Context:
    """A context that ends at `deadline`. Go's `WithDeadlineCause`.

    Args:
        parent: What it ends with and takes its values from.
        deadline: A time of `trio.current_time()`, or an aware datetime, which is converted at the
            call: later changes of the wall clock do not move it. In the past: born expired.
        cause: Why, should the deadline pass: becomes `err.cause`.
        name: For `repr` and error messages.

    Raises:
        TypeError: A wrong type; a bool is no number.
        ValueError: A naive datetime, or NaN.
        RuntimeError: Outside a Trio run, or `parent` belongs to another.

    Example::

        deadline = trio.current_time() + 2
        with trioctx.with_deadline(trioctx.current(), deadline):
            await trio.sleep(1)
    """
    run = _clock_below(parent)
    instant = _checks.instant("deadline", deadline, run.now())
    ctx = Context("with_deadline", parent, run, _checks.name("name", name))
    ctx._limit(instant, run, _checks.cause("cause", cause))
    return ctx


def with_value(
    parent: Context, var: ContextVar[T], value: T, *, name: str | None = None
) -> Context:
    """A context in which `var` is `value`. Go's `WithValue`, with a ContextVar as the key.

    Entered with `with` inside its parent's block it sets the variable and opens no scope.

    Args:
        parent: What it ends with and takes its other values from.
        var: The variable.
        value: Its value.
        name: For `repr` and error messages.

    Raises:
        TypeError: `parent` is no context, `var` no ContextVar, or `name` no str.
        RuntimeError: `parent` belongs to another Trio run.

    Example::

        with trioctx.with_value(trioctx.current(), request_id, "7f3a"):
            await handle()
    """
    _checks.variable("var", var)
    run = _run_below(parent)
    ctx = Context("with_value", parent, run, _checks.name("name", name), given=((var, value),))
    ctx._passes = True
    return ctx


def with_values(
    parent: Context, values: Mapping[ContextVar[Any], Any], *, name: str | None = None
) -> Context:
    """A context in which several variables have values: one block instead of several.

    Args:
        parent: What it ends with and takes its other values from.
        values: The variables with their values; read at the call. May be another context.
        name: For `repr` and error messages.

    Raises:
        TypeError: `parent` is no context, a key no ContextVar, or `name` no str.
        RuntimeError: `parent` belongs to another Trio run.

    Example::

        with trioctx.with_values(trioctx.current(), {user: "ann", request_id: "7f3a"}):
            await handle()
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"values must be a mapping {{ContextVar: value}}, not {values!r}")
    given = tuple(values.items())
    for var, _ in given:
        _checks.variable("values", var)
    run = _run_below(parent)
    ctx = Context("with_values", parent, run, _checks.name("name", name), given=given)
    ctx._passes = True
    return ctx


def without_cancel(parent: Context, *, name: str | None = None) -> Context:
    """A context with the parent's values that does not end with it. Go's `WithoutCancel`.

    Neither cancellation nor deadline, closing or stop pass. Entered, it is a shielded scope, and
    so is what is derived from one that is not entered: give cleanup a limit of its own.

    Args:
        parent: What it takes its values from.
        name: For `repr` and error messages.

    Raises:
        TypeError: `parent` is no context, or `name` no str.

    Example::

        with trioctx.with_timeout(trioctx.without_cancel(ctx), 5):
            await goodbye()
    """
    _check_parent("parent", parent)
    ctx = Context("without_cancel", parent, enter_run(), _checks.name("name", name))
    ctx._links = ()
    ctx._deadline = ctx._grace
    ctx._detaches = ctx._detached = True
    return ctx


def merge(parent: Context, *others: Context, name: str | None = None) -> Context:
    """A context that ends when any of its parents ends; values of the first.

    Args:
        parent: The first: its values, and what `ctx.parent` is.
        others: The others.
        name: For `repr` and error messages.

    Raises:
        TypeError: Something is no context, or `name` no str.
        RuntimeError: They belong to different Trio runs.

    Example::

        with trioctx.merge(request, server) as ctx:
            await handle()
    """
    run = _run_below(parent)
    for other in others:
        _check_parent("others", other)
        run = _same_run(run, other, "others")
    return Context("merge", parent, run, _checks.name("name", name), others=others)


def _check_parent(parameter: str, parent: object) -> None:
    if not isinstance(parent, Context):
        raise TypeError(
            f"{parameter} must be a trioctx.Context, not {parent!r}; "
            "pass trioctx.current() or trioctx.background()"
        )


def _run_below(parent: Context) -> Run | None:
    """The run of what is derived from `parent`: that of the caller, else the parent's."""
    _check_parent("parent", parent)
    return _same_run(enter_run(), parent, "parent")


def _same_run(run: Run | None, parent: Context, parameter: str) -> Run | None:
    theirs = parent._run
    if run is None:
        return theirs
    if theirs is not None and theirs is not run:
        raise RuntimeError(
            f"{parameter} {parent!r} belongs to another Trio run, whose clock is not this one's: "
            "derive from trioctx.background(), and take its values with with_values(..., parent)"
        )
    return run


def _clock_below(parent: Context) -> Run:
    run = _run_below(parent)
    if run is None or run is not this_run():
        raise RuntimeError(
            "a deadline needs the clock of a Trio run: call this inside trio.run, in its thread"
        )
    return run
