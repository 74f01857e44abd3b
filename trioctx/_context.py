"""The context: entering and leaving Trio.

Theory of operation
===================

A context is one node in two trees. The tree of *derivation* says where its values, its deadline
and its cancellation come from; it exists as soon as the context is made. The tree of *nesting* says
what Trio does with the block; it exists while the context is open. Where they agree, where the
parent encloses the block, nothing has to be done: Trio cancels the inner block with the outer one.
Where they do not, the parent is a *link*, and trioctx does what Trio cannot know about.

======  =======================  ==============================  ===============================
state   ends with                values                          Trio has
======  =======================  ==============================  ===============================
new     its parents              its parent's and its own        nothing
open    the enclosing context    those that stood at entry, its  a cancel scope, a nursery, or
        and its linked parents   own among them                  (values alone) nothing
closed  nothing new              as while it was open            nothing
======  =======================  ==============================  ===============================

Each question has one place, and one module, from the bottom up:

* `_node.py`: what does a context remember? All of its state.
* `_values.py`: which values? A `contextvars.Context`, copied at entry.
* `_nesting.py`: which block is a task in? By Trio's tree of nurseries, never by a ContextVar.
* `_links.py`: who is above, who is below, who has to be told?
* `_ends.py`: has it ended, when, by whom, why? Worked out from time stamps when asked: an end is
  not propagated, so an enclosed context costs its parent nothing.
* `_lineage.py`: what does it tell of that, and of itself? How is it cancelled?
* `_stop.py`, `_tasks.py`, `_threads.py`: what can a context do? One capability each.
* `_place.py`: where does a block stand that is being entered, what is linked to it?
* `_outcome.py`: what does a block raise that was left?
* here: the order of things when a block begins and ends.

They are layers of one class, because they are aspects of one object on a path where an indirection
shows: delegating to parts would cost an attribute and a call for every access.

On entry: find the block around, by nesting; find which parents are links; open the scope, whose
deadline is the minimum of the own and of the linked parents' (that of the enclosing context is
Trio's business); set the values; register. On exit the same backwards, then decide what the block
raises. Both are protected against `KeyboardInterrupt`, so nothing is ever half-entered.
"""

from __future__ import annotations

import math
from contextvars import copy_context
from types import TracebackType
from typing import NoReturn, final

import trio
from trio.lowlevel import current_task, enable_ki_protection

from . import _nesting
from ._clock import FIRST, events
from ._errors import ContextCancelled, describe
from ._nesting import innermost
from ._outcome import Outcome
from ._stop import run_of
from ._values import ENTERED


