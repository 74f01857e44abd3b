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
from ._errors import ContextClosed, ContextError

if TYPE_CHECKING:
    from ._context import Context
    from ._links import Watch

State: TypeAlias = Literal["new", "open", "closed"]
Given: TypeAlias = tuple[tuple[ContextVar[Any], Any], ...]

_NO_VALUES = contextvars.Context()
_NEVER: Stamp = (-math.inf, 0)


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


@define(eq=False, init=False, repr=False)
class Node:
    """The state of a context. Grouped by the module that answers for it."""

    # who it is (_lineage)
    _kind: str
    _name: str
    _parent: Context | None
    _run: Run | None  # None while made outside any run and not entered
    _state: State

    # values (_values): `_vars` without `_given` unless `_mixed`; the tokens that undo them
    _vars: contextvars.Context
    _given: Given
    _mixed: bool
    _tokens: list[Token[Any]] | None
    _entered: Token[Any] | None

    # where its block is (_nesting, _place)
    _task: trio.lowlevel.Task | None
    _index: int  # how many nurseries the task had open before
    _below_in_task: Context | None  # the next one entered in the same task
    _ground: Context | None  # what encloses the outermost context of the task
    _outer: Context | None  # what encloses this one
    _floating: bool  # a nursery.start() above may still move the block
    _homes: tuple[Context, ...]  # where a floating context has registered beyond `_outer`
    _opened: Stamp
    _closed: Stamp | None

    # what it ends with (_links): before entry the parents, then those that do not enclose it
    _links: tuple[Context, ...]
    _below: dict[Context | Watch, None] | None
    _passes: bool  # a value context: before it is entered it stands for its parent
    _detaches: bool  # made by without_cancel
    _detached: bool  # that, or perhaps derived from such a one before that was entered
    _shielded: bool
    _shield: Context | None  # the innermost shielded context around it

    # its own end (_lineage, _stop)
    _deadline: float  # the effective one
    _due: Stamp | None  # its own
    _deadline_cause: BaseException | None
    _event: Event | None
    _stop: Event | None
    _grace: float  # when the grace of a stop ends
    _is_stopping: bool
    _end: End | None  # once known
    _closing: ContextClosed | None

    # on Trio (_tasks, _context)
    _scope: trio.CancelScope | None
    _nursery: trio.Nursery | None
    _manager: AbstractAsyncContextManager[trio.Nursery] | None
    _listen: Callable[[Context], Callable[[], Awaitable[None]]] | None  # with_signals
    _spawned: bool  # whether the user started tasks, or could have
    _body_done: bool
    _ordinary: int
    _services: dict[trio.CancelScope, None] | None

    def __init__(
        self,
        kind: str,
        parent: Context | None,
        run: Run | None,
        name: str | None,
        *,
        given: Given = (),
        others: Sequence[Context] = (),
    ) -> None:
        self._kind = kind
        self._name = kind if name is None else name
        self._parent = parent
        self._run = run
        self._given = given
        self._mixed = not given
        self._state = "new"
        self._shielded = self._floating = False
        self._passes = self._detaches = self._detached = False
        self._spawned = self._body_done = self._is_stopping = False
        self._ordinary = self._index = 0
        self._opened = _NEVER
        self._closed = self._due = self._deadline_cause = None
        self._event = self._stop = self._end = self._closing = None
        self._grace = self._deadline = math.inf
        self._outer = self._ground = self._below = self._below_in_task = self._shield = None
        self._task = self._scope = self._nursery = self._services = None
        self._tokens = self._entered = self._manager = self._listen = None
        self._homes = self._links = ()
        if parent is None:
            self._vars = _NO_VALUES
            return
        self._vars = parent._vars if parent._mixed else parent._mapping()
        self._deadline = parent.deadline
        self._detached = parent._detached and parent._state == "new"
        if parent._parent is not None:
            self._links = (parent,)
        for other in others:
            self._deadline = min(self._deadline, other.deadline)
            self._detached |= other._detached and other._state == "new"
            if other._parent is not None and other not in self._links:
                self._links += (other,)

    def _me(self) -> Context:
        """This node as what it always is: only the topmost layer has instances."""
        return cast("Context", self)
