"""Tasks: children of a context's nursery, and whose failure is the cause of its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import Token, copy_context
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVarTuple

import trio
from trio.lowlevel import current_task, enable_ki_protection

from . import _checks, _nesting
from ._errors import ContextCancelled, DeadlineExceeded
from ._nesting import innermost
from ._node import Given
from ._stop import Stopping, run_of
from ._values import ENTERED, differing

if TYPE_CHECKING:
    import contextvars

    from ._context import Context

Ts = TypeVarTuple("Ts")


class Tasks(Stopping):
    """What a context entered with `async with` can start.

    An ordinary child keeps the block open, as in Trio. A service does not: it is cancelled,
    quietly, when the body has ended and no ordinary child is left.
    """

    __slots__ = ()

    @property
    def nursery(self) -> trio.Nursery:
        """The Trio nursery of an `async with` block, for code that knows only Trio.

        Services wait only for children started through the context, not for those started here.

        Raises:
            RuntimeError: Not entered with `async with`.

        Example::

            await ctx.nursery.start(trio.serve_tcp, handler, 8080)
        """
        if self._nursery is None:
            raise RuntimeError(self._no_nursery("has no nursery", "read ctx.nursery inside"))
        self._spawned = True
        return self._nursery

    @property
    def cancel_scope(self) -> trio.CancelScope:
        """The Trio cancel scope of the block, for code that knows only Trio.

        Cancelling it counts as `cancel()` without a cause, noticed at the latest on exit.

        Raises:
            RuntimeError: Not yet entered, or a block without a scope (a value context).

        Example::

            ctx.cancel_scope.shield = True
        """
        if self._scope is None:
            raise RuntimeError(
                f"{self._path()} ({self._state}) has no cancel scope: enter a context made by "
                "with_cancel(parent) and read ctx.cancel_scope inside its block"
            )
        return self._scope

    @enable_ki_protection
    def start_soon(
        self,
        async_fn: Callable[[*Ts], Awaitable[object]],
        *args: *Ts,
        name: object = None,
    ) -> None:
        """Start a child task that runs `async_fn(*args)` with this context and its values.

        `current()` is this context there, whoever calls. If the child fails, its exception is the
        cause that this context is cancelled with, before the siblings are told, as in Go's
        errgroup. Not a checkpoint.

        Args:
            async_fn: Called at once, so that a wrong call fails here; its coroutine runs later.
            name: What Trio's tracebacks and instruments show; default `async_fn`.

        Raises:
            RuntimeError: Not open, or entered with `with`.
            TypeError: `async_fn` is no async function, or `args` are not its arguments.

        Example::

            async with trioctx.with_timeout(ctx, 5) as ctx:
                ctx.start_soon(fetch, url)
        """
        self._start_child("start_soon", self._ordinary_child, async_fn, args, name)
        self._ordinary += 1

    @enable_ki_protection
    def start_service(
        self,
        async_fn: Callable[[*Ts], Awaitable[object]],
        *args: *Ts,
        name: object = None,
    ) -> None:
        """Start a task that ends by itself when the body and the ordinary children are done.

        For what serves the others: a heartbeat, a cache refresher. In all else as `start_soon`; a
        failing service fails the block. Not a checkpoint.

        Raises:
            RuntimeError: Not open, or entered with `with`.
            TypeError: `async_fn` is no async function, or `args` are not its arguments.

        Example::

            ctx.start_service(refresh_cache)
        """
        self._start_child("start_service", self._service, async_fn, args, name)

    async def start(
        self,
        async_fn: Callable[..., Awaitable[object]],
        *args: object,
        name: object = None,
    ) -> Any:
        """Start a child and wait for its `task_status.started(value)`; returns the value.

        Before `started()` the task is the caller's: `current()` there, cancellation, and its
        failure, which leaves this context alone. Afterwards it is as from `start_soon`. A
        checkpoint. The keyword `task_status` is Trio's, see `trio.Nursery.start`.

        Raises:
            RuntimeError: Not open, entered with `with`, or the child never called `started()`.

        Example::

            port = await ctx.start(serve, "localhost")
        """
        nursery = self._nursery
        if nursery is None:
            raise RuntimeError(self._no_nursery("cannot start tasks", "call ctx.start inside"))
        _checks.function("async_fn", async_fn)
        given: Given = ()
        if ENTERED.get() is not self or _nesting.current() is not self:
            given = differing(self._child_values())

        async def child(task_status: trio.TaskStatus[Any]) -> None:
            for var, value in given:
                var.set(value)
            status = _Status(self._me(), task_status)
            made = async_fn(*args, task_status=status)
            await _checks.coroutine("async_fn", made, async_fn)

        self._spawned = True
        self._ordinary += 1
        try:
            return await nursery.start(
                self._started_child, child, name=async_fn if name is None else name
            )
        finally:
            self._child_done()

    # --- how they run ---------------------------------------------------------------------------

    async def _ordinary_child(self, coro: Coroutine[Any, Any, object]) -> None:
        # One handler, and the cancelled first: ten thousand tasks may come by here at once.
        try:
            await coro
        except BaseException as exc:
            if type(exc) is not trio.Cancelled:
                self._fail(exc)
            self._child_done()
            raise
        self._child_done()

    async def _started_child(
        self,
        child: Callable[[trio.TaskStatus[Any]], Awaitable[None]],
        task_status: trio.TaskStatus[Any],
    ) -> None:
        self._ordinary += 1
        try:
            await child(task_status)
        except BaseException as exc:
            if current_task().parent_nursery is self._nursery:
                self._fail(exc)
            raise
        finally:
            self._child_done()

    async def _service(self, coro: Coroutine[Any, Any, object], shield: bool = False) -> None:
        with trio.CancelScope(shield=shield) as scope:
            if self._services is None:
                self._services = {}
            self._services[scope] = None
            self._end_services()
            try:
                await coro
            except BaseException as exc:
                self._fail(exc)
                raise
            finally:
                del self._services[scope]

    def _start_listener(self, listen: Callable[[], Awaitable[None]]) -> None:
        """Start a service of the library's own. It goes on while the block cleans up, and does not
        count as a task that was started."""
        service = partial(self._service, shield=True)
        self._start_child("start_service", service, listen, (), self._kind.name)
        self._spawned = False

    def _child_done(self) -> None:
        self._ordinary -= 1
        if self._services:
            self._end_services()

    def _end_services(self) -> None:
        """End the services if nobody is left whom they serve."""
        if self._body_done and not self._ordinary:
            for scope in list(self._services or ()):
                scope.cancel("the block needs its services no longer")

    def _start_child(
        self,
        what: str,
        wrapper: Callable[[Coroutine[Any, Any, object]], Awaitable[None]],
        async_fn: Callable[..., Awaitable[object]],
        args: tuple[Any, ...],
        name: object,
    ) -> None:
        nursery = self._nursery
        if nursery is None:
            raise RuntimeError(self._no_nursery(f"cannot {what} tasks", f"call ctx.{what} inside"))
        if not callable(async_fn):
            _checks.function("async_fn", async_fn)
        coro = async_fn(*args)
        if type(coro) is not CoroutineType:
            coro = _checks.coroutine("async_fn", coro, async_fn)
        if name is None:
            name = async_fn
        self._spawned = True
        try:
            if ENTERED.get() is self and (
                innermost.get(current_task()) is self or _nesting.current() is self
            ):
                nursery.start_soon(wrapper, coro, name=name)
            else:
                start = partial(nursery.start_soon, wrapper, coro, name=name)
                self._child_values().run(start)
        except BaseException:
            coro.close()
            run_of(self)
            raise

    def _no_nursery(self, problem: str, remedy: str) -> str:
        why = {
            "new": "is not entered yet",
            "open": "was entered with `with`, which opens no nursery"
            if self._parent
            else "is a root",
            "closed": "is closed",
        }[self._state]
        return (
            f"{self._path()} {why} and {problem}: write "
            f"`async with trioctx.with_cancel(parent) as ctx:` and {remedy} its block"
        )

    def _child_values(self) -> contextvars.Context:
        """What a child starts with: this context's values, and what `VAR.set` did in its block."""
        values = self._mapping().copy()
        values.run(ENTERED.set, self._me())
        caller = _nesting.current()
        if caller is None or not self._surrounds(caller):
            return values
        # What the contexts between here and the caller installed is not the child's; if the caller
        # inherited its variables from elsewhere, none of them are.
        undone: dict[contextvars.ContextVar[Any], Any] = {ENTERED: Token.MISSING}
        node = ENTERED.get()
        while node is not self:
            if node is None:
                return values
            for token in reversed(node._tokens):
                undone[token.var] = token.old_value
            node = node._encloser()
        for var, value in copy_context().items():
            value = undone.get(var, value)
            if value is not Token.MISSING:
                values.run(var.set, value)
        return values

    # --- whose failure it is --------------------------------------------------------------------

    def _fail(self, exc: BaseException) -> None:
        """Take note that the body or a child raised `exc`; cancel with it if it is a failure."""
        why = self._failure(exc)
        if why is not None:
            self._explain(why)
            self._cancel(why)

    def _failure(self, exc: BaseException) -> BaseException | None:
        """The first leaf of `exc` that no cancellation explains."""
        if type(exc) is trio.Cancelled:  # most often, and in each of a thousand nested blocks
            return None
        for leaf in leaves(exc):
            if isinstance(leaf, trio.Cancelled):
                continue
            node = named(leaf)
            if node is None or not self._stands_for_end(node):
                return leaf
        return None

    def _stands_for_end(self, node: Context) -> bool:
        """Whether an error that names `node` tells of an end that reaches this context."""
        end = self._ending()
        ended_by = None if end is None else end.node or self
        return node is ended_by or node._surrounds(self._me())


class _Status:
    """A `task_status` that also takes the task over from the caller, for threads it starts."""

    __slots__ = ("_before", "_ctx", "_status")

    def __init__(self, ctx: Context, status: trio.TaskStatus[Any]) -> None:
        self._ctx = ctx
        self._status = status
        self._before = ENTERED.get()

    def started(self, value: object = None) -> None:
        self._status.started(value)
        if ENTERED.get() is self._before:
            ENTERED.set(self._ctx)


def leaves(exc: BaseException) -> Iterator[BaseException]:
    """`exc`, or the exceptions in it if it is a group, in their order."""
    todo = [exc]
    while todo:
        one = todo.pop()
        if isinstance(one, BaseExceptionGroup):
            todo += reversed(one.exceptions)
        else:
            yield one


def named(exc: BaseException) -> Context | None:
    """The context whose end `exc` tells, if it is such an error."""
    return exc.context if isinstance(exc, ContextCancelled | DeadlineExceeded) else None
