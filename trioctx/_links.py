"""Links: what a context's end reaches, and how it gets there.

An end comes from a context's *sources*: from the one that encloses its block, and from every
parent that does not, which it is *linked* to. Before it is entered, all its parents are links. In
the other direction a context knows what is *below* it:

=============================  ================================================================
below an open context          why
=============================  ================================================================
an open context it encloses    once something is below *that*; Trio cancels the context itself
an open context linked to it   has to be told
a context not yet entered      while something is linked to *that*
a watch                        a region or a waiting task that has to be told
=============================  ================================================================

Registration is one dict entry for each step upward, made when the first thing comes below and taken
away on exit, so a parent that lives for ever keeps nothing, and a plain enclosed block costs its
parent nothing. Whether an end *has* come is never decided here but worked out by whoever asks
(`_ends.py`): telling only wakes Trio.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from . import _nesting
from ._clock import Run
from ._values import Values

if TYPE_CHECKING:
    from ._context import Context


class Links(Values):
    """A context's place among the others."""

    __slots__ = ()

    # --- upward ---------------------------------------------------------------------------------

    def _encloser(self) -> Context | None:
        """The context around the block of this one.

        Fixed at entry, but for a task that `nursery.start` is about to move: what encloses that
        task may change until the block is left.
        """
        if self._floating and self._state == "open" and self._outer is self._ground:
            return _nesting.around(self._task)
        return self._outer

    def _is_floating(self) -> bool:
        return self._state == "open" and self._floating

    def _source_of_blocks(self) -> Context | None:
        """The context around the block, if its end counts here."""
        return None if self._shielded else self._encloser()

    def _sources(self) -> tuple[Context, ...]:
        if self._state == "new":
            return self._links
        outer = self._source_of_blocks()
        kin = self._kin
        if kin and self._floating:
            kin = tuple(parent for parent in kin if parent._surrounds(outer))
        return (*self._links, *kin) if outer is None else (*self._links, *kin, outer)

    def _surrounds(self, inner: Context | None) -> bool:
        """Whether the block of this context is around that of `inner`, or is the same.

        One step for each task in between, however many blocks there are.
        """
        if self._state != "open" or self._parent is None:
            return False
        here = inner
        while here is not None:
            if here._task is self._task:
                return self._order <= here._order
            here = _nesting.around(here._task) if here._floating else here._ground
        return False

    def _shield_here(self) -> Context | None:
        """The innermost shielded context at or around this open one."""
        node: Links | None = self
        while node is not None and node._floating and not node._shielded:
            node = node._encloser()
        if node is None:
            return None
        return node._me() if node._shielded else node._shield

    def _reach(self, *, firm: bool) -> float:
        """The deadline as it is now, also of a context that is not entered.

        A firm one does not count what encloses a floating context, as that may change: whoever
        arms a scope with it hears of those others when the floating context is left.
        """
        if self._state == "new":
            if not self._links:
                return self._limit
        elif not self._floating:
            return self._deadline
        earliest = math.inf
        seen: set[Links] = {self}
        todo: list[Links] = [self]
        while todo:
            node = todo.pop()
            if node._state != "new" and not node._is_floating():
                earliest = min(earliest, node._deadline)
                continue
            earliest = min(earliest, node._limit)
            above = node._links if firm or node._state == "new" else node._sources()
            todo += [source for source in above if source not in seen]
            seen.update(above)
        return earliest

    def _come_to_rest(self) -> None:
        """See whether this floating context still floats, and those that it floats with."""
        if _nesting.may_move(self._task, None):
            return
        floating: list[Context] = []
        node: Context | None = self._me()
        while node is not None and node._floating:
            floating.append(node)
            node = node._encloser()
        for node in reversed(floating):
            node._rest(node._encloser())

    def _rest(self, outer: Context | None) -> None:
        """No `started()` will move this open context any more: `outer` encloses it for good."""
        me, run, before = self._me(), self._run, self._outer
        assert run is not None
        for home in (*self._homes, *(() if before is None else (before,))):
            home._unregister(me)
        if before is self._ground:
            self._ground = outer
        else:
            assert outer is not None
            self._ground = outer._ground
        if before is not outer:
            self._floor = run.stamp()
        self._outer, self._homes = outer, ()
        self._floating = False
        self._kin = tuple(parent for parent in self._kin if parent._surrounds(outer))
        self._alive = -1
        limits = [self._limit, *(link._reach(firm=True) for link in self._links)]
        if outer is not None and not self._shielded:
            outer._register(me)
            self._shield = outer._me() if outer._shielded else outer._shield
            limits.append(outer._deadline)
        self._deadline = min(limits)

    # --- registration ---------------------------------------------------------------------------

    def _register(self, item: Context | Watch) -> None:
        """`item` is to be told when this context ends."""
        todo: list[tuple[Links, Context | Watch]] = [(self, item)]
        for node, below in todo:
            # What stands above had nobody to tell here: while it is open until its first time,
            # while it is not entered whenever it has nothing below.
            first = node._below is None
            if node._below is None:
                node._below = {}
            if node._state == "new":
                if not node._below:
                    todo += [(parent, node._me()) for parent in node._links]
            elif first and node._state == "open" and not node._floating:
                outer = node._source_of_blocks()
                if outer is not None:
                    todo.append((outer, node._me()))
            node._below[below] = None

    def _unregister(self, item: Context | Watch) -> None:
        todo: list[tuple[Links, Context | Watch]] = [(self, item)]
        for node, below in todo:
            if node._below is not None:
                node._below.pop(below, None)
                if not node._below and node._state == "new":
                    todo += [(parent, node._me()) for parent in node._links]

    # --- downward -------------------------------------------------------------------------------

    def _spread(self, tell: Callable[[Context | Watch, bool], None]) -> None:
        """Call `tell(item, linked)` for everything below, however far."""
        seen: set[Links] = {self}
        todo: list[Links] = [self]
        while todo:
            node = todo.pop()
            for item in list(node._below or ()):
                if isinstance(item, Watch):
                    tell(item, True)
                    continue
                linked = node in item._links
                if not linked and item._is_floating() and item._encloser() is not node:
                    continue  # registered where its task may come to be, and is not
                tell(item, linked)
                if item not in seen:
                    seen.add(item)
                    todo.append(item)


class Watch:
    """Something below a context that is no context: a cancel scope that ends with the context.

    With `stops` it also ends when the context is stopped, which may leave the context a grace.
    """

    __slots__ = ("__weakref__", "_ctx", "_run", "_scope", "_stops")

    def __init__(self, ctx: Context, *, stops: bool) -> None:
        self._ctx = ctx
        self._stops = stops
        self._run: Run | None = None
        self._scope = trio.CancelScope()
