"""Outcome: what a block raises. The table "How a block ends" of the documentation, as code."""

from __future__ import annotations

import trio

from ._ends import first_end
from ._errors import ContextCancelled, raise_as_it_is
from ._node import End, Event
from ._place import Place
from ._tasks import leaves, named


class Outcome(Place):
    """How the end of a context and what came out of its block make what the block raises."""

    __slots__ = ()

    def _unwrapped(self, exc: BaseException | None, raised: BaseException) -> BaseException:
        """What is left of the group that a nursery made of the body's `exc`.

        The body's own error stays bare where no task was ever started, and its own group always.
        """
        if exc is None or not isinstance(raised, BaseExceptionGroup) or len(raised.exceptions) > 1:
            return raised
        inner: BaseException = raised.exceptions[0]
        if isinstance(exc, BaseExceptionGroup):
            # Trio copies a group to take the Cancelled out.
            own = {id(leaf) for leaf in leaves(exc)}
            rest = {id(leaf) for leaf in leaves(inner)}
            return exc if own == rest else inner if own > rest else raised
        return exc if inner is exc and not self._spawned else raised

    def _outcome(self, exc: BaseException | None, left: BaseException | None) -> bool:
        """Decide what a block that did not simply finish raises; True swallows `exc`.

        `left` is what Trio would raise. An error wins, then an enclosing cancellation, which Trio
        delivers, then the end of this context.
        """
        rest: BaseException | None = None
        try:
            caught = self._scope is not None and self._scope.cancelled_caught
            rest = None if left is None else self._without_own_end(left)
            caught = caught or rest is not left
            self._settle(rest)
            if rest is not None and rest is not exc:
                raise_as_it_is(rest)
            if rest is None and caught:
                end = self._end_apart()
                if end is not None and not (end.node is None and end.error is ContextCancelled):
                    if left is None or left is not exc or not isinstance(left, end.error):
                        raise_as_it_is(self._error(end))
                    rest = left
            return rest is None
        finally:
            del exc, left, rest

    def _without_own_end(self, exc: BaseException) -> BaseException | None:
        """`exc` without the errors that only tell of this context's own end."""
        if type(exc) is trio.Cancelled or not any(map(named, leaves(exc))):
            return exc
        end = self._end_apart()

        def tells(leaf: BaseException) -> bool:
            return end is not None and named(leaf) is (end.node or self)

        if isinstance(exc, BaseExceptionGroup):
            told, rest = exc.split(tells)
            return exc if told is None else rest
        return None if tells(exc) else exc

    def _end_apart(self) -> End | None:
        """How this context ended, apart from the blocks around it."""
        end, apart = self._ending(), first_end(self, enclosing=False)
        return end if end == apart else apart

    def _settle(self, left: BaseException | None) -> None:
        """Remember an end that came about through plain Trio, now that the block is left."""
        why = None if left is None else self._failure(left)
        if why is not None:
            self._explain(why)
        if self._event is not None:
            return
        end = self._ending()
        if end is None or end.at == self._closed:
            self._event = Event(self._closed, why)
            self._end = None
