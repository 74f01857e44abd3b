"""The accept loop: one context for the server, one below it for each connection.

A stop of the context it was given drains the server. Phase one closes the listeners at once and
ends what the handlers do inside `ctx.until_stopping()`: waiting for the next line, the next
request. A handler that is busy goes on until the grace is over; phase two cancels it.

    stop(grace=10)                                          10 seconds later
      accept loops: until_stopping() ends, listeners close
      idle handlers: until_stopping() ends, they return
      busy handlers: go on ...............................  cancelled, and named in the log
"""

import contextlib
import errno
import itertools
import logging
import select
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Final

import attrs
import trio

import trioctx

__all__ = [
    "Handler",
    "client_addr",
    "connection_id",
    "linger",
    "serve_listeners",
    "serve_tcp",
]

Handler = Callable[[trioctx.Context, trio.SocketStream], Awaitable[object]]
"""What serves one connection: `async def handler(ctx, stream)`."""

client_addr: ContextVar[str] = ContextVar("client_addr")
"""Who the running handler serves: `host:port`, or `unix:` and the path the client connected to."""

connection_id: ContextVar[int] = ContextVar("connection_id")
"""The number of the connection that the running handler serves, unique in this process."""

# Out of descriptors or of memory: it passes when a connection ends, so wait for that. (Trio's
# accept() has already dealt with the errors of a connection that died in the backlog.)
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE: Final = 0.1

# Of those who had connected when the stop came, how many a listener lets in before it closes.
_LATECOMERS: Final = 100

_ids = itertools.count(1)
_log = logging.getLogger(__name__)


async def serve_tcp(
    ctx: trioctx.Context,
    handler: Handler,
    port: int,
    *,
    host: str | Iterable[str] = "127.0.0.1",
    max_connections: int | None = None,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve each connection to `host` and `port` with `handler`, until `ctx` is stopped.

    Returns when `ctx` is stopping and the last handler is done. A handler runs under a context of
    its own, named after the client, in which `client_addr` and `connection_id` are set; its stream
    is closed for it. A handler that raises costs its own connection only, and is logged with its
    traceback. One that had to be cancelled is logged too.

    Args:
        ctx: the context of the server's life. How long a stop waits is the caller's `grace`.
        handler: `async def handler(ctx, stream)`.
        port: 0 lets the system choose one, for each address.
        host: the interface to listen on, or several. A name may stand for several addresses.
        max_connections: how many are served at a time; None for no limit. The others wait in the
            system's backlog: they can connect and send, and are served when there is room.
        task_status: `await ctx.start(serve_tcp, ctx, handler, 0)` returns the list of the bound
            addresses, as `(host, port)`.

    Raises:
        OSError: an address cannot be listened on. Then none is.
        ValueError: `max_connections` is not an int from 1 up.

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
    room = make_room(max_connections)
    # The sockets are closed, and not the listeners: `aclose()` is a checkpoint, whose Cancelled
    # would take the place of an error that is on its way.
    with contextlib.ExitStack() as opened:
        listeners: list[trio.SocketListener] = []
        for each in (host,) if isinstance(host, str) else host:
            for listener in await trio.open_tcp_listeners(port, host=each):
                opened.enter_context(listener.socket)
                listeners.append(listener)
        task_status.started([listener.socket.getsockname()[:2] for listener in listeners])
        await serve_all(ctx, handler, listeners, room)


async def serve_listeners(
    ctx: trioctx.Context,
    handler: Handler,
    listeners: Sequence[trio.SocketListener],
    *,
    max_connections: int | None = None,
) -> None:
    """Serve each connection to `listeners`, and close them. The rest is as for `serve_tcp`.

    For sockets that come from elsewhere, such as a supervisor.
    """
    await serve_all(ctx, handler, listeners, make_room(max_connections))


def make_room(max_connections: int | None) -> trio.Semaphore:
    """What a connection takes a place in."""
    if max_connections is None:
        return trio.Semaphore(sys.maxsize)
    if type(max_connections) is not int or max_connections < 1:
        raise ValueError(
            f"max_connections must be an int from 1 up, or None, not {max_connections!r}"
        )
    return trio.Semaphore(max_connections)


async def serve_all(
    ctx: trioctx.Context,
    handler: Handler,
    listeners: Sequence[trio.SocketListener],
    room: trio.Semaphore,
) -> None:
    """The accept loops of one server."""
    where = ", ".join(_format(listener.socket.getsockname()) for listener in listeners)
    async with trioctx.with_cancel(ctx, name=f"server {where}") as server:
        loop = _AcceptLoop(server, handler, room)
        for listener in listeners:
            server.start_soon(loop.accept, listener)
        _log.info("listening on %s", where)
        await server.wait_stopping()
        _log.info("shutting down")


@attrs.frozen
class _AcceptLoop:
    """One for all listeners of a server, as they share the room."""

    _server: trioctx.Context
    _handler: Handler
    _room: trio.Semaphore

    async def accept(self, listener: trio.SocketListener) -> None:
        """Let clients in until a stop; then close."""
        with listener.socket:
            with self._server.until_stopping():
                while True:
                    # Room is taken for a client who is there: others may wait at other listeners.
                    await trio.lowlevel.wait_readable(listener.socket)
                    await self._room.acquire()
                    if not await self._let_in(listener):
                        await trio.sleep(_PAUSE)
            # Whoever has connected by now would be reset by the closing.
            for _ in range(_LATECOMERS):
                if not (self._somebody_waits(listener) and await self._let_in(listener)):
                    break

    def _somebody_waits(self, listener: trio.SocketListener) -> bool:
        """Whether a client is in the backlog and there is room, which is taken then."""
        poll = select.poll()
        poll.register(listener.socket, select.POLLIN)
        if not poll.poll(0):
            return False
        try:
            self._room.acquire_nowait()
        except trio.WouldBlock:
            return False
        return True

    async def _let_in(self, listener: trio.SocketListener) -> bool:
        """Accept one client, for whom room has been taken. Returns whether the system could."""
        try:
            stream = await listener.accept()
        except BaseException as exc:
            self._room.release()
            if not isinstance(exc, OSError) or exc.errno not in _EXHAUSTED:
                raise
            _log.warning("accepting nothing for %.1f seconds: %s", _PAUSE, exc)
            return False
        self._server.start_soon(self._serve, stream)
        return True

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                try:
                    client = _client(stream.socket)
                except OSError:
                    return  # reset while it waited to be accepted
                await self._handle(stream, client)
        finally:
            self._room.release()

    async def _handle(self, stream: trio.SocketStream, client: str) -> None:
        about = trioctx.with_values(self._server, {client_addr: client, connection_id: next(_ids)})
        try:
            async with trioctx.with_cancel(about, name=f"client {client}") as ctx:
                await self._handler(ctx, stream)
        # except* and not except: where a task of the handler fails while the server is cancelled,
        # the group has both, and the Cancelled must travel on.
        except* trio.Cancelled:
            why = self._server.cause or self._server.err
            _log.warning("client %s had to be cancelled: %s", client, why)
            raise
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


def _client(sock: trio.socket.SocketType) -> str:
    # The client's end of a Unix socket has no name, only the server's has.
    is_unix = sock.family == trio.socket.AF_UNIX
    return _format(sock.getsockname() if is_unix else sock.getpeername())


def _format(address: str | tuple[str, int] | tuple[str, int, int, int]) -> str:
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
