"""An HTTP server that says hello: `python -m trioctx hello`, then `curl 127.0.0.1:8090/hello`.

What to learn here: each request runs under a context of its own, with a deadline. A service task
of that context watches the client and cancels the request, with `ClientDisconnected` as the
cause, when the client goes away; it ends by itself with the request. Only the waiting for a new
request is inside `until_stopping()`, so a request that has begun is answered within the grace of
a stop. `hello` knows nothing of this: it works, and can ask `trioctx.current()` why it was ended.

A client that closes only its sending side (`nc -N`) counts as gone, as in Go's net/http: from
here that looks the same as a client that has closed, until something is written. So whoever waits
for a slow answer keeps its side open.

Bounded: the head, the body, what is read ahead while a request is worked on (beyond
`READ_AHEAD` bytes of pipelined requests nothing more is read, so a disconnect is then noticed
only afterwards), and the time a response takes to be written. What is not done: a time limit
for sending a request, `Expect: 100-continue`, TLS, HTTP/2.
"""

import functools
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import attrs
import trio

import trioctx
from trioctx.servers._http import Refused, Request, RequestParser, Response, serialise
from trioctx.servers._tcp import client_addr, linger, serve_tcp

__all__ = ["ClientDisconnected", "hello", "serve", "serve_http"]

READ_AHEAD: Final = 64 * 1024
"""How many bytes of further requests are kept while one is worked on."""

_READ_SIZE: Final = 16 * 1024
_WRITE_TIMEOUT: Final = 10.0  # seconds

RequestHandler = Callable[[Request], Awaitable[Response]]
Routes = Mapping[str, Mapping[str, RequestHandler]]
"""Path, then method, to handler."""

_log = logging.getLogger(__name__)


class ClientDisconnected(Exception):
    """The cause of the end of a request whose client went away before the answer."""


async def serve(
    ctx: trioctx.Context,
    host: str = "127.0.0.1",
    port: int = 8090,
    work: float = 0.0,
    timeout: float = math.inf,
    *,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the hello server until `ctx` is stopped.

    Args:
        ctx, host, port, task_status: as for `serve_tcp`.
        work: how many seconds `hello` works before it answers.
        timeout: how many seconds a request may take.
    """
    say_hello = functools.partial(hello, work=work)
    routes = {"/hello": {"GET": say_hello, "HEAD": say_hello}}

    async def serve_client(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
        await serve_http(ctx, stream, routes, timeout=timeout)

    await serve_tcp(ctx, serve_client, port, host=host, task_status=task_status)


async def hello(request: Request, *, work: float = 0.0) -> Response:
    """Work for `work` seconds, then say hello."""
    ctx = trioctx.current()
    _log.info("server: hello handler started")
    try:
        if work:
            await trio.sleep(work)
        return Response(200, b"hello\n")
    except trio.Cancelled:
        _log.info("server: %s", ctx.cause or ctx.err)
        raise
    finally:
        _log.info("server: hello handler ended")


async def serve_http(
    ctx: trioctx.Context,
    stream: trio.abc.HalfCloseableStream,
    routes: Routes,
    *,
    timeout: float = math.inf,
) -> None:
    """Serve one connection: its requests in order, each under its own context.

    Returns when the client has closed or disconnected, when the connection is of no further use,
    and, once `ctx` is stopping, as soon as no request is under way. A request that takes longer
    than `timeout` seconds is cancelled and answered with 504.
    """
    connection = _Connection(stream, routes, timeout)
    try:
        while await connection.serve_request(ctx):
            pass
    except (trio.BrokenResourceError, trioctx.DeadlineExceeded) as exc:
        _log.debug("client %s did not take its answer: %r", client_addr.get(), exc)
    else:
        await linger(ctx, stream)


@attrs.define(eq=False)
class _Connection:
    _stream: trio.abc.HalfCloseableStream
    _routes: Routes
    _timeout: float
    _parser: RequestParser = attrs.field(factory=RequestParser, init=False)
    _ahead: bytearray = attrs.field(factory=bytearray, init=False)

    async def serve_request(self, ctx: trioctx.Context) -> bool:
        """Answer the next request. Returns whether there can be one after it."""
        try:
            request = await self._next_request(ctx)
        except Refused as exc:
            await self._send(ctx, serialise(Response.of_status(exc.status), keep_alive=False))
            return False
        if request is None:
            return False
        response = await self._answer(ctx, request)
        if response is None:
            return False
        keep_alive = request.keep_alive and not ctx.stopping
        head_only = request.method == "HEAD"
        await self._send(ctx, serialise(response, keep_alive=keep_alive, head_only=head_only))
        return keep_alive

    async def _next_request(self, ctx: trioctx.Context) -> Request | None:
        while (request := self._parser.next_request()) is None:
            data = await self._receive(ctx)
            if not data:
                return None
            self._parser.feed(data)
        return request

    async def _receive(self, ctx: trioctx.Context) -> bytes | bytearray:
        if self._ahead:
            data, self._ahead = self._ahead, bytearray()
            return data
        if not self._parser.idle:
            return await self._stream.receive_some(_READ_SIZE)
        with ctx.until_stopping():
            return await self._stream.receive_some(_READ_SIZE)
        return b""

    async def _answer(self, ctx: trioctx.Context, request: Request) -> Response | None:
        """The response to a request, or None when there is nobody left to send it to."""
        name = f"{request.method} {request.path}"
        try:
            async with trioctx.with_timeout(ctx, self._timeout, name=name) as request_ctx:
                request_ctx.start_service(self._watch, request_ctx)
                return await _dispatch(self._routes, request)
        except trioctx.DeadlineExceeded:
            return Response.of_status(504)
        except Exception:
            _log.exception("%s failed", name)
            return Response.of_status(500)
        return None  # cancelled by _watch

    async def _watch(self, request_ctx: trioctx.Context) -> None:
        """Cancel a request when its client goes away. What the client sends meanwhile is kept."""
        try:
            while len(self._ahead) < READ_AHEAD:
                data = await self._stream.receive_some(_READ_SIZE)
                if not data:
                    break
                self._ahead += data
            else:
                return
        except trio.BrokenResourceError:
            pass
        request_ctx.cancel(ClientDisconnected(f"client {client_addr.get()} disconnected"))

    async def _send(self, ctx: trioctx.Context, data: bytes) -> None:
        with trioctx.with_timeout(ctx, _WRITE_TIMEOUT):
            await self._stream.send_all(data)


async def _dispatch(routes: Routes, request: Request) -> Response:
    methods = routes.get(request.path)
    if methods is None:
        return Response.of_status(404)
    handler = methods.get(request.method)
    if handler is None:
        return Response.of_status(405, Allow=", ".join(methods))
    return await handler(request)
