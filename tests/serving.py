"""What the tests of the HTTP server share: a served connection, and a client's way to read."""

import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs
import trio
from trio.testing import memory_stream_pair

import trioctx
from trioctx.servers import client_addr
from trioctx.servers._messages import RequestHandler, RouteTable
from trioctx.servers._peers import Peers
from trioctx.servers.hello import hello
from trioctx.servers.http import Limits, serve_connection

GET = b"GET /hello HTTP/1.1\r\nHost: here\r\n\r\n"
CLOSE = b"GET /hello HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"

USUAL = Limits()

STARTED = "server: hello handler started"
ENDED = "server: hello handler ended"

Stream = trio.abc.HalfCloseableStream


@asynccontextmanager
async def served(
    server: Stream,
    handler: RequestHandler = hello,
    *,
    limits: Limits = USUAL,
    methods: tuple[str, ...] = ("GET",),
    path: str = "/hello",
) -> AsyncIterator[trioctx.Context]:
    """A client at 10.0.0.1:5000 is served, as by the accept loop, until the block is left."""
    table = RouteTable({(method, path): handler for method in methods})

    async def serve_client(ctx: trioctx.Context, peers: Peers) -> None:
        async with server:
            await serve_connection(ctx, server, peers, table, limits)

    with Peers(limits.idle, limits.send) as peers:
        values = trioctx.with_value(trioctx.background(), client_addr, "10.0.0.1:5000")
        async with trioctx.with_cancel(values) as ctx:
            ctx.start_service(peers.run, ctx)
            ctx.start_soon(serve_client, ctx, peers)
            yield ctx


@attrs.frozen
class Answer:
    """A response, as a client sees it. The names of the headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether the connection ends with it."""
        return self.headers["connection"] == "close"


async def receive_response(stream: trio.abc.ReceiveStream, *, body: bool = True) -> Answer:
    """One response, and its body if it is to have one."""
    data = b""
    while b"\r\n\r\n" not in data:
        received = await stream.receive_some(1)
        assert received, f"the end of the stream after {data!r}"
        data += received
    line, *headers = data.decode().removesuffix("\r\n\r\n").split("\r\n")
    answer = Answer(
        int(line.split(" ")[1]),
        {name.lower(): value for name, value in (header.split(": ", 1) for header in headers)},
        b"",
    )
    size = int(answer.headers.get("content-length", 0)) if body else 0
    data = b""
    while len(data) < size:
        data += await stream.receive_some(size - len(data))
    return attrs.evolve(answer, body=data)


def statuses(data: bytes) -> list[int]:
    """Those of all responses in what came back."""
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    """What comes until the end, which a reset is too."""
    data = b""
    try:
        async for some in stream:
            data += some
    except trio.BrokenResourceError:
        pass
    return data


async def statuses_for(*pieces: bytes, handler: RequestHandler = hello) -> list[int]:
    """The statuses of all responses to these bytes, after which the server has to close."""
    client, server = memory_stream_pair()
    async with served(server, handler):
        for piece in pieces:
            await client.send_all(piece)
        data = await receive_all(client)
    return statuses(data)


async def open_socket_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """A client's and a server's end of a connection over loopback."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        client = await trio.testing.open_stream_to_socket_listener(listener)
        assert isinstance(client, trio.SocketStream)
        return client, await listener.accept()


async def reset(client: trio.SocketStream) -> None:
    """Close in the way that the other side sees as an error."""
    client.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
    await client.aclose()
