"""An HTTP/1.1 server for plain handlers: `async def handler(request) -> Response`.

Each request runs under a context of its own: with a deadline, with the values `request_id` and
`client_addr`, and cancelled with `ClientDisconnected` as the cause when the client goes away. A
handler need know nothing of this; it works, and can ask `trioctx.current()` why it was ended.

    bytes --> _http.py: requests --> RouteTable: handler --> handler under its context --> bytes
                 | 400 408 413           | 404 405               | 500 504
                 | 431 501               | 501 503

A client that closes only its sending side (`nc -N`) counts as gone, as in Go's net/http: from here
that looks the same as a client that has closed, until something is written. A handler that never
waits still answers it; whoever expects a slow answer keeps its side open.

Bounded: the head, the body, the time in which a request must have arrived (408), the handler's time
(504), the time a response takes to be written, the silence between two requests. What is not done:
TLS, HTTP/2, bodies that are streamed, compression.
"""

import itertools
import logging
import re
import secrets
import time
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final, NoReturn

import attrs
import trio

import trioctx
from trioctx.servers._http import Refused, RequestParser
from trioctx.servers._messages import (
    Request as Request,
    RequestHandler as RequestHandler,
    Response as Response,
    Routes as Routes,
    RouteTable,
    serialise,
)
from trioctx.servers._peers import ClientDisconnected as ClientDisconnected, Peer, Peers
from trioctx.servers._tcp import client_addr, linger, serve_tcp

__all__ = [
    "ClientDisconnected",
    "Limits",
    "Request",
    "RequestHandler",
    "Response",
    "Routes",
    "request_id",
    "serve_http",
]

request_id: ContextVar[str] = ContextVar("request_id")
"""What the running request is called: the client's `X-Request-ID`, or else one that is made."""

_SAFE_ID: Final = re.compile(rb"[!-~]{1,128}")

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_OURS: Final = secrets.token_hex(4)  # so that ids of several processes differ
_numbers: Final = itertools.count(1)

_log: Final = logging.getLogger(__name__)
_access: Final = logging.getLogger(f"{__name__}.access")


@attrs.frozen
class Limits:
    """How long things may take, in seconds."""

    handler: float = 30.0
    """The handler, before it is cancelled and the answer is 504."""
    request: float = 10.0
    """A request, from its first byte to its last, before the answer is 408."""
    idle: float = 60.0
    """The silence before a request; then the connection is closed."""
    send: float = 10.0
    """A client's taking its response."""


