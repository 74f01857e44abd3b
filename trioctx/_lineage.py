"""Lineage: what a context tells of itself, its deadline and its end; cancelling it."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from attrs import evolve
from trio.lowlevel import enable_ki_protection

from . import _checks
from ._clock import this_run
from ._ends import Ends, first_end
from ._errors import ContextError, DeadlineExceeded, describe
from ._links import Watch
from ._node import End, Event, State

if TYPE_CHECKING:
    from ._context import Context

# Held for the few lines that decide which cancel or stop was the first. Reentrant, as a signal
# handler may cancel while the thread it interrupts does.
_first_wins = threading.RLock()


class Lineage(Ends):
    """Who a context is, and what it tells of its deadline and its end."""

    __slots__ = ()

    # --- who it is ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name given when the context was made, else the kind of context it is.

        Example::

            assert trioctx.with_cancel(ctx, name="accept").name == "accept"
        """
        return self._kind.name if self._label is None else self._label

    @property
    def parent(self) -> Context | None:
        """The context this one was derived from; None for a root; of a merge the first.

        Example::

            assert trioctx.with_cancel(ctx).parent is ctx
        """
        return self._parent

    @property
    def state(self) -> State:
        """`"new"` until entered, `"open"` inside its block, `"closed"` after it. Roots are open.

        Example::

            assert trioctx.with_cancel(ctx).state == "new"
        """
        return self._state

    # --- deadline -------------------------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When this context ends at the latest: a time of the Trio clock, `math.inf` for never.

        The minimum of its own, its parents', and, once open, the enclosing context's, and of the
        ends of their stops' graces. Not yet entered: as known when it was made. O(1) at any depth,
        where `trio.current_effective_deadline` walks. Any thread.

        Example::

            assert ctx.deadline <= ctx.parent.deadline
        """
        return self._reach(firm=False) if self._is_floating() else self._deadline

    def remaining(self) -> float:
        """Seconds left until `deadline`: never negative, `math.inf` without one. Any thread.

        Example::

            await send(request, timeout=ctx.remaining())
        """
        deadline = self.deadline
        if deadline == math.inf or self._run is None:
            return math.inf
        return max(0.0, deadline - self._run.now())

    # --- end ------------------------------------------------------------------------------------

    @property
    def err(self) -> ContextError | None:
        """None, or how this context ended: a `ContextCancelled` or a `DeadlineExceeded`.

        What happened first in time stays, whenever it is looked at. A context that closed before
        anything ended it has None for ever. The object is made for each caller: compare `.context`
        and `.cause`. Any thread. Go's `ctx.Err()`.

        Example::

            if ctx.err is not None:
                print("ended by", ctx.err.context)
        """
        end = self._ending()
        return None if end is None else self._error(end)

    @property
    def cause(self) -> BaseException | None:
        """The exception that explains `err`: as passed to `cancel`, `stop` or `cause=`; else None.

        Any thread. Go's `context.Cause`, but None where nobody gave one.

        Example::

            log.info("stopped: %s", ctx.cause)
        """
        end = self._ending()
        return None if end is None else end.cause

    @property
    def cancelled(self) -> bool:
        """Whether this context has ended by a cancellation or a deadline: `err is not None`.

        Example::

            while not ctx.cancelled:
                work()
        """
        return self._ending() is not None

    @property
    def done(self) -> bool:
        """Whether this context has ended or its block was left: cancelled or closed.

        Example::

            assert ctx.done == (ctx.cancelled or ctx.state == "closed")
        """
        return self._state == "closed" or self._ending() is not None

    def check(self) -> None:
        """Raise `err` if there is one. Not a checkpoint, any thread: for loops that never await.

        An error from here that reaches this context's own block counts as its cancellation, so a
        block that was ended by its own `cancel()` still ends quietly.

        Raises:
            ContextCancelled: It was cancelled.
            DeadlineExceeded: Its deadline passed.

        Example::

            for row in rows:
                ctx.check()
                digest(row)
        """
        end = self._ending()
        if end is not None:
            raise self._error(end)

    def _error(self, end: End) -> ContextError:
        node = end.node or self._me()
        if end.error is DeadlineExceeded:
            text = f"deadline of {node._path()} exceeded"
        else:
            text = f"{node._path()} was cancelled"
        if end.cause is not None:
            text = f"{text}: {describe(end.cause)}"
        return end.error(text, context=node, cause=end.cause)

    def _ending(self) -> End | None:
        """How this context ended, if it has."""
        if self._end is None:
            run = self._run
            alive = run is not None and self._is_alive(run.epoch, run.now())
            end = None if alive else first_end(self)
            if end is None and self._event is None:
                end = self._notice()
            self._end = end
        return self._end

    def _notice(self) -> End | None:
        """See whether the open scope was cancelled by somebody who knows only Trio."""
        scope = self._scope
        if scope is None or self._state != "open" or self._run is not this_run():
            return None
        assert self._run is not None
        if scope.deadline <= self._run.now() or not scope.cancel_called:
            return None
        self._event = Event(self._run.stamp(), None, noticed=True)
        self._next_epoch()
        return self._own_end(self._run)

    # --- cancel ---------------------------------------------------------------------------------

    @enable_ki_protection
    def cancel(self, cause: BaseException | str | None = None) -> None:
        """End this context and everything below it, through links too.

        The first call wins, later ones change nothing; no effect once the block was left. Not a
        checkpoint, any thread. Go's `CancelCauseFunc`.

        Args:
            cause: Why. A str becomes `ContextCancelled(text)`; its text is Trio's cancel reason.

        Raises:
            RuntimeError: This context has no cancellation of its own: a root, or a value context
                without a scope.
            TypeError: `cause` is neither an exception nor a str.

        Example::

            ctx.cancel("client went away")
        """
        why = _checks.cause("cause", cause)
        self._refuse_without_scope("cancel")
        self._cancel(why)

    def _refuse_without_scope(self, what: str) -> None:
        if self._parent is None:
            raise RuntimeError(
                f"{self._path()} never ends: {what}() a context made by with_cancel({self.name}())"
            )
        if self._kind.passes and self._scope is None and self._state != "closed":
            raise RuntimeError(
                f"{self._path()} only carries values and has nothing to {what}: "
                "make it from with_cancel(parent), or cancel that"
            )

    def _cancel(self, why: BaseException | None) -> None:
        if self._record(why):
            self._deliver(describe(why))

    def _record(self, why: BaseException | None) -> bool:
        """Remember that this node was cancelled now, if it is the first time."""
        with _first_wins:
            if self._event is not None or self._state == "closed":
                return False
            self._event = self._event_now(why)
        self._next_epoch()
        if self._is_floating():
            self._ending()  # before a move brings the end of something else
        return True

    def _explain(self, why: BaseException) -> None:
        """`why` explains a cancellation that was noticed without a cause."""
        if self._event is not None and self._event.noticed:
            self._event = evolve(self._event, cause=why, noticed=False)
            assert self._end is not None  # that is how it was noticed
            self._end = evolve(self._end, cause=why)

    def _deliver(self, reason: str | None) -> None:
        """Hand the end to Trio, here and below."""

        def deliver() -> None:
            if self._scope is not None and self._state == "open":
                self._scope.cancel(reason)
            self._tell_below(reason)

        if self._run is None:
            deliver()
        else:
            self._run.call(deliver)

    def _tell_below(self, reason: str | None) -> None:
        """Wake what does not hear from Trio that this context ended or closed."""

        def tell(item: Context | Watch, linked: bool) -> None:
            scope, run = item._scope, item._run
            if linked and scope is not None and run is not None:
                run.call(lambda: scope.cancel(reason))

        if self._below and (self._run is None or self._run.listeners):
            self._spread(tell)
