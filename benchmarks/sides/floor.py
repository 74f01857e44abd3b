"""What the Trio calls cost that no context can do without, where a goal is near that or below it.

Not a peer: none of these is a context. Public Trio API only, and the least code around it.
"""

from collections.abc import Callable
from contextvars import Token, copy_context
from functools import partial
from time import perf_counter

import trio
from trio.lowlevel import current_task

from . import Figures, Work
from .bare_trio import checks
from .shared import loops, variables
from .shared.cost import SECONDS, awaits, blocks, cancel_all, checked, each, nothing
from .shared.loops import AsyncFunction
from .shared.memory import memory
from .shared.variables import VAR

LACKS: dict[str, str] = {}


class Timeout:
    """A scope with its deadline, by a task that was asked for."""

    __slots__ = ("_scope", "_task")

    def __enter__(self) -> None:
        self._task = current_task()
        self._scope = trio.CancelScope(deadline=trio.current_time() + SECONDS)
        self._scope.__enter__()

    def __exit__(self, *exc: object) -> bool:
        return bool(self._scope.__exit__(None, None, None))


class Value:
    """A variable set and reset, by a task that was asked for."""

    __slots__ = ("_task", "_token")
    _token: Token[str]

    def __enter__(self) -> None:
        self._task = current_task()
        self._token = VAR.set("set")

    def __exit__(self, *exc: object) -> None:
        VAR.reset(self._token)


class Remembering:
    """A scope, with the values that stood when it was entered, found again through a variable."""

    __slots__ = ("_scope", "_token", "_values")
    _token: Token[str]

    def __enter__(self) -> None:
        self._values = copy_context()
        self._scope = trio.CancelScope()
        self._scope.__enter__()
        self._token = VAR.set("set")

    def __exit__(self, *exc: object) -> bool:
        VAR.reset(self._token)
        return bool(self._scope.__exit__(None, None, None))


class Registered:
    """A scope that whoever is to cancel it finds in a set."""

    __slots__ = ("_scope", "_scopes", "_task")

    def __init__(self, scopes: set[trio.CancelScope]) -> None:
        self._scopes = scopes

    def __enter__(self) -> None:
        self._task = current_task()
        self._scope = trio.CancelScope()
        self._scopes.add(self._scope)
        self._scope.__enter__()

    def __exit__(self, *exc: object) -> bool:
        self._scopes.discard(self._scope)
        return bool(self._scope.__exit__(None, None, None))


def registering(_: object) -> Callable[[], Registered]:
    return partial(Registered, set())


async def wrapped(fn: AsyncFunction) -> None:
    """A context has to know of its children's ends, to tell why it was cancelled."""
    await fn()


async def one_task(_: object) -> None:
    current_task()
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + SECONDS
        nursery.start_soon(wrapped, nothing)


async def start_soon(size: int) -> Figures:
    async with trio.open_nursery() as nursery:
        began = perf_counter()
        for _ in range(size):
            nursery.start_soon(wrapped, nothing)
    return each(began, size)


async def cancel_through(sleeper: AsyncFunction, tasks: int) -> float:
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(wrapped, sleeper)
        for _ in range(2):
            await trio.lowlevel.checkpoint()
        began = perf_counter()
        nursery.cancel_scope.cancel()
    return perf_counter() - began


async def current(size: int) -> Figures:
    """Which context stands in a variable, and whether its block encloses the running task."""
    get: Callable[[], str] = VAR.get
    began = perf_counter()
    for _ in range(size):
        get()
        current_task().parent_nursery  # noqa: B018 - only the look is timed
    return each(began, size)


def works() -> dict[str, Work]:
    around = trio.CancelScope
    return {
        "with_timeout": blocks(
            "CancelScope(deadline=...), current_task()", around, lambda _: Timeout, checks.timeout
        ),
        "with_value": blocks(
            "ContextVar.set, reset, current_task()", around, lambda _: Value, variables.check
        ),
        "linked_new": blocks(
            "CancelScope in a set, current_task()", around, registering, checks.elsewhere
        ),
        "tasks_one": awaits("open_nursery, a wrapped task", around, one_task, checks.tasks),
        "start_soon": Work("nursery.start_soon, wrapped", start_soon, checked(checks.start_soon)),
        "cancel_all": cancel_all("a nursery of wrapped tasks", loops.on_trio, cancel_through),
        "memory_with_cancel": memory(
            "CancelScope, copy_context(), a token",
            around,
            lambda _: Remembering(),
            checks.cancel,
        ),
        "current": Work("ContextVar.get(), current_task()", current, checked(variables.check)),
    }
