"""The servers, cancelled at every checkpoint: nothing leaks, nobody is left without an end."""

import gc
import logging
import math
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import pytest
import trio
from serving import CLOSE, GET, served, statuses
from trio.testing import MockClock, memory_stream_pair

import trioctx
from trioctx.servers import _peers, client_addr, echo, hello, serve_tcp
from trioctx.servers.http import Request, Response
from trioctx.testing import cancel_at_every_checkpoint

# Reached only by a test that fails.
LIMIT = 20.0

SHUTTING_DOWN = b"Server shutting down\n"

all_and_own = pytest.mark.parametrize("all_tasks", [False, True])


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def open_contexts() -> int:
    contexts = (thing for thing in gc.get_objects() if type(thing) is trioctx.Context)
    return sum(ctx.state == "open" for ctx in contexts)


@pytest.fixture(autouse=True)
def nothing_leaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No descriptor, no open context; and no error is logged but the handler's own."""
    descriptors, contexts = open_descriptors(), open_contexts()
    yield
    assert open_descriptors() == descriptors
    assert open_contexts() <= contexts
    errors = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert {record.getMessage() for record in errors} <= {"POST /hello failed"}


def receive_all(sock: socket.socket) -> bytes:
    """All up to the end, which must have come."""
    received = b""
    with sock:
        try:
            while data := sock.recv(10_000):
                received += data
        except ConnectionResetError:
            pass  # closed with something unread
    return received


class MemoryClient:
    """A client that has sent all it has to say before it is served."""

    def __init__(self, sent: bytes, *, eof: bool) -> None:
        self._stream, self.server = memory_stream_pair()
        self.server.receive_stream.put_data(sent)
        if eof:
            self.server.receive_stream.put_eof()

    async def receive_all(self) -> bytes:
        """All that the server sent. It must have closed the connection."""
        with trio.fail_after(LIMIT):
            return b"".join([data async for data in self._stream])


