"""Bad input: refused at the call, by an error that names the parameter and shows the value."""

import math
import signal
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import trio
import trio.testing

import trioctx
from trioctx import Context, background

USER: ContextVar[str] = ContextVar("user")

# The names as `Any`, as a caller without a type checker sees them.
ctxlib: Any = trioctx

NAIVE = datetime(2030, 1, 1)
NO_PARENTS: list[Any] = [None, "ctx", 5, Context, trio.CancelScope, {}]
NO_NUMBERS: list[Any] = [True, False, "5", None, Decimal(5), 5j, [5], timedelta(seconds=5)]
NO_SECONDS = [-1, -0.001, -math.inf, math.nan, 10**400]
NO_CAUSES = [OSError, 5, b"text", True, ["text"]]
NO_NAMES = [5, b"name", True, ["name"]]
NO_VARIABLES = ["user", 5, None, ContextVar, trio.lowlevel.RunVar("user")]


def ctx_() -> Any:
    """A context to call methods on."""
    return trioctx.with_cancel(background())


def case(
    call: Callable[[Any], object], parameter: str, values: list[Any], hint: str, name: str
) -> list[Any]:
    """One pytest parameter set for each wrong value."""
    return [
        pytest.param(call, parameter, value, hint, id=f"{name}-{parameter}-{value!r}"[:70])
        for value in values
    ]


PARENT_HINT = r"trioctx\.current\(\)"

CASES: list[Any] = [
    # parents
    *case(lambda v: ctxlib.with_cancel(v), "parent", NO_PARENTS, PARENT_HINT, "with_cancel"),
    *case(lambda v: ctxlib.with_timeout(v, 1), "parent", NO_PARENTS, PARENT_HINT, "with_timeout"),
    *case(lambda v: ctxlib.with_deadline(v, 1), "parent", NO_PARENTS, PARENT_HINT, "with_deadline"),
    *case(lambda v: ctxlib.with_value(v, USER, 1), "parent", NO_PARENTS, PARENT_HINT, "with_value"),
    *case(lambda v: ctxlib.with_values(v, {}), "parent", NO_PARENTS, PARENT_HINT, "with_values"),
    *case(lambda v: ctxlib.without_cancel(v), "parent", NO_PARENTS, PARENT_HINT, "without_cancel"),
    *case(lambda v: ctxlib.merge(v), "parent", NO_PARENTS, PARENT_HINT, "merge"),
    *case(lambda v: ctxlib.merge(background(), v), "others", NO_PARENTS, PARENT_HINT, "merge"),
    *case(lambda v: ctxlib.with_signals(v), "parent", NO_PARENTS, PARENT_HINT, "with_signals"),
    *case(lambda v: ctxlib.after_func(v, print), "ctx", NO_PARENTS, PARENT_HINT, "after_func"),
    # names
    *case(lambda v: ctxlib.with_cancel(background(), name=v), "name", NO_NAMES, "str", "cancel"),
    *case(
        lambda v: ctxlib.with_timeout(background(), 1, name=v), "name", NO_NAMES, "str", "timeout"
    ),
    *case(
        lambda v: ctxlib.with_deadline(background(), 1, name=v), "name", NO_NAMES, "str", "deadline"
    ),
    *case(
        lambda v: ctxlib.with_value(background(), USER, 1, name=v), "name", NO_NAMES, "str", "value"
    ),
    *case(
        lambda v: ctxlib.with_values(background(), {}, name=v), "name", NO_NAMES, "str", "values"
    ),
    *case(
        lambda v: ctxlib.without_cancel(background(), name=v), "name", NO_NAMES, "str", "without"
    ),
    *case(lambda v: ctxlib.merge(background(), name=v), "name", NO_NAMES, "str", "merge"),
    *case(lambda v: ctxlib.with_signals(background(), name=v), "name", NO_NAMES, "str", "signals"),
    # durations and instants
    *case(
        lambda v: ctxlib.with_timeout(background(), v),
        "seconds",
        [*NO_NUMBERS, *NO_SECONDS, math.nan],
        "seconds|math.inf",
        "with_timeout",
    ),
    *case(
        lambda v: ctxlib.with_deadline(background(), v),
        "deadline",
        [*NO_NUMBERS, math.nan, date(2030, 1, 1), 10**400],
        r"current_time\(\)|math\.inf",
        "with_deadline",
    ),
    *case(
        lambda v: ctxlib.with_deadline(background(), v),
        "deadline",
        [NAIVE],
        r"aware.*datetime\.now\(",
        "with_deadline",
    ),
    *case(
        lambda v: ctx_().stop(grace=v),
        "grace",
        [*(v for v in NO_NUMBERS if v is not None), *NO_SECONDS],
        "seconds|math.inf",
        "stop",
    ),
    *case(
        lambda v: ctxlib.with_signals(background(), grace=v),
        "grace",
        [*(v for v in NO_NUMBERS if v is not None), *NO_SECONDS],
        "seconds|math.inf",
        "with_signals",
    ),
    # causes
    *case(lambda v: ctx_().cancel(v), "cause", NO_CAUSES, "exception.*str", "cancel"),
    *case(lambda v: ctx_().stop(v, grace=1), "cause", NO_CAUSES, "exception.*str", "stop"),
    *case(
        lambda v: ctxlib.with_timeout(background(), 1, cause=v),
        "cause",
        NO_CAUSES,
        "exception.*str",
        "with_timeout",
    ),
    *case(
        lambda v: ctxlib.with_deadline(background(), 1, cause=v),
        "cause",
        NO_CAUSES,
        "exception.*str",
        "with_deadline",
    ),
    # variables
    *case(
        lambda v: ctxlib.with_value(background(), v, 1), "var", NO_VARIABLES, "ContextVar", "value"
    ),
    *case(
        lambda v: ctxlib.with_values(background(), {v: 1}),
        "values",
        NO_VARIABLES,
        "ContextVar",
        "with_values key",
    ),
    *case(
        lambda v: ctxlib.with_values(background(), v),
        "values",
        [None, 5, [(USER, 1)], USER],
        "mapping",
        "with_values",
    ),
    *case(lambda v: ctx_()[v], "var", NO_VARIABLES, "ContextVar", "getitem"),
    *case(lambda v: ctx_().get(v), "var", NO_VARIABLES, "ContextVar", "get"),
    *case(lambda v: v in ctx_(), "var", NO_VARIABLES, "ContextVar", "in"),
    *case(lambda v: ctx_().lookup(v), "name", [5, None, USER], "str", "lookup"),
    # functions
    *case(lambda v: ctx_().run(v), "fn", [None, 5, "fn"], "function", "run"),
    *case(lambda v: ctxlib.after_func(background(), v), "fn", [None, 5, "fn"], "function", "after"),
    # signals
    *case(
        lambda v: ctxlib.with_signals(background(), v),
        "signal",
        ["SIGTERM", True, None, 2.0, 0, -1, 100_000],
        "signal",
        "with_signals",
    ),
]