async def serve_http(
    ctx: trioctx.Context,
    routes: Routes,
    port: int,
    *,
    host: str | Iterable[str] = "127.0.0.1",
    limits: Limits = Limits(),
    max_connections: int | None = None,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests as `routes` says, until `ctx` is stopped.

    A stop closes what is idle at once. A request of which something has come by then is answered
    within the grace, one on a connection that was let in later gets 503; both answers say
    `Connection: close`.

    Args:
        ctx, port, host, max_connections, task_status: as for `serve_tcp`.
        routes: method and path, to handler.
        limits: how long things may take.

    Example::

        async def hello(request):
            return Response(200, b"hello\\n")

        async def main(ctx):
            await serve_http(ctx, {("GET", "/hello"): hello}, 8090)

        trioctx.run(main, grace=10)
    """
    table = RouteTable(routes)

    with Peers(limits.idle, limits.send) as peers:

        async def serve_client(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
            await serve_connection(ctx, stream, peers, table, limits)

        async with trioctx.with_cancel(ctx, name="http") as server:
            # Not before the addresses are bound: where no task has been started yet, an OSError
            # comes out bare.
            await serve_tcp(
                server,
                serve_client,
                port,
                host=host,
                max_connections=max_connections,
                task_status=_BeforeThat(task_status, server, peers),
            )


@attrs.frozen
class _BeforeThat:
    """Tells that the server has started when the clients are watched."""

    _task_status: trio.TaskStatus[list[tuple[str, int]]]
    _server: trioctx.Context
    _peers: Peers

    def started(self, value: list[tuple[str, int]] | None = None) -> None:
        assert value is not None
        self._server.start_service(self._peers.run, self._server)
        self._task_status.started(value)


async def serve_connection(
    ctx: trioctx.Context,
    stream: trio.abc.HalfCloseableStream,
    peers: Peers,
    table: RouteTable,
    limits: Limits,
) -> None:
    """Serve one connection: its requests in order, each under its own context.

    Returns when the client has closed or disconnected, when the connection is of no further use,
    and, once `ctx` is stopping, as soon as no request is under way.
    """
    client = ctx[client_addr]
    async with peers.connected(ctx, stream, client) as peer:
        connection = _Connection(ctx, client, peer, table, limits, late=ctx.stopping)
        is_there = await connection.serve()
    if is_there:
        await linger(ctx, stream)


@attrs.define(eq=False)
class _Connection:
    _ctx: trioctx.Context
    _client: str
    _peer: Peer
    _table: RouteTable
    _limits: Limits
    _late: bool  # it came when the server was stopping already
    _parser: RequestParser = attrs.field(factory=RequestParser, init=False)

    async def serve(self) -> bool:
        """Answer requests as long as there can be one. Returns whether the client takes them."""
        try:
            while (request := await self._next_request()) is not None:
                if isinstance(request, Response):
                    self._log("-", request, 0.0, "-", None)
                    await self._peer.send(serialise(request, keep_alive=False))
                    break
                response = await self._answer(request)
                if response is None:
                    break
                keep_alive = request.keep_alive and not self._peer.let_go_of
                head_only = request.method == "HEAD"
                data = serialise(response, keep_alive=keep_alive, head_only=head_only)
                if not keep_alive:
                    await self._peer.send(data)
                    break
                self._peer.send_soon(data)
        except (trio.BrokenResourceError, trioctx.DeadlineExceeded) as exc:
            _log.debug("client %s did not take its answer: %r", self._client, exc)
            return False
        return True

    async def _next_request(self) -> Request | Response | None:
        """The next request; or what to say instead, before the connection closes; or the end."""
        try:
            request = self._parser.next_request()
            if request is not None:
                await self._peer.flush()
                await trio.lowlevel.checkpoint()
                return request
            if self._parser.in_message:
                await self._peer.flush()
            else:
                data = await self._peer.receive(idle=True)
                if not data:
                    return None
                self._parser.feed(data)
            return self._parser.next_request() or await self._rest_of_request()
        except Refused as exc:
            return Response.of_status(exc.status)

    async def _rest_of_request(self) -> Request | Response | None:
        rest: Request | Response | None = None
        try:
            with trioctx.with_timeout(self._ctx, self._limits.request, name="receive"):
                rest = await self._receive_request()
        except trioctx.DeadlineExceeded:
            return Response.of_status(408)
        return rest

    async def _receive_request(self) -> Request | Response | None:
        parser = self._parser
        while (request := parser.next_request()) is None:
            if parser.wants_continue:
                handler = self._find(parser.method, parser.path)
                if isinstance(handler, Response):
                    return handler
                parser.continued()
                await self._peer.send(_CONTINUE)
            data = await self._peer.receive()
            if not data:
                return None
            parser.feed(data)
        return request

    def _find(self, method: str, path: str) -> RequestHandler | Response:
        if self._late:
            return Response.of_status(503)
        return self._table.find(method, path)

    async def _answer(self, request: Request) -> Response | None:
        """The response to a request, or None when there is nobody left to send it to."""
        what = f"{request.method} {request.path}"
        handler = self._find(request.method, request.path)
        if isinstance(handler, Response):
            self._log(what, handler, 0.0, "-", None)
            return handler
        called = _id_of(request)
        begun = time.perf_counter()
        request_id.set(called)  # what stands when a context is entered is among its values
        ctx = trioctx.with_timeout(self._ctx, self._limits.handler, name=what)
        response = None
        try:
            with ctx:
                self._peer.work_under(ctx)
                response = await handler(request)
                if not isinstance(response, Response):
                    response = _no_response(handler, response)
        except Exception as exc:
            if isinstance(exc, trioctx.DeadlineExceeded) and exc.context is ctx:
                response = Response.of_status(504)
            else:
                _log.exception("%s failed", what)
                response = Response.of_status(500)
        finally:
            self._peer.work_under(None)
            self._log(what, response, time.perf_counter() - begun, called, ctx)
        return response

    def _log(
        self,
        what: str,
        response: Response | None,
        seconds: float,
        called: str,
        ctx: trioctx.Context | None,
    ) -> None:
        """One line to the access log: who, what, status, duration, id, and why it ended early."""
        if _access.isEnabledFor(logging.INFO):
            _access.info(
                '%s "%s" %s %.1f ms %s%s',
                self._client,
                what,
                response.status if response is not None else "-",
                seconds * 1000,
                called,
                "" if ctx is None or not ctx.cancelled else f": {ctx.cause or ctx.err!r}",
            )


def _no_response(handler: RequestHandler, value: object) -> NoReturn:
    raise TypeError(f"{handler!r} must return a Response, not {value!r}")


def _id_of(request: Request) -> str:
    given = request.header(b"x-request-id")
    if given is not None and _SAFE_ID.fullmatch(given):
        return given.decode()
    return f"{_OURS}-{next(_numbers)}"
