"""Place: where a block stands that is being entered; what is around it, what is linked to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._ends import first_end
from ._errors import describe
from ._node import Given
from ._threads import Threads
from ._values import differing

if TYPE_CHECKING:
    from ._clock import Run
    from ._context import Context


class Place(Threads):
    """A context's coming into the tree of nesting, where that is not simply its parent's block."""

    __slots__ = ()

    def _find_place(self, outer: Context | None) -> Given:
        """Find out what is linked, now that `outer` is around; returns the values to set."""
        parents = self._links
        if outer is not None and parents == (self._parent,) and not self._below:
            parent = parents[0]
            if parent._state == "new" and parent._kind.passes and parent._links == (outer,):
                # with_timeout(with_value(ctx, ...)) in ctx: common, by the long way 40 % dearer.
                self._shielded = False
                self._links, self._kin = (), (outer,)
                return parent._given + self._given
        self._shielded = self._is_shielded()
        self._divide(outer)
        if self._below:
            for parent in parents:
                parent._unregister(self._me())
        return self._given_from_above(outer)

    def _is_shielded(self) -> bool:
        """Whether it, or an ancestor that is not entered, was made by `without_cancel`."""
        if self._kind.detaches:
            return True
        todo = [*self._links]
        seen = set(todo)
        for node in todo:
            if node._state == "new":
                if node._kind.detaches:
                    return True
                for parent in node._links:
                    if parent not in seen:
                        seen.add(parent)
                        todo.append(parent)
        return False

    def _divide(self, outer: Context | None) -> None:
        """Tell the parents whose end does not come from the blocks around from those that are
        around."""
        links: tuple[Context, ...] = ()
        kin: tuple[Context, ...] = ()
        for parent in self._links:
            node = parent
            while node._kind.passes and node._state == "new" and node._parent is not None:
                node = node._parent
            if node._parent is None or node in links:
                continue
            if node._is_floating():
                node._come_to_rest()
            if self._shielded or not node._encloses(outer):
                links += (node,)
            else:
                kin += (node,)
        self._links = links
        self._kin = kin

    def _encloses(self, outer: Context | None) -> bool:
        """Whether this context's block is around a new one in `outer`, with no shield between."""
        if not self._surrounds(outer):
            return False
        assert outer is not None
        return self._shield_here() is outer._shield_here()

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

    def _listen_up(self, scope: trio.CancelScope) -> None:
        """Hear from the linked parents from now on, and what came before the block was entered."""
        run = self._run
        assert run is not None
        run.listeners += len(self._links)
        ended = self._event is not None
        for link in self._links:
            link._register(self._me())
            ended = ended or link.done
            limit = link._reach(firm=True)
            if limit < scope.deadline:
                scope.deadline = limit
                self._deadline = min(self._deadline, limit)
        end = first_end(self, enclosing=False) if ended else None
        if end is not None:
            scope.cancel(describe(end.cause))

    def _unlink(self, run: Run) -> None:
        run.listeners -= len(self._links)
        for link in self._links:
            link._unregister(self._me())

    def _catch_up(self) -> None:
        """What was linked to this context before it was entered learns what it has come under."""
        self._pass_limit(self._deadline, stopping=self.stopping)
        end = self._ending()
        if end is not None:
            self._tell_below(describe(end.cause))
