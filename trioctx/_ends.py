"""Ends: what ended a context, worked out from time stamps when somebody asks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ._clock import Run, Stamp, all_runs, stamps_everywhere
from ._errors import ContextCancelled, ContextClosed, DeadlineExceeded
from ._links import Links
from ._node import End, Event

if TYPE_CHECKING:
    from ._context import Context


class Ends(Links):
    """The end of a context is worked out when somebody asks, from time stamps.

    Each node remembers what was done to it and when. Its end is the earliest of its own (cancel,
    deadline, end of a stop's grace) and those of its sources; an end of the enclosing block counts
    from the moment of entry, the closing of any other block is an end for what is below it. Where
    two are equal the outer one wins. What was found is final, because all that can be recorded
    later is later in time.
    """

    __slots__ = ()

    def _own_end(self, run: Run | None) -> End | None:
        """The first thing that ended this very node."""
        if self._event is None and self._due is None and self._stop is None:
            return None
        ends: list[End] = []
        if self._event is not None:
            ends.append(End(self._event.seen_from(run), ContextCancelled, None, self._event.cause))
        now = -math.inf if run is None else run.now()
        if self._due is not None and self._due[0] <= now:
            ends.append(End(self._due, DeadlineExceeded, None, self._deadline_cause))
        if self._stop is not None and self._grace[0] <= now:
            ends.append(End(self._grace, ContextCancelled, None, self._stop.cause))
        return min(ends, key=_moment, default=None)

    def _taken_over(self, end: End, source: Context) -> End:
        """The end of `source`, as it counts here: of a block that is only around, from entry on."""
        at = end.at
        if self._state != "new" and source not in self._links and source not in self._kin:
            at = max(at, self._floor)
        if at is end.at and end.node is not None:
            return end
        return End(at, end.error, end.node or source, end.cause)

    def _before_closing(self, end: End | None) -> End | None:
        """`end`, if it came while the block was open; else a cancellation that nobody noticed."""
        if self._state != "closed" or (end is not None and end.at < self._closed):
            return end
        if end is not None and end.at == self._closed and end.node is None:
            return end  # noticed on exit; if it names a node, it is what others made of the closing
        if self._event is None and self._scope is not None and self._scope.cancel_called:
            return End(self._closed, ContextCancelled, None, None)
        return None

    def _end_by_closing(self) -> End | None:
        """What the closing of this block is for those below it."""
        if self._state != "closed":
            return None
        # Made anew for each who asks: kept here, it would be a reference cycle.
        cause = ContextClosed(f"the block of {self._path()} was left", context=self._me())
        return End(self._closed, ContextCancelled, None, cause)

    def _event_now(self, why: BaseException | None) -> Event:
        if self._run is None:
            at, elsewhere = stamps_everywhere()
            return Event(at, why, elsewhere)
        return Event(self._run.stamp(), why)

    def _next_epoch(self) -> None:
        """What was known not to have ended has to be looked at again."""
        for run in all_runs() if self._run is None else (self._run,):
            run.epoch += 1

    def _is_alive(self, epoch: int, now: float) -> bool:
        """Whether this is known not to have ended."""
        return (
            self._state == "open"
            and self._alive == epoch
            and now < self._deadline
            and not self._floating
        )

    def _keep(self, end: End | None, epoch: int) -> None:
        """Remember what was found out in `epoch`."""
        if end is None:
            if self._state == "open":
                self._alive = epoch
        elif self._state != "closed":
            self._end = end


def _moment(end: End) -> Stamp:
    return end.at


def first_end(start: Ends, *, enclosing: bool = True) -> End | None:
    """The first end of `start`: its own or one of its sources', each of theirs likewise.

    Without `enclosing`, what `start` has from the blocks around it does not count. Iterative, as
    contexts nest without bound; sources that lead back to where one came from add nothing. What is
    found about the others on the way is kept, so that it need not be found again.
    """
    run = start._run
    epoch = -1 if run is None else run.epoch
    if not start._sources():
        only = start._before_closing(start._own_end(run))
        start._keep(only, epoch)
        return only
    now = -math.inf if run is None else run.now()
    known: dict[Ends, End | None] = {}
    under_way: set[Ends] = set()
    in_a_circle = False
    todo: list[tuple[Ends, bool]] = [(start, False)]
    while todo:
        node, ready = todo.pop()
        if not ready:
            if node not in known:
                known[node] = None
                under_way.add(node)
                todo.append((node, True))
                todo += [
                    (source, False)
                    for source in node._sources()
                    if source._end is None and not source._is_alive(epoch, now)
                ]
            elif node in under_way:
                in_a_circle = True
            continue
        under_way.remove(node)
        end = node._own_end(run)
        for source in node._sources():
            if node is start and not enclosing and source not in node._links:
                continue
            theirs = source._end or known.get(source)
            if theirs is not None and theirs.node is not node:  # its own end, come back in a circle
                taken = node._taken_over(theirs, source)
                if end is None or taken.at <= end.at:
                    end = taken
        end = node._before_closing(end)
        if end is None and node is not start:
            end = node._end_by_closing()
        known[node] = end
    found = known[start]
    if not in_a_circle:
        if not enclosing:
            del known[start]
        for node, end in known.items():
            node._keep(end, epoch)
    return found
