"""The servers, cancelled at every checkpoint: nothing leaks, nobody is left without an end."""

import gc
import logging
import math
import os
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

import trioctx
from trioctx.servers import client_addr, serve_tcp
from trioctx.servers.echo import MAX_LINE, echo
from trioctx.testing import cancel_at_every_checkpoint

# Reached only by a test that fails.
LIMIT = 20.0

SHUTTING_DOWN = b"Server shutting down\n"

all_and_own = pytest.mark.parametrize("all_tasks", [False, True])


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def open_contexts() -> int:
    contexts = (thing for thing in gc.get_objects() if isinstance(thing, trioctx.Context))
    return sum(ctx.state == "open" for ctx in contexts)


@pytest.fixture(autouse=True)
def nothing_leaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No descriptor, no open context; and nobody logs an error."""
    gc.collect()
    before = open_descriptors(), open_contexts()
    yield
    assert (open_descriptors(), open_contexts()) == before
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


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
Handler = Callable[[trioctx.Context, trio.abc.HalfCloseableStream], Awaitable[object]]


async def answers(
    connect: Connect, handler: Handler, *, stopping: bool = False, all_tasks: bool = False
) -> list[bytes]:
    """What the client received in each run of `handler`. The last is that which ran through."""
    received: list[bytes] = []
    clients: list[Client] = []
    contexts: list[trioctx.Context] = []
    descriptors = open_descriptors()

    async def serve() -> None:
        client = connect()
        clients.append(client)
        async with client.server:
            values = trioctx.with_value(trioctx.background(), client_addr, "10.0.0.1:5000")
            async with trioctx.with_cancel(values) as ctx:
                contexts.append(ctx)
                if stopping:
                    ctx.stop("enough", grace=math.inf)
                await handler(ctx, client.server)

    async def check() -> None:
        received.append(await clients.pop().receive_all())
        assert contexts.pop().state == "closed"
        assert open_descriptors() == descriptors

    assert await cancel_at_every_checkpoint(serve, check=check, all_tasks=all_tasks)
    return received


ECHO_CASES = {
    "blank line": (b"one\ntwo\r\n\n", False),
    "end": (b"one\nunfinished", True),
    "end at once": (b"", True),
    "silence": (b"one\nunfinis", False),
    "too long": (b"one\n" + b"x" * 2 * MAX_LINE, False),
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
    received = await answers(
        lambda: make(sent, eof=eof), echo, stopping=stopping, all_tasks=all_tasks
    )
    whole = received[-1].removesuffix(SHUTTING_DOWN)
    for answer in received:
        lines = answer.removesuffix(SHUTTING_DOWN)
        assert whole.startswith(lines)
        assert lines[-1:] in (b"", b"\n")


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


@all_and_own
async def test_the_accept_loop(all_tasks: bool, autojump_clock: MockClock) -> None:
    """Whoever has connected is answered or let go, and nobody can connect any more."""
    clients: list[socket.socket] = []
    addresses: list[tuple[str, int]] = []
    received: list[bytes] = []
    descriptors = open_descriptors()

    async def serve() -> None:
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            [address] = await ctx.start(serve_tcp, ctx, shout, 0)
            addresses.append(address)
            for sent in (b"a", b"b"):
                clients.append(socket.create_connection(address, LIMIT))
                clients[-1].sendall(sent)
                await trio.sleep(2)
            ctx.stop("enough", grace=0.5)

    async def check() -> None:
        received[:] = map(receive_all, clients)
        assert set(received) <= {b"A", b""}
        for address in addresses:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, LIMIT)
        clients.clear()
        addresses.clear()
        assert open_descriptors() == descriptors

    assert await cancel_at_every_checkpoint(serve, check=check, all_tasks=all_tasks)
    assert received == [b"A", b""]  # the second client's work takes longer than the grace