@pytest.mark.parametrize(("call", "parameter", "value", "hint"), CASES)
async def test_refused_at_the_call(
    call: Callable[[Any], object],
    parameter: str,
    value: Any,
    hint: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A TypeError or ValueError that names the parameter, shows the value, says what to pass."""
    with pytest.raises((TypeError, ValueError), match=parameter) as info:
        call(value)
    assert repr(value) in str(info.value)
    info.match(hint)


RUN_CASES: list[Any] = [
    *case(
        lambda v: ctxlib.run(v, signals=()), "async_fn", [None, 5, "main", len], "function", "run"
    ),
    *case(
        lambda v: ctxlib.run(nothing, signals=(), grace=v),
        "grace",
        [True, "5", -1, math.nan],
        "seconds|math.inf",
        "run",
    ),
    *case(
        lambda v: ctxlib.run(nothing, signals=v),
        "signals",
        [None, 5, signal.SIGTERM, "SIGTERM", ["SIGTERM"], [True]],
        "signal",
        "run",
    ),
]


async def nothing(ctx: Context) -> None:
    """A main function."""


@pytest.mark.parametrize(("call", "parameter", "value", "hint"), RUN_CASES)
def test_run_refuses_at_the_call(
    call: Callable[[Any], object], parameter: str, value: Any, hint: str
) -> None:
    """The same for `trioctx.run`, which is called outside of Trio."""
    with pytest.raises((TypeError, ValueError), match=parameter) as info:
        call(value)
    shown = value[0] if isinstance(value, list) else value
    assert repr(shown) in str(info.value)
    info.match(hint)


def test_run_refuses_a_coroutine_object() -> None:
    """It says to pass the function, and leaves nothing un-awaited."""
    with pytest.raises(TypeError, match="async_fn"):
        ctxlib.run(nothing(background()), signals=())


def test_run_refuses_a_function_without_await() -> None:
    """A sync function is no main function, and the error shows it."""

    def main(ctx: Context) -> int:
        return 3

    with pytest.raises(TypeError, match="async_fn"):
        ctxlib.run(main, signals=())


@pytest.mark.parametrize("seconds", [0, -0.0, 1, 0.5, Fraction(1, 2), math.inf, 10**300])
async def test_numbers_that_are_taken(seconds: Any, autojump_clock: trio.testing.MockClock) -> None:
    """Any real number but a bool; the deadline is a float."""
    ctx = trioctx.with_timeout(background(), seconds)
    assert type(ctx.deadline) is float
    assert ctx.deadline == float(seconds)
    assert trioctx.with_deadline(background(), seconds).deadline == float(seconds)
    ctx.stop(grace=seconds)


@pytest.mark.parametrize(
    "cause", [OSError(), KeyboardInterrupt(), SystemExit(), "text", "", None], ids=repr
)
async def test_causes_that_are_taken(
    cause: BaseException | str | None, autojump_clock: trio.testing.MockClock
) -> None:
    """Any exception, a str, nothing."""
    ctx = ctx_()
    ctx.cancel(cause)
    if isinstance(cause, str):
        assert isinstance(ctx.cause, trioctx.ContextCancelled)
        assert str(ctx.cause) == cause
    else:
        assert ctx.cause is cause


async def test_an_aware_datetime_is_taken(autojump_clock: trio.testing.MockClock) -> None:
    """And a naive one is a ValueError."""
    trioctx.with_deadline(background(), datetime.now(UTC))
    with pytest.raises(ValueError, match="naive"):
        trioctx.with_deadline(background(), NAIVE)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (True, TypeError),
        ("5", TypeError),
        (None, TypeError),
        (-1, ValueError),
        (math.nan, ValueError),
    ],
)
async def test_a_wrong_type_and_a_wrong_value_are_told_apart(
    value: Any, error: type[Exception], autojump_clock: trio.testing.MockClock
) -> None:
    """TypeError for the one, ValueError for the other."""
    with pytest.raises(error):
        trioctx.with_timeout(background(), value)


async def test_a_refused_call_leaves_nothing_in_the_parent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An error while deriving changes nothing that can be seen."""
    parent = ctx_()
    shown = repr(parent)
    calls: list[Callable[[], object]] = [
        lambda: ctxlib.with_timeout(parent, -1),
        lambda: ctxlib.with_timeout(parent, 1, cause=5),
        lambda: ctxlib.with_cancel(parent, name=5),
        lambda: ctxlib.merge(parent, None),
        lambda: ctxlib.with_values(parent, {"user": 1}),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError)):
            call()
    assert repr(parent) == shown
    assert parent.deadline == math.inf
    assert not parent.done


@pytest.mark.parametrize("method", ["cancel", "stop"])
async def test_a_refused_cancel_cancels_nothing(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Neither now nor later."""
    ctx = ctx_()
    with pytest.raises(TypeError):
        if method == "cancel":
            ctx.cancel(OSError)
        else:
            ctx.stop(OSError, grace=None)
    assert not ctx.cancelled
    assert not ctx.stopping


async def test_options_are_keyword_only(autojump_clock: trio.testing.MockClock) -> None:
    """`name`, `cause`, `grace` cannot be taken for something else."""
    ctx = ctx_()
    calls: list[Callable[[], object]] = [
        lambda: ctxlib.with_cancel(background(), "name"),
        lambda: ctxlib.with_timeout(background(), 1, "cause"),
        lambda: ctxlib.with_deadline(background(), 1, "cause"),
        lambda: ctxlib.with_value(background(), USER, 1, "name"),
        lambda: ctxlib.without_cancel(background(), "name"),
        lambda: ctx.stop("cause", 5),
        lambda: ctx.stop("cause"),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    assert not ctx.stopping
