"""What may be passed to the library, and what is said of what may not."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Coroutine
from contextvars import ContextVar
from datetime import UTC, datetime
from inspect import iscoroutinefunction
from numbers import Real
from types import CoroutineType
from typing import Any, NoReturn, TypeVar

from ._errors import ContextCancelled

T = TypeVar("T")


def _wrong_type(parameter: str, value: object, wanted: str) -> NoReturn:
    raise TypeError(f"{parameter} must be {wanted}, not {value!r} ({type(value).__name__})")


def seconds(parameter: str, value: float) -> float:
    """`value` as a duration: a float, not negative, `math.inf` allowed."""
    if type(value) is int and 0 <= value < 1 << 53:  # no need to ask an abstract base class
        return float(value)
    if type(value) is not float:
        value = _number(parameter, value, "a number of seconds (math.inf for no limit)")
    if value >= 0.0:
        return value
    raise ValueError(
        f"{parameter} must be a number of seconds that is not negative, not {value!r}; "
        "pass 0 to end at once, math.inf for no limit"
    )


def grace(parameter: str, value: float | None) -> float:
    """`value` as the grace of a stop: None is one without end."""
    return math.inf if value is None else seconds(parameter, value)


def instant(parameter: str, value: float | datetime, now: float) -> float:
    """`value` as a time of the Trio clock that reads `now`."""
    if isinstance(value, datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise ValueError(
                f"{parameter} must be an aware datetime, not the naive {value!r}; "
                "pass datetime.now(timezone.utc) + timedelta(...)"
            )
        return now + (value - datetime.now(UTC)).total_seconds()
    number = _number(parameter, value, "a time of trio.current_time(), or an aware datetime")
    if math.isnan(number):
        raise ValueError(f"{parameter} must be a time of trio.current_time(), not {value!r}")
    return number


def _number(parameter: str, value: object, wanted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        _wrong_type(parameter, value, wanted)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(
            f"{parameter} is too large for a clock: {value!r}; pass math.inf for no limit"
        ) from None


def cause(parameter: str, value: BaseException | str | None) -> BaseException | None:
    """`value` as a cause: a str becomes `ContextCancelled(text)`."""
    if value is None or isinstance(value, BaseException):
        return value
    if isinstance(value, str):
        return ContextCancelled(value)
    _wrong_type(parameter, value, "an exception (an instance), a str or None")


def name(parameter: str, value: str | None) -> str | None:
    """`value` as a context's name."""
    if value is None or isinstance(value, str):
        return value
    _wrong_type(parameter, value, "a str or None")


def variable(parameter: str, value: object) -> None:
    """Refuse what is no ContextVar."""
    if not isinstance(value, ContextVar):
        _wrong_type(parameter, value, 'a contextvars.ContextVar, as in ContextVar("request_id")')


def function(parameter: str, value: object) -> None:
    """Refuse what cannot be called."""
    if callable(value):
        return
    if isinstance(value, Coroutine):
        value.close()
        _wrong_type(parameter, value, "the function itself: pass fn, arg instead of fn(arg)")
    _wrong_type(parameter, value, "a function")


def sync_function(parameter: str, value: object) -> None:
    """Refuse what is no sync function."""
    function(parameter, value)
    if iscoroutinefunction(value):
        raise TypeError(
            f"{parameter} must be a sync function, and {value!r} is async: start_soon it"
        )


def sync_result(parameter: str, made: T, fn: object) -> T:
    """What calling the sync `fn` made, if it is not a coroutine: then it was async in disguise."""
    if isinstance(made, Coroutine):
        made.close()
        raise TypeError(
            f"{parameter} must be a sync function, but {fn!r} returned a coroutine: start_soon it"
        )
    return made


def coroutine(parameter: str, made: Awaitable[T], fn: object) -> Coroutine[Any, Any, T]:
    """What calling `fn` made, if it is a coroutine."""
    if type(made) is CoroutineType or isinstance(made, Coroutine):
        return made
    raise TypeError(
        f"{parameter} must be an async function for Trio: {fn!r} returned {made!r} "
        "instead of a coroutine; for a sync function use run_in_thread"
    )
