"""The accept loop: one context for the server, one below it for each connection.

A stop of the context it was given drains the server. Phase one closes the listeners at once and
ends what the handlers do inside `ctx.until_stopping()`: waiting for the next line, the next
request. A handler that is busy goes on until the grace is over; phase two cancels it.

    stop(grace=10)                                          10 seconds later
      accept loops: until_stopping() ends, listeners close
      idle handlers: until_stopping() ends, they return
      busy handlers: go on ...............................  cancelled
"""

import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final

import trio

import trioctx

__all__ = ["Handler", "client_addr", "linger", "serve_tcp"]

Handler = Callable[[trioctx.Context, trio.SocketStream], Awaitable[object]]
"""What serves one connection: `async def handler(ctx, stream)`."""

client_addr: ContextVar[str] = ContextVar("client_addr")
"""The address of the client that the running handler serves, as `host:port`."""

# Out of descriptors or of memory: it passes when a connection ends, so wait for that. (Trio's
# accept() has already dealt with the errors of a connection that died in the backlog.)
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE: Final = 0.1

_log = logging.getLogger(__name__)


async def serve_tcp(
    ctx: trioctx.Context,
    handler: Handler,
    port: int,
    *,
    host: str = "127.0.0.1",
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve each connection to `host` and `port` with `handler`, until `ctx` is stopped.

    Returns when `ctx` is stopping and the last handler is done. A handler runs under a context of
    its own, named after the client, in which `client_addr` is set; its stream is closed for it. A
    handler that raises costs its own connection only, and is logged with its traceback.

    Args:
        ctx: the context of the server's life. How long a stop waits is the caller's `grace`.
        handler: `async def handler(ctx, stream)`.
        port: 0 lets the system choose one.
        host: the interface to listen on; a name may stand for several addresses.
        task_status: `await ctx.start(serve_tcp, ctx, handler, 0)` returns the list of the bound
            addresses, as `(host, port)`.

    Raises:
        OSError: the address cannot be listened on.

    Unlike `trio.serve_tcp`, it survives failing handlers, and drains.

    Example::

        async def shout(ctx, stream):
            with ctx.until_stopping():
                async for data in stream:
                    await stream.send_all(data.upper())

        async def main(ctx):
            await trioctx.servers.serve_tcp(ctx, shout, 8081)

        trioctx.run(main, grace=10)
    """
    async with trioctx.with_cancel(ctx, name=f"server {_format((host, port))}") as server:
        listeners = await trio.open_tcp_listeners(port, host=host)
        for listener in listeners:
            server.start_soon(_accept, server, listener, handler)
        bound = [listener.socket.getsockname()[:2] for listener in listeners]
        _log.info("listening on %s", ", ".join(map(_format, bound)))
        task_status.started(bound)
        await server.wait_stopping()
        _log.info("shutting down")


async def _accept(server: trioctx.Context, listener: trio.SocketListener, handler: Handler) -> None:
    async with listener:
        with server.until_stopping():
            while True:
                try:
                    stream = await listener.accept()
                except OSError as exc:
                    if exc.errno not in _EXHAUSTED:
                        raise
                    _log.warning("accepting nothing for %.1f seconds: %s", _PAUSE, exc)
                    await trio.sleep(_PAUSE)
                else:
                    server.start_soon(_serve, server, stream, handler)


async def _serve(server: trioctx.Context, stream: trio.SocketStream, handler: Handler) -> None:
    async with stream:
        try:
            client = _format(stream.socket.getpeername())
        except OSError:
            return  # reset while it waited to be accepted
        try:
            async with trioctx.with_cancel(
                trioctx.with_value(server, client_addr, client), name=f"client {client}"
            ) as ctx:
                await handler(ctx, stream)
        # except* and not except: where a task of the handler fails while the server is cancelled,
        # the group has both, and the Cancelled must travel on.
        except* Exception as group:
            only = group.exceptions[0] if len(group.exceptions) == 1 else group
            _log.error("handler for %s failed", client, exc_info=only)


async def linger(
    ctx: trioctx.Context, stream: trio.abc.HalfCloseableStream, seconds: float = 1.0
) -> None:
    """Say that nothing more will be sent, and discard what still arrives until the client closes.

    For the server that closes first: closing a socket with unread data resets the connection, and
    the reset can overtake the last answer (RFC 9112, 9.6). Never takes longer than `seconds`, and
    ends at once when `ctx` is stopping or the client resets.
    """
    with ctx.until_stopping(), trio.move_on_after(seconds):
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_eof()
            async for _ in stream:
                pass


def _format(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
