"""Place: where a block stands that is being entered; taking it up and giving it up again."""

from __future__ import annotations

from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING

import trio

from . import _nesting
from ._clock import Run
from ._errors import describe
from ._node import Given
from ._threads import Threads
from ._values import ENTERED, differing

if TYPE_CHECKING:
    from ._context import Context


class Place(Threads):
    """A context's coming into and out of the tree of nesting."""

    __slots__ = ()

    def _place(self, task: trio.lowlevel.Task, run: Run) -> tuple[Given, float]:
        """Find out what is around and what is linked; returns the values to set and the limit of
        the scope."""
        outer = _nesting.enclosing(task)
        parents = self._links
        given = self._given
        if self._detached or (parents and (parents[0] is not outer or len(parents) > 1)):
            self._shielded = self._is_shielded()
            self._links = self._linked(outer)
            given = self._given_from_above(outer)
        else:
            self._links = ()
        if self._below:
            for parent in parents:
                parent._unregister(self._me())
        self._run = run
        self._outer = outer
        if outer is not None and outer._task is task:
            self._ground = outer._ground
            self._floating = outer._floating
        else:
            self._ground = outer
            self._floating = _nesting.may_move(task, outer)
        limit = self._own_limit()
        for link in self._links:
            limit = min(limit, link.deadline)
        return given, limit

    def _open(self, task: trio.lowlevel.Task, run: Run, given: Given, limit: float) -> None:
        """From here on the block counts as entered."""
        outer = self._outer
        self._task = task
        self._index = len(task.child_nurseries) - (self._nursery is not None)
        self._opened = run.stamp()
        if given:
            self._install(given)
        self._vars = copy_context()
        self._mixed = True
        self._entered = ENTERED.set(self._me())
        self._state = "open"
        _nesting.push(task, self._me())
        self._deadline = limit
        if outer is not None and not self._shielded:
            self._deadline = min(limit, outer._deadline)
            self._shield = outer if outer._shielded else outer._shield
            below = outer._below
            if below is None:
                outer._below = {self._me(): None}
            else:
                below[self._me()] = None
        if self._floating:
            self._homes = tuple(_nesting.destinations(task))
            for home in self._homes:
                home._register(self._me())
        if self._links:
            self._link(run)
        if self._event is not None and self._scope is not None:
            self._scope.cancel(describe(self._event.cause))
        if self._below:
            self._catch_up()

    def _link(self, run: Run) -> None:
        run.listeners += len(self._links)
        scope = self.cancel_scope
        for link in self._links:
            link._register(self._me())
            end = link._ending() or link._end_by_closing()
            if end is not None:
                scope.cancel(describe(end.cause))

    def _catch_up(self) -> None:
        """What was linked to this context before it was entered learns what that has come under."""
        self._pass_limit(self._deadline, stopping=self.stopping)
        end = self._ending()
        if end is not None:
            self._tell_below(describe(end.cause))

    def _leave(self) -> None:
        """The block counts as left."""
        outer = self._outer
        if self._floating:
            self._outer = self._encloser()
            for home in self._homes:
                home._unregister(self._me())
        task, run = self._task, self._run
        assert task is not None and run is not None and self._entered is not None
        self._closed = run.stamp()
        self._state = "closed"
        _nesting.pop(task, self._me())
        if self._tokens is not None:
            self._uninstall()
        with suppress(ValueError):
            ENTERED.reset(self._entered)
        self._entered = self._task = self._ground = self._nursery = None
        if outer is not None and outer._below is not None:
            outer._below.pop(self._me(), None)
        if self._links:
            run.listeners -= len(self._links)
            for link in self._links:
                link._unregister(self._me())
        if self._below:
            self._tell_below("the block was left")

    # --- what is around, what is linked ---------------------------------------------------------

    def _is_shielded(self) -> bool:
        """Whether it, or an ancestor that is not entered, was made by `without_cancel`."""
        todo: list[Place] = [self] if self._detached else []
        while todo:
            node = todo.pop()
            if node._detaches:
                return True
            todo += [parent for parent in node._links if parent._state == "new"]
        return False

    def _linked(self, outer: Context | None) -> tuple[Context, ...]:
        """The parents whose end does not come from the blocks around."""
        links: dict[Context, None] = {}
        for parent in self._links:
            node = parent
            while node._passes and node._state == "new" and node._parent is not None:
                node = node._parent
            if node._parent is not None and (self._shielded or not node._encloses(outer)):
                links[node] = None
        return tuple(links)

    def _encloses(self, outer: Context | None) -> bool:
        """Whether this context's block is around a new one in `outer`, with no shield between."""
        if not self._surrounds(outer):
            return False
        assert outer is not None
        return self._shield_here() is outer._shield_here()

    def _shield_here(self) -> Context | None:
        """The innermost shielded context at or around this open one."""
        node: Place | None = self
        while node is not None and node._floating and not node._shielded:
            node = node._encloser()
        if node is None:
            return None
        return node._me() if node._shielded else node._shield

    def _given_from_above(self, outer: Context | None) -> Given:
        """The values to set: those of the contexts between this one and the block around it, and
        all of a linked parent's."""
        given = self._given
        node = self._parent
        while node is not None and node._state == "new":
            given = node._given + given
            node = node._parent
        if node is None or node._parent is None or node._encloses(outer):
            return given
        return differing(node._mapping()) + given