@final
class Context(Outcome):
    """One node of a tree: a deadline, a cancellation with its cause, and values.

    Made by `with_cancel`, `with_timeout` and the others, never directly. It can be a parent, be
    cancelled and be read without ever being entered. Entered, once, it is open inside the block:

    * `with ctx:` is one cancel scope (for values alone none at all);
    * `async with ctx:` is one nursery, which children are started in.

    Leaving raises nothing after the context's own `cancel()`, `DeadlineExceeded` after its own
    deadline, the end of a linked parent, and whatever else went wrong in the block.
    A mapping from ContextVars to values, like `contextvars.Context`; equality is identity.

    Example::

        async with trioctx.with_timeout(trioctx.current(), 2) as ctx:
            ctx.start_soon(fetch, "a")
            ctx.start_soon(fetch, "b")
    """

    __slots__ = ()

    def __repr__(self) -> str:
        parts = [f"<trioctx.Context {self._path()} {self._state}"]
        end = self._ending()
        if end is not None:
            what = "cancelled" if end.error is ContextCancelled else "deadline exceeded"
            text = describe(end.cause)
            parts.append(what if text is None else f"{what}: {text}")
        elif self._state != "closed":
            if self.deadline != math.inf:
                parts.append(f"{self.remaining():.3g} s left")
            if self.stopping:
                parts.append("stopping")
        return ", ".join(parts) + ">"

    # --- entering -------------------------------------------------------------------------------

    @enable_ki_protection
    def __enter__(self) -> Context:
        """Open the block with a cancel scope. Not a checkpoint.

        Raises:
            RuntimeError: Entered for the second time, outside the context's Trio run, a root, or
                made by `with_signals`, which needs a nursery.
        """
        if self._state != "new" or self._listen is not None:
            self._refuse_entry()
        try:
            task = current_task()
        except RuntimeError:
            self._refuse_entry()
        limit = self._begin(task)
        if not self._kind.passes or self._links or self._shielded:
            scope = self._scope = trio.CancelScope(deadline=limit)
            if self._shielded:
                scope.shield = True
            scope.__enter__()
            if self._links or self._event is not None:
                self._listen_up(scope)
        if self._below:
            self._catch_up()
        return self

    @enable_ki_protection
    async def __aenter__(self) -> Context:
        """Open the block with a nursery. Not a checkpoint.

        Raises:
            RuntimeError: Entered for the second time, outside the context's Trio run, or a root; or
                made by `with_signals`, and this is not the main thread.
        """
        if self._state != "new":
            self._refuse_entry()
        try:
            task = current_task()
        except RuntimeError:
            self._refuse_entry()
        listener = None
        if self._listen is not None:
            run_of(self)
            listener = self._listen(self)
        limit = self._begin(task)
        manager = self._manager = trio.open_nursery(strict_exception_groups=True)
        nursery = self._nursery = await manager.__aenter__()
        scope = self._scope = nursery.cancel_scope
        if self._shielded:
            scope.shield = True
        if limit != math.inf:
            scope.deadline = limit
            assert self._run is not None
            if limit <= self._run.now():
                bool(scope.cancel_called)  # only looking makes Trio see that it has passed
        self._spawned = self._body_done = False
        self._ordinary = 0
        self._services = None
        if self._links or self._event is not None:
            self._listen_up(scope)
        if self._below:
            self._catch_up()
        if listener is not None:
            self._start_listener(listener)
        return self

    def _refuse_entry(self) -> NoReturn:
        if self._parent is None:
            raise RuntimeError(f"{self._path()} is a root: enter a context derived from it")
        if self._state != "new":
            raise RuntimeError(
                f"{self._path()} is {self._state}: a context is entered once; make a new one for "
                "each block"
            )
        run_of(self)
        raise RuntimeError(
            f"{self._path()} runs a task that waits for signals: write `async with`, not `with`"
        )

    def _begin(self, task: trio.lowlevel.Task) -> float:
        """From here on the block counts as entered; returns the limit of its scope.

        Everything but the scope, which cannot fail to open. In one piece, as this is the hot path.
        """
        below = self._below_in_task = innermost.get(task)
        outer = _nesting.enclosing(task) if below is None else below
        if outer is not None and outer._floating:
            outer._come_to_rest()
        if below is not None:
            self._ground = below._ground
            self._floating = below._floating
        else:
            self._ground = outer
            self._floating = _nesting.may_move(task, outer)
        run = self._run
        if run is None or outer is None or outer._run is not run:
            run = self._run = run_of(self)
        self._outer = outer
        links = self._links
        given = self._given
        limit = self._limit
        self._shield = None
        if links == (outer,) or not (links or self._kind.detaches):
            self._links = self._kin = ()
            self._shielded = False
            self._floor = FIRST if links and not self._floating else run.stamp()
            self._alive = run.epoch if outer is None else outer._alive
            if self._event is not None or self._stop is not None:
                self._alive = -1
        else:
            given = self._find_place(outer)
            self._floor = run.stamp()
            self._alive = -1
        if outer is None or self._shielded:
            self._deadline = limit
        else:
            self._deadline = limit if limit < outer._deadline else outer._deadline
            self._shield = outer if outer._shielded else outer._shield
            if self._below is not None or self._floating:
                outer._register(self)
        self._task = task
        self._index = len(task.child_nurseries)
        self._order = next(events)
        self._tokens = ()
        if given:
            tokens = self._tokens = []
            for var, value in given:  # a comprehension: 2 % dearer for with_value on CPython 3.11
                tokens.append(var.set(value))
        self._vars = copy_context()
        if self._given:
            self._mixed = True
        self._entered = ENTERED.set(self)
        self._state = "open"
        innermost[task] = self
        if self._floating:
            self._homes = tuple(_nesting.destinations(task))
            for home in self._homes:
                home._register(self)
        return limit

    # --- leaving --------------------------------------------------------------------------------

    @enable_ki_protection
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> bool:
        """Close the block. Not a checkpoint. Raises what the class says."""
        scope = self._scope
        if exc is not None:
            why = self._failure(exc)
            if why is not None:
                self._explain(why)
                if self._record(why):
                    self._tell_below(describe(why))
        left = exc
        if scope is not None:
            try:
                if scope.__exit__(exc_type, exc, tb):
                    left = None
            except BaseException as error:
                left = error
        self._leave()
        if exc is None and left is None:
            return False
        try:
            return self._outcome(exc, left)
        finally:
            del exc, left  # or their tracebacks, which hold this frame, would be a cycle

    @enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> bool:
        """Wait for the children and close the block. A schedule point, as leaving a nursery."""
        if exc is not None:
            self._fail(exc)
        self._body_done = True
        if self._services:
            self._end_services()
        left: BaseException | None = None
        try:
            await self._manager.__aexit__(exc_type, exc, tb)
        except BaseException as error:
            left = self._unwrapped(exc, error)
        self._leave()
        self._nursery = None
        assert self._scope is not None
        if exc is None and left is None and not self._scope.cancelled_caught:
            return False
        try:
            return self._outcome(exc, left)
        finally:
            del exc, left  # or their tracebacks, which hold this frame, would be a cycle

    def _leave(self) -> None:
        """From here on the block counts as left."""
        task, run, outer = self._task, self._run, self._outer
        assert run is not None
        if self._floating:
            self._outer = self._encloser()
            for home in self._homes:
                home._unregister(self)
        self._closed = (run.now(), next(events))
        self._state = "closed"
        below = self._below_in_task
        if innermost[task] is not self or (below is not None and below._state == "closed"):
            _nesting.pop_out_of_order(task, self, below)
            run.epoch += 1  # what is still open inside has come to its end
        elif below is None:
            del innermost[task]
        else:
            innermost[task] = below
        # A block inside an asynchronous generator can be left under other ContextVars than those
        # it was entered under; there is nothing to restore then, as in contextvars itself.
        try:
            ENTERED.reset(self._entered)
            if self._tokens:
                for token in reversed(self._tokens):
                    token.var.reset(token)
        except ValueError:
            pass
        if outer is not None and outer._below is not None:
            outer._below.pop(self, None)
        if self._links:
            self._unlink(run)
        if self._below:
            run.epoch += 1
            end = self._ending() or self._end_by_closing()
            self._tell_below(None if end is None else describe(end.cause))
            self._below = None
