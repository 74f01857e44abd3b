"""Values: a context as a read-only mapping from ContextVars, and their way into a block."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from . import _checks
from ._node import Given, Node

if TYPE_CHECKING:
    from ._context import Context

T = TypeVar("T")
D = TypeVar("D")
P = ParamSpec("P")

# The context that was entered last, for threads, which have no task that could be asked. A new task
# inherits that of its spawner, so in a task it is a hint that has to be verified.
ENTERED: ContextVar[Context | None] = ContextVar("trioctx.entered", default=None)

_MISSING: Any = object()


def differing(values: contextvars.Context) -> Given:
    """What has to be set so that every variable reads here as it does in `values`."""
    return tuple(
        (var, value)
        for var, value in values.items()
        if var is not ENTERED and var.get(_MISSING) is not value
    )


class Values(Node):
    """The values of a context.

    `_vars` holds them. A stored `contextvars.Context` is shared between contexts and never written:
    what runs under it runs under a copy. `_given` are the values that this very context adds;
    before the context is entered they are mixed into `_vars` only when somebody asks, because a
    block that is entered at once takes a snapshot anyway.
    """

    __slots__ = ()

    def _mapping(self) -> contextvars.Context:
        if self._given and not self._mixed:
            own = self._vars.copy()
            for var, value in self._given:
                own.run(var.set, value)
            self._vars = own
            self._mixed = True
        return self._vars

    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the sync `fn` under this context's values; what it sets is forgotten afterwards.

        Not a checkpoint; any thread. Unlike `contextvars.Context.run` it may be nested and called
        from several threads at once, as each call gets a copy.

        Example::

            print(ctx.run(request_id.get))
        """
        _checks.function("fn", fn)
        values = self._mapping().copy()
        values.run(ENTERED.set, ENTERED.get())  # only the values are others, the place is the same
        return values.run(fn, *args, **kwargs)

    def __getitem__(self, var: ContextVar[T]) -> T:
        """The value of `var` here. `KeyError` if it has none. O(1) at any depth.

        Example::

            user = ctx[current_user]
        """
        _checks.variable("var", var)
        if var is ENTERED:
            raise KeyError(var)
        return self._mapping()[var]

    @overload
    def get(self, var: ContextVar[T]) -> T | None: ...
    @overload
    def get(self, var: ContextVar[T], default: T) -> T: ...
    @overload
    def get(self, var: ContextVar[T], default: D) -> T | D: ...
    def get(self, var: ContextVar[Any], default: Any = None) -> Any:
        """The value of `var` here, else `default` (as `contextvars.Context.get`).

        Example::

            user = ctx.get(current_user, "nobody")
        """
        _checks.variable("var", var)
        return default if var is ENTERED else self._mapping().get(var, default)

    def lookup(self, name: str) -> Any:
        """The value of the variable that was created with this name. `KeyError` if there is none.

        For code that must not import the module in which the variable lives. Where several
        variables of that name have a value, the first that `contextvars` lists is taken.

        Example::

            print(ctx.lookup("request_id"))
        """
        if not isinstance(name, str):
            raise TypeError(f"name must be the name of a ContextVar, a str, not {name!r}")
        for var in self:
            if var.name == name:
                return self._vars[var]
        raise KeyError(name)

    def __contains__(self, var: object) -> bool:
        _checks.variable("var", var)
        return var is not ENTERED and var in self._mapping()

    def __len__(self) -> int:
        values = self._mapping()
        return len(values) - (ENTERED in values)

    def __iter__(self) -> Iterator[ContextVar[Any]]:
        return (var for var in self._mapping() if var is not ENTERED)

    def keys(self) -> KeysView[ContextVar[Any]]:
        """The variables that have a value here.

        Example::

            print([var.name for var in ctx.keys()])
        """
        return self._visible().keys()

    def values(self) -> ValuesView[Any]:
        """Their values.

        Example::

            print(list(ctx.values()))
        """
        return self._visible().values()

    def items(self) -> ItemsView[ContextVar[Any], Any]:
        """The variables with their values.

        Example::

            print({var.name: value for var, value in ctx.items()})
        """
        return self._visible().items()

    def _visible(self) -> dict[ContextVar[Any], Any]:
        return {var: self._vars[var] for var in self}

    def __bool__(self) -> bool:
        """A context is always true, also one without values."""
        return True


Mapping.register(Values)
