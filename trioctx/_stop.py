"""Stopping in two phases, and waiting: for a stop, for an end."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, final

import trio
from trio.lowlevel import enable_ki_protection

from . import _checks, _nesting
from ._clock import AT_GRACE, Run, enter_run
from ._errors import describe
from ._lineage import Lineage, _first_wins
from ._links import Links, Watch

if TYPE_CHECKING:
    from ._context import Context


class Stopping(Lineage):
    """What a context knows about coming to an end by and by."""

    __slots__ = ()

    @enable_ki_protection
    def stop(self, cause: BaseException | str | None = None, *, grace: float | None) -> None:
        """Ask everything below to finish; after `grace` seconds cancel what has not.

        At once `stopping` becomes true for this context and all below, through links too, and every
        `until_stopping()` region there ends. Work that finishes within the grace is never
        interrupted. A second call can shorten the grace, never lengthen it; the first cause stays.
        Not a checkpoint, any thread. Unlike `cancel`, which is phase two alone.

        Args:
            cause: Why. A str becomes `ContextCancelled(text)`.
            grace: Seconds until phase two; None or `math.inf` for no phase two.

        Raises:
            RuntimeError: As `cancel`; or there is a grace, and the context was made outside any
                Trio run, so that no clock could measure it.
            TypeError, ValueError: A wrong `cause`; `grace` is no number, negative or NaN.

        Example::

            ctx.stop("SIGTERM", grace=10)
        """
        why = _checks.cause("cause", cause)
        limit = _checks.grace("grace", grace)
        self._refuse_without_scope("stop")
        run = self._run
        if run is None and limit != math.inf:
            raise RuntimeError(
                f"{self._path()} was made outside any Trio run, so grace={grace!r} has no clock; "
                "make the context inside trio.run, or pass grace=None"
            )
        with _first_wins:
            if self._state == "closed":
                return
            end = math.inf if run is None else run.now() + limit
            at = (end, AT_GRACE) if run is None or limit > 0 else run.stamp()
            if self._stop is None:
                self._grace = at
                self._stop = self._event_now(why)
            self._grace = min(self._grace, at)
            self._limit = min(self._limit, end)
            self._deadline = min(self._deadline, end)
        self._next_epoch()
        if run is None:
            self._begin_stop(end)
        else:
            run.call(lambda: self._begin_stop(end))

    def _begin_stop(self, end: float) -> None:
        """Phase one, and the deadline of phase two, here and below."""
        assert self._stop is not None
        if self._run is not None and end <= self._run.now():
            self._deliver(describe(self._stop.cause))
        if self._state == "open":
            _limit(self._scope, end)
            self._lower(end)
        if self._below:
            self._pass_limit(end, stopping=True)

    def _pass_limit(self, end: float, *, stopping: bool) -> None:
        """Those below have until `end`; what stops with this context ends now."""

        def tell(item: Context | Watch, linked: bool) -> None:
            run = item._run
            if not isinstance(item, Watch):
                if linked and item._state == "open":
                    item._lower(end)
            elif stopping and item._stops and run is not None:
                run.call(item._scope.cancel)
                return
            if linked and run is not None:
                run.call(lambda: _limit(item._scope, end))

        self._spread(tell)

    def _lower(self, end: float) -> None:
        """No `deadline` in this open block is later than `end`, unless a shield is between."""
        shield = self._shield_here()
        for node in (self, *_nesting.inside(self._me())):
            if node._shield_here() is shield:
                node._deadline = min(node._deadline, end)

    @property
    def stopping(self) -> bool:
        """Whether this context, or one that it ends with, was stopped; or it has ended or closed.

        Any thread.

        Example::

            while not ctx.stopping:
                await serve_one()
        """
        return self.done or self._was_stopped()

    def _was_stopped(self) -> bool:
        seen: set[Lineage] = {self}
        todo: list[Lineage] = [self]
        while todo:
            node = todo.pop()
            if node._stop is not None:
                return True
            above = [source for source in node._sources() if source not in seen]
            seen.update(above)
            todo += above
        return False

    def until_stopping(self) -> AbstractContextManager[None]:
        """A region for `with` that a stop of this context ends at once, quietly.

        For what need not be finished: an accept loop, waiting for the next request. Ends at its
        next checkpoint when this context is stopped, ends or closes; at its first, if that has
        happened already. The cancellation of an enclosing block passes through it.

        Raises:
            RuntimeError: On entry, outside the context's Trio run, or for the second time.

        Example::

            with ctx.until_stopping():
                while True:
                    await handle(await listener.accept())
        """
        return Region(self._me(), stops=True)

    async def wait_stopping(self) -> None:
        """Wait until this context is `stopping`. A checkpoint.

        Raises:
            RuntimeError: In another Trio run than the context's.

        Example::

            await ctx.wait_stopping()
            await listener.aclose()
        """
        run_of(self)
        await trio.lowlevel.checkpoint()
        while not self.stopping:
            with Region(self._me(), stops=True, firm=False):
                await trio.sleep_forever()

    async def wait_done(self) -> None:
        """Wait until this context has ended or closed. A checkpoint. Go's `<-ctx.Done()`.

        Inside the context's own block there is nothing to wait for: Trio's `Cancelled` comes first.

        Raises:
            RuntimeError: In another Trio run than the context's.

        Example::

            await other.wait_done()
            print("ended:", other.cause)
        """
        run_of(self)
        await trio.lowlevel.checkpoint()
        while not self.done:
            with Region(self._me(), stops=False, firm=False):
                await trio.sleep_forever()


def run_of(ctx: Links) -> Run:
    """The run of the caller, which must be that of `ctx`."""
    run = enter_run()
    if run is None:
        raise RuntimeError("there is no Trio run here: call this inside trio.run")
    if ctx._run is not None and ctx._run is not run:
        raise RuntimeError("a context belongs to the Trio run it was made in, and this is another")
    return run


@final
class Region(Watch):
    """A block that ends, quietly, when its context ends; with `stops` also when it is stopped.

    One that is not `firm` may end earlier, where somebody looks again.
    """

    __slots__ = ("_firm",)

    def __init__(self, ctx: Context, *, stops: bool, firm: bool = True) -> None:
        super().__init__(ctx, stops=stops)
        self._firm = firm

    @enable_ki_protection
    def __enter__(self) -> None:
        ctx = self._ctx
        run = self._run = run_of(ctx)
        if ctx._is_floating():
            ctx._come_to_rest()
        self._scope.__enter__()
        self._scope.deadline = ctx._reach(firm=self._firm)
        run.listeners += 1
        ctx._register(self)
        if ctx.stopping if self._stops else ctx.done:
            self._scope.cancel()

    @enable_ki_protection
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> bool:
        assert self._run is not None
        self._run.listeners -= 1
        self._ctx._unregister(self)
        return self._scope.__exit__(exc_type, exc, tb)


def _limit(scope: trio.CancelScope | None, end: float) -> None:
    if scope is not None and end < scope.deadline:
        scope.deadline = end