class SocketClient:
    """The same over a loopback socket. Connecting is no checkpoint, so it cannot be cancelled."""

    def __init__(self, sent: bytes, *, eof: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._socket = socket.create_connection(listener.getsockname(), LIMIT)
            accepted, _ = listener.accept()
        self.server = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
        self._socket.sendall(sent)
        if eof:
            self._socket.shutdown(socket.SHUT_WR)

    async def receive_all(self) -> bytes:
        """All that the server sent. It must have closed the connection."""
        return receive_all(self._socket)


Client = MemoryClient | SocketClient
Connect = Callable[[], Client]
Serve = Callable[[trio.abc.HalfCloseableStream], Awaitable[object]]


async def answers(connect: Connect, serve: Serve, *, all_tasks: bool) -> list[bytes]:
    """What the client received in each run of `serve`. The last is that which ran through."""
    received: list[bytes] = []
    clients: list[Client] = []
    descriptors = open_descriptors()

    async def serve_client() -> None:
        client = connect()
        clients.append(client)
        async with client.server:
            await serve(client.server)

    async def check() -> None:
        received.append(await clients.pop().receive_all())
        assert open_descriptors() == descriptors

    assert await cancel_at_every_checkpoint(serve_client, check=check, all_tasks=all_tasks)
    return received


ECHO_CASES = {
    "blank line": (b"one\ntwo\r\n\n", False),
    "end": (b"one\nunfinished", True),
    "end at once": (b"", True),
    "silence": (b"one\nunfinis", False),
    "too long": (b"one\n" + b"x" * 2 * echo.MAX_LINE, False),
}


@all_and_own
@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("make", [MemoryClient, SocketClient])
@pytest.mark.parametrize("case", ECHO_CASES)
async def test_echo(
    case: str,
    make: Callable[..., Client],
    stopping: bool,
    all_tasks: bool,
    autojump_clock: MockClock,
) -> None:
    """Whole lines, as far as it came; no answer is cut in two, and none comes twice."""
    sent, eof = ECHO_CASES[case]

    async def serve(stream: trio.abc.HalfCloseableStream) -> None:
        values = trioctx.with_value(trioctx.background(), client_addr, "10.0.0.1:5000")
        async with trioctx.with_cancel(values) as ctx:
            if stopping:
                ctx.stop("enough", grace=math.inf)
            await echo.echo(ctx, stream)

    received = await answers(partial(make, sent, eof=eof), serve, all_tasks=all_tasks)
    whole = received[-1].removesuffix(SHUTTING_DOWN)
    for answer in received:
        lines = answer.removesuffix(SHUTTING_DOWN)
        assert whole.startswith(lines)
        assert lines[-1:] in (b"", b"\n")


async def work_or_fail(request: Request) -> Response:
    """A second of work, or a hundred, then an answer or an error, as the request wants."""
    await trio.sleep(100 if request.body == b"slow" else 1)
    if request.body == b"fail":
        raise ValueError("as the client wants")
    return Response(200, b"worked\n")


POST = b"POST /hello HTTP/1.1\r\nHost: here\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n4\r\nwork\r\n0\r\n\r\n"
EXPECT = b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"

# What is sent, whether the client then closes its side, and the statuses of the answers.
HELLO_CASES = {
    "close": (CLOSE, False, [200]),
    "pipelined": (GET + GET + CLOSE, False, [200, 200, 200]),
    "silence": (GET, False, [200]),
    "half a request": (GET[:20], False, [408]),
    "one and a half": (GET + GET[:20], False, [200, 408]),
    "end": (b"", True, []),
    "end in mid-request": (GET[:20], True, []),
    "disconnect": (POST + b"Content-Length: 4\r\n\r\nwork", True, []),
    "chunked": (POST + CHUNKED + CLOSE, False, [200, 200]),
    "expect": (POST + EXPECT, False, [100, 408]),
    "slow": (POST + b"Content-Length: 4\r\n\r\nslow" + CLOSE, False, [504, 200]),
    "fail": (POST + b"Content-Length: 4\r\n\r\nfail" + CLOSE, False, [500, 200]),
    "no HTTP": (b"\x00\n\n", False, [400]),
    "nowhere": (CLOSE.replace(b"/hello", b"/"), False, [404]),
}


@all_and_own
@pytest.mark.parametrize(
    ("make", "many"), [(MemoryClient, False), (SocketClient, False), (SocketClient, True)]
)
@pytest.mark.parametrize("case", HELLO_CASES)
async def test_hello(
    case: str,
    make: Callable[..., Client],
    many: bool,
    all_tasks: bool,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole responses, each request answered at most once, in order.

    Also as one connection of many, whose answers are sent at the end of a turn.
    """
    sent, eof, expected = HELLO_CASES[case]
    monkeypatch.setattr(_peers, "_MANY", 0 if many else math.inf)

    async def serve(stream: trio.abc.HalfCloseableStream) -> None:
        async with served(stream, work_or_fail, methods=("GET", "POST")):
            pass

    received = [
        re.sub(rb"Date: .*\r\n", b"", answer)
        for answer in await answers(partial(make, sent, eof=eof), serve, all_tasks=all_tasks)
    ]
    assert statuses(received[-1]) == expected
    for answer in received:
        assert received[-1].startswith(answer)
        assert answer[-1:] in (b"", b"\n")


async def shout(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
    """Upper case, until a stop or the end of the input; three seconds of work for each piece."""
    data: bytes | bytearray | None = b"x"
    while data:
        data = None
        with ctx.until_stopping():
            data = await stream.receive_some()
        if data:
            await trio.sleep(3)
            await stream.send_all(data.upper())


async def serve_shout(
    ctx: trioctx.Context, *, task_status: trio.TaskStatus[list[tuple[str, int]]]
) -> None:
    await serve_tcp(ctx, shout, 0, task_status=task_status)


@all_and_own
@pytest.mark.parametrize(
    ("server", "sent", "answers"),
    [
        (serve_shout, b"a", (b"A", b"")),  # the second client's work takes longer than the grace
        (partial(echo.serve, port=0), b"one\n", (b"one\n", b"one\n")),
        (partial(hello.serve, port=0, work=3.0), CLOSE, (b"HTTP/1.1 200 OK\r\n", b"")),
    ],
    ids=["serve_tcp", "echo", "hello"],
)
async def test_a_whole_server(
    server: Callable[..., Awaitable[None]],
    sent: bytes,
    answers: tuple[bytes, bytes],
    all_tasks: bool,
    autojump_clock: MockClock,
) -> None:
    """Whoever has connected is answered or let go, and nobody can connect any more."""
    clients: list[socket.socket] = []
    addresses: list[tuple[str, int]] = []
    received: list[bytes] = []
    descriptors = open_descriptors()

    async def serve() -> None:
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            [address] = await ctx.start(server, ctx)
            addresses.append(address)
            for _ in range(2):
                clients.append(socket.create_connection(address, LIMIT))
                clients[-1].sendall(sent)
                await trio.sleep(2)
            ctx.stop("enough", grace=0.5)

    async def check() -> None:
        received[:] = map(receive_all, clients)
        for address in addresses:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, LIMIT)
        clients.clear()
        addresses.clear()
        assert open_descriptors() == descriptors

    assert await cancel_at_every_checkpoint(serve, check=check, all_tasks=all_tasks)
    for answer, begin in zip(received, answers, strict=True):
        assert answer.startswith(begin) and bool(answer) == bool(begin)
