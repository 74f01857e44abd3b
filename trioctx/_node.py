"""The node: everything that a context remembers. What it does with that are the layers above."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import trio
from attrs import define, field, frozen

from ._clock import Run, Stamp
from ._errors import ContextError

if TYPE_CHECKING:
    from ._context import Context
    from ._links import Watch

State: TypeAlias = Literal["new", "open", "closed"]
Given: TypeAlias = tuple[tuple[ContextVar[Any], Any], ...]

_NO_VALUES = contextvars.Context()
_LINEAGE_SHOWN = 8


@frozen
class End:
    """How a context ended: when, as what error, by which node (None: by itself) and why."""

    at: Stamp
    error: type[ContextError]
    node: Context | None
    cause: BaseException | None


@frozen
class Event:
    """Something done to a context, `cancel` or `stop`: when, and why.

    `elsewhere` is for a context made outside any run: the same moment on the clocks of the runs
    that were alive. `noticed` is a cancellation through plain Trio, whose cause may still turn up.
    """

    at: Stamp
    cause: BaseException | None
    elsewhere: dict[Run, Stamp] = field(factory=dict)
    noticed: bool = False

    def seen_from(self, run: Run | None) -> Stamp:
        """When it was, on the clock of `run`."""
        return self.at if run is None else self.elsewhere.get(run, self.at)


@frozen
class Kind:
    """What made a context, and what follows from that."""

    name: str
    passes: bool = False  # only values: before it is entered it stands for its parent
    detaches: bool = False  # its parent's end does not reach it


@define(eq=False, init=False, repr=False)
class Node:
    """The state of a context, grouped by what it is about.

    What concerns a block is not set before the block is entered: making a context is on the hot
    path, and each of these costs about as much as a function's argument. `_state` guards them.
    """

    # who it is
    _kind: Kind
    _label: str | None  # the name given
    _parent: Context | None
    _run: Run | None  # None while made outside any run and not entered
    _state: State

    # values: `_vars`, to which `_given` are still to be added unless they are `_mixed` in
    _vars: contextvars.Context
    _given: Given
    _mixed: bool  # set where there are `_given`

    # what it ends with: before entry its parents, then those that do not enclose it
    _links: tuple[Context, ...]
    _below: dict[Context | Watch, None] | None

    # its own end
    _deadline: float  # the effective one
    _due: Stamp | None  # its own
    _deadline_cause: BaseException | None  # set with `_due`
    _event: Event | None
    _stop: Event | None
    _limit: float  # the earlier of its own deadline and the end of a stop's grace
    _end: End | None  # once known

    # on Trio
    _scope: trio.CancelScope | None
    _nursery: trio.Nursery | None
    _listen: Callable[[Context], Callable[[], Awaitable[None]]] | None  # with_signals

    # set at entry: where its block is
    _task: trio.lowlevel.Task
    _index: int  # how many nurseries the task had open before
    _below_in_task: Context | None  # the next one entered in the same task
    _ground: Context | None  # what encloses the outermost context of the task
    _outer: Context | None  # what encloses this one
    _floating: bool  # a nursery.start() above may still move the block
    _homes: tuple[Context, ...]  # where a floating context has registered beyond `_outer`
    _shielded: bool
    _shield: Context | None  # the innermost shielded context around it
    _kin: tuple[Context, ...]  # the parents that enclose it from further out than `_outer`
    _order: int  # what was entered earlier has a lower one
    _floor: Stamp  # an end of the enclosing block counts from here on
    _alive: int  # in this epoch of the run nothing but its deadline can have ended it
    _tokens: Sequence[Token[Any]]  # what undoes its values
    _entered: Token[Context | None]

    # set at entry with `async with`
    _manager: AbstractAsyncContextManager[trio.Nursery]
    _spawned: bool  # whether the user started tasks, or could have
    _body_done: bool
    _ordinary: int
    _services: dict[trio.CancelScope, None] | None

    # set by stop()
    _grace: Stamp  # when the grace ends

    # set on exit
    _closed: Stamp

    def __init__(
        self, kind: Kind, parent: Context | None, run: Run | None, name: str | None, given: Given
    ) -> None:
        self._kind = kind
        self._label = name
        self._parent = parent
        self._run = run
        self._state = "new"
        self._given = given
        if given:
            self._mixed = False
        self._below = self._due = self._event = self._stop = self._end = None
        self._scope = self._nursery = self._listen = None
        self._limit = math.inf
        if parent is None:
            self._links = ()
            self._vars = _NO_VALUES
            self._deadline = math.inf
            return
        self._links = () if parent._parent is None else (parent,)
        self._vars = parent._mapping() if parent._given else parent._vars
        if parent._state == "open" and parent._floating:
            self._deadline = parent.deadline
        else:
            self._deadline = parent._deadline

    def _path(self) -> str:
        """`background.with_cancel('serve').with_timeout`, as Go prints a context."""
        parts: list[str] = []
        node: Node | None = self
        while node is not None and len(parts) < _LINEAGE_SHOWN:
            kind = node._kind.name
            parts.append(kind if node._label is None else f"{kind}({node._label!r})")
            node = node._parent
        if node is not None:
            parts.append("...")
        return ".".join(reversed(parts))

    def _me(self) -> Context:
        """This node as what it always is: only the topmost layer has instances."""
        return cast("Context", self)
