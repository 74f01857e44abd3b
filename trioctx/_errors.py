"""The exceptions: how a context ended, which node ended, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

if TYPE_CHECKING:
    from ._context import Context


class ContextError(Exception):
    """A context has ended. Base class of the library's exceptions.

    Args:
        message: What happened, in words.
        context: The context that ended; not the one that noticed.
        cause: The exception that explains the end.

    Example::

        try:
            ctx.check()
        except trioctx.ContextError as err:
            print(err.context, err.cause)
    """

    def __init__(
        self,
        message: str = "",
        *,
        context: Context | None = None,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message)
        self.context: Context | None = context
        self.cause: BaseException | None = cause
        self.__cause__ = cause


class ContextCancelled(ContextError):
    """A context was cancelled, or the block of one that it belongs to was left.

    Go's `context.Canceled`. A cause given as a str becomes one of these:

    Example::

        ctx.cancel("config changed")
        assert isinstance(ctx.cause, trioctx.ContextCancelled)
    """


class DeadlineExceeded(ContextError, trio.TooSlowError):
    """The deadline of a context passed. Go's `context.DeadlineExceeded`.

    Also a `trio.TooSlowError`, so code that was written around `trio.fail_after` goes on working.

    Example::

        try:
            with trioctx.with_timeout(trioctx.current(), 2):
                await trio.sleep(3)
        except trio.TooSlowError:
            print("too slow")
    """


class ContextClosed(ContextError):
    """The block of a context was left: the cause of what was still derived from it.

    Never raised: it is the `cause` of the `ContextCancelled` of a context whose parent closed.

    Example::

        with trioctx.with_cancel(trioctx.current()) as ctx:
            pass
        late = trioctx.with_cancel(ctx)
        assert isinstance(late.cause, trioctx.ContextClosed)

    Two of the same context are equal.
    """

    def __eq__(self, other: object) -> bool:
        return self is other or (
            type(other) is ContextClosed
            and self.context is not None
            and self.context is other.context
        )

    def __hash__(self) -> int:
        return hash((ContextClosed, id(self.context)))


def describe(cause: BaseException | None) -> str | None:
    """The text of a cause, which Trio is given as the cancel reason; None if there is no cause."""
    if cause is None:
        return None
    text = str(cause)
    if type(cause) is ContextCancelled and text:
        return text
    name = type(cause).__name__
    return f"{name}: {text}" if text else name


def raise_as_it_is(error: BaseException) -> NoReturn:
    """Raise `error` with the context it has, not that of the exception being handled."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, context
