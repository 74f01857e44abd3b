"""Deriving: the roots, `current()`, and every way to make a context from another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TypeVar

from trio.lowlevel import current_task

from . import _checks, _nesting
from ._clock import AT_DEADLINE, Run, enter_run
from ._context import Context
from ._nesting import innermost
from ._node import Given, Kind

T = TypeVar("T")


_CANCEL = Kind("with_cancel")
_TIMEOUT = Kind("with_timeout")
_DEADLINE = Kind("with_deadline")
_VALUE = Kind("with_value", passes=True)
_VALUES = Kind("with_values", passes=True)
_WITHOUT_CANCEL = Kind("without_cancel", detaches=True)
_MERGE = Kind("merge")


def _root(name: str) -> Context:
    root = Context(Kind(name), None, None, None, ())
    root._state = "open"
    root._shielded = root._floating = False
    root._outer = root._ground = None
    root._kin = ()
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
    try:
        ctx = innermost.get(current_task())
    except RuntimeError:
        ctx = None
    if ctx is not None:  # entered in this very task: 40 % less than by the next line
        return ctx
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
    return make(_CANCEL, parent, name)


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
    if type(seconds) is not float or not seconds >= 0.0:
        seconds = _checks.seconds("seconds", seconds)
    if not isinstance(parent, Context):
        check_context("parent", parent)
    run = enter_run()  # as _clock_for; without its call and that of the next check: 1 to 2 %
    if run is None or run is not parent._run:
        run = _clock_for(parent)
    if name is not None:
        _checks.name("name", name)
    now = run.now()
    ctx = Context(_TIMEOUT, parent, run, name, ())
    _limit(ctx, now + seconds, now, cause)
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
    run = _clock_for(parent)
    now = run.now()
    ctx = Context(_DEADLINE, parent, run, _checks.name("name", name), ())
    _limit(ctx, _checks.instant("deadline", deadline, now), now, cause)
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
    if not isinstance(var, ContextVar):
        _checks.variable("var", var)
    return make(_VALUE, parent, name, ((var, value),))


def with_values(
    parent: Context,
    values: Mapping[ContextVar[Any], Any] | Context,
    *,
    name: str | None = None,
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
    return make(_VALUES, parent, name, given)


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
    check_context("parent", parent)
    ctx = Context(_WITHOUT_CANCEL, parent, enter_run(), _checks.name("name", name), ())
    ctx._links = ()
    ctx._deadline = math.inf
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
    ctx = make(_MERGE, parent, name)
    for other in others:
        check_context("others", other)
        ctx._run = _same_run(ctx._run, other, "others")
        ctx._deadline = min(ctx._deadline, other.deadline)
        if other._parent is not None and other not in ctx._links:
            ctx._links += (other,)
    return ctx


def make(kind: Kind, parent: Context, name: str | None, given: Given = ()) -> Context:
    """A new context of the caller's run, or, outside any, of its parent's."""
    if not isinstance(parent, Context):
        check_context("parent", parent)
    run = enter_run()
    if run is not parent._run:
        run = _same_run(run, parent, "parent")
    return Context(kind, parent, run, name if name is None else _checks.name("name", name), given)


def check_context(parameter: str, value: object) -> None:
    """Refuse what is no context."""
    if not isinstance(value, Context):
        raise TypeError(
            f"{parameter} must be a trioctx.Context, not {value!r}; "
            "pass trioctx.current() or trioctx.background()"
        )


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


def _clock_for(parent: Context) -> Run:
    """The run of the caller and of `parent`."""
    if not isinstance(parent, Context):
        check_context("parent", parent)
    run = enter_run()
    if run is None:
        raise RuntimeError(
            "a deadline needs the clock of a Trio run: call this inside trio.run, in its thread"
        )
    if run is not parent._run:
        _same_run(run, parent, "parent")
    return run


def _limit(ctx: Context, deadline: float, now: float, cause: BaseException | str | None) -> None:
    """Give a new context a deadline; one that has passed ends it at its birth."""
    if cause is not None:
        cause = _checks.cause("cause", cause)
    ctx._deadline_cause = cause
    if deadline > now:
        if deadline == math.inf:
            return
        ctx._due = (deadline, AT_DEADLINE)
        ctx._limit = deadline
    else:
        assert ctx._run is not None
        ctx._due = ctx._run.stamp()
        ctx._limit = deadline
    if deadline < ctx._deadline:
        ctx._deadline = deadline
