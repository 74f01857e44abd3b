"""The hello server, on memory streams and on Trio's mock clock."""

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

import trioctx
from trioctx.servers import client_addr
from trioctx.servers._http import MAX_BODY, MAX_HEAD, Request, Response
from trioctx.servers.hello import (
    READ_AHEAD,
    ClientDisconnected,
    RequestHandler,
    hello,
    serve,
    serve_http,
)

GET = b"GET /hello HTTP/1.1\r\nHost: here\r\n\r\n"
CLOSE = b"GET /hello HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"

STARTED = "server: hello handler started"
ENDED = "server: hello handler ended"

Stream = trio.abc.HalfCloseableStream


@asynccontextmanager
async def served(
    server: Stream, handler: RequestHandler = hello, *, timeout: float = math.inf
) -> AsyncIterator[trioctx.Context]:
    """A client at 10.0.0.1:5000 is served, as by the accept loop, until the block is left."""

    async def serve_client(ctx: trioctx.Context) -> None:
        async with server:
            routes = {"/hello": {"GET": handler, "HEAD": handler}}
            await serve_http(ctx, server, routes, timeout=timeout)

    async with trioctx.with_value(trioctx.background(), client_addr, "10.0.0.1:5000") as ctx:
        ctx.start_soon(serve_client, ctx)
        yield ctx


async def receive_response(
    stream: trio.abc.ReceiveStream, *, body: bool = True
) -> tuple[str, bytes]:
    """The head of one response, and its body if it is to have one."""
    data = b""
    while b"\r\n\r\n" not in data:
        received = await stream.receive_some(1)
        assert received, f"the end of the stream after {data!r}"
        data += received
    head = data.decode()
    size = int(head.split("Content-Length: ")[1].split("\r\n")[0]) if body else 0
    data = b""
    while len(data) < size:
        data += await stream.receive_some(size - len(data))
    return head, data


async def statuses_for(*pieces: bytes, handler: RequestHandler = hello) -> list[int]:
    """The statuses of all responses to these bytes, after which the server has to close."""
    client, server = memory_stream_pair()
    async with served(server, handler):
        for piece in pieces:
            await client.send_all(piece)
        data = b"".join([data async for data in client])
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


async def test_hello_says_hello(caplog: pytest.LogCaptureFixture) -> None:
    """With a line in the log before and after."""
    caplog.set_level(logging.INFO)
    client, server = memory_stream_pair()
    async with served(server):
        await client.send_all(GET)
        head, body = await receive_response(client)
        assert head.startswith("HTTP/1.1 200 OK\r\n")
        assert "\r\nConnection: keep-alive\r\n" in head
        assert body == b"hello\n"
        await client.aclose()
    assert caplog.messages == [STARTED, ENDED]


async def test_head_gets_no_body(autojump_clock: MockClock) -> None:
    """But its length; and the next response follows at once."""
    client, server = memory_stream_pair()
    async with served(server):
        await client.send_all(GET.replace(b"GET", b"HEAD") + CLOSE)
        head, _ = await receive_response(client, body=False)
        assert "\r\nContent-Length: 6\r\n" in head
        assert (await receive_response(client))[1] == b"hello\n"


async def test_other_methods_are_told_what_is_allowed(autojump_clock: MockClock) -> None:
    """405 with `Allow`."""
    client, server = memory_stream_pair()
    async with served(server):
        await client.send_all(CLOSE.replace(b"GET", b"DELETE"))
        head, _ = await receive_response(client)
        assert head.startswith("HTTP/1.1 405 ")
        assert "\r\nAllow: GET, HEAD\r\n" in head


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (CLOSE, [200]),
        (GET + GET + CLOSE, [200, 200, 200]),
        (CLOSE + GET, [200]),
        (CLOSE.replace(b"/hello", b"/hello?name=x"), [200]),
        (CLOSE.replace(b"/hello", b"/"), [404]),
        (b"GET /hello HTTP/1.0\r\n\r\n", [200]),
        (GET + b"nonsense", [200, 400]),
        (b"GET /hello HTTP/1.1\r\nHost: a\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n", [431]),
        (
            b"PUT /hello HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1)
            + b"x" * (MAX_BODY + 1),
            [413],
        ),
    ],
)
async def test_each_request_is_answered_in_order(
    sent: bytes, statuses: list[int], autojump_clock: MockClock
) -> None:
    """Until one after which the connection closes, whole or cut into pieces."""
    pieces = [sent[i : i + 7_000] for i in range(0, len(sent), 7_000)]
    assert await statuses_for(sent) == statuses
    assert await statuses_for(*pieces) == statuses
    assert await statuses_for(sent[:10], sent[10:]) == statuses


async def test_a_failing_handler_is_a_500(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is in the log only, and the connection goes on."""

    async def fail(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(200)
        raise ValueError("secret")

    client, server = memory_stream_pair()
    async with served(server, fail):
        await client.send_all(GET)
        head, body = await receive_response(client)
        assert head.startswith("HTTP/1.1 500 ")
        assert b"secret" not in body
        await client.send_all(CLOSE.replace(b"GET", b"HEAD"))
        head, _ = await receive_response(client, body=False)
        assert head.startswith("HTTP/1.1 200 ")
    assert "GET /hello failed" in caplog.messages
    assert "ValueError: secret" in caplog.text


async def test_each_request_has_a_context_of_its_own(autojump_clock: MockClock) -> None:
    """Named after the request, below the connection's, with the deadline."""
    seen: list[trioctx.Context] = []

    async def note(request: Request) -> Response:
        ctx = trioctx.current()
        seen.append(ctx)
        assert ctx.name == "GET /hello"
        assert ctx[client_addr] == "10.0.0.1:5000"
        assert 4 < ctx.remaining() <= 5
        return Response(200)

    client, server = memory_stream_pair()
    async with served(server, note, timeout=5) as connection:
        await client.send_all(GET + CLOSE)
        for _ in range(2):
            await receive_response(client)
    assert len(set(seen)) == 2
    assert {ctx.parent for ctx in seen} == {connection}


async def test_a_request_that_takes_too_long_is_a_504(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The handler is cancelled, and says why; the connection goes on."""
    caplog.set_level(logging.INFO)
    client, server = memory_stream_pair()
    async with served(server, partial(hello, work=10), timeout=3):
        for request in (GET, CLOSE):
            begun = trio.current_time()
            await client.send_all(request)
            head, _ = await receive_response(client)
            assert head.startswith("HTTP/1.1 504 ")
            assert trio.current_time() - begun == pytest.approx(3)
    started, why, ended = caplog.messages[:3]
    assert (started, ended) == (STARTED, ENDED)
    assert "deadline" in why.lower()


@pytest.mark.parametrize("half", [False, True])
async def test_a_client_that_goes_away_cancels_its_request(
    half: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, with `ClientDisconnected` as the cause; also when it closes one side only."""
    caplog.set_level(logging.INFO)
    causes: list[BaseException | None] = []

    async def work(request: Request) -> Response:
        try:
            return await hello(request, work=10)
        finally:
            causes.append(trioctx.current().cause)

    client, server = memory_stream_pair()
    async with served(server, work):
        await client.send_all(GET)
        await trio.sleep(1)
        if half:
            await client.send_eof()
            assert await client.receive_some() == b""
        else:
            await client.aclose()
    assert trio.current_time() == pytest.approx(1)
    assert caplog.messages == [STARTED, "server: client 10.0.0.1:5000 disconnected", ENDED]
    [cause] = causes
    assert isinstance(cause, ClientDisconnected)


async def test_a_reset_cancels_the_request(autojump_clock: MockClock) -> None:
    """On a real socket, where the reset is an error of the read."""
    cancelled = trio.Event()

    async def work(request: Request) -> Response:
        try:
            await trio.sleep_forever()
        finally:
            assert isinstance(trioctx.current().cause, ClientDisconnected)
            cancelled.set()

    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        client = await trio.testing.open_stream_to_socket_listener(listener)
        async with served(await listener.accept(), work):
            await client.send_all(GET)
            await trio.testing.wait_all_tasks_blocked()
            client.setsockopt(
                trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0])
            )
            await client.aclose()
    assert cancelled.is_set()


async def test_nothing_is_read_for_a_client_that_is_gone() -> None:
    """What it had sent ahead is dropped with it."""
    called = 0

    async def work(request: Request) -> Response:
        nonlocal called
        called += 1
        await trio.sleep_forever()
        raise AssertionError("not reached")

    client, server = memory_stream_pair()
    async with served(server, work):
        await client.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(GET)
        await client.aclose()
    assert called == 1


async def test_what_comes_ahead_is_kept_and_bounded(autojump_clock: MockClock) -> None:
    """Beyond `READ_AHEAD` it is left in the socket, and nothing of it is lost."""
    client, server = memory_stream_pair()
    long = GET.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 10_000 + b"\r\n\r\n")
    requests = 3 * READ_AHEAD // len(long)
    async with served(server, partial(hello, work=1)) as ctx:
        await client.send_all(GET)
        await trio.sleep(0.5)
        await client.send_all(long * requests)
        for _ in range(1 + requests):
            assert (await receive_response(client))[1] == b"hello\n"
        ctx.cancel()


async def test_a_stop_ends_a_waiting_connection_at_once() -> None:
    """Before its first request, and between two."""
    for request in (b"", GET):
        client, server = memory_stream_pair()
        async with served(server) as ctx:
            if request:
                await client.send_all(request)
                await receive_response(client)
            await trio.testing.wait_all_tasks_blocked()
            ctx.stop("enough", grace=math.inf)
            assert await client.receive_some() == b""


async def test_a_request_under_way_is_answered_within_the_grace(autojump_clock: MockClock) -> None:
    """Also one of which only a part has come; the answer says that the connection closes."""
    for head, rest in ((GET, b""), (GET[:20], GET[20:])):
        client, server = memory_stream_pair()
        async with served(server, partial(hello, work=2)) as ctx:
            await client.send_all(head)
            await trio.sleep(1)
            ctx.stop("enough", grace=10)
            await client.send_all(rest)
            answer, body = await receive_response(client)
            assert "\r\nConnection: close\r\n" in answer
            assert body == b"hello\n"
            assert await client.receive_some() == b""


async def test_after_the_grace_a_request_is_cancelled(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connection closes without an answer, and the log has the cause of the stop."""
    caplog.set_level(logging.INFO)
    client, server = memory_stream_pair()
    async with served(server, partial(hello, work=20)) as ctx:
        await client.send_all(GET)
        await trio.sleep(1)
        ctx.stop("enough", grace=10)
        assert await client.receive_some() == b""
    assert trio.current_time() == pytest.approx(11)
    assert caplog.messages == [STARTED, "server: enough", ENDED]


async def test_a_client_that_does_not_read_is_given_up(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """After ten seconds."""
    caplog.set_level(logging.DEBUG)
    client, server = lockstep_stream_pair()
    async with served(server):
        await client.send_all(GET)
    assert trio.current_time() == pytest.approx(10)
    assert "10.0.0.1:5000 did not take its answer" in caplog.text
    await client.aclose()


async def test_a_client_that_closes_in_mid_request_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is answered, nothing is logged."""
    client, server = memory_stream_pair()
    async with served(server):
        await client.send_all(GET[:20])
        await client.send_eof()
        assert await client.receive_some() == b""
    assert caplog.messages == []


async def test_serve_is_the_whole_server() -> None:
    """On a real socket."""
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        [(host, port)] = await ctx.start(serve, ctx, "127.0.0.1", 0)
        async with await trio.open_tcp_stream(host, port) as client:
            await client.send_all(CLOSE)
            assert (await receive_response(client))[1] == b"hello\n"
        ctx.stop("enough", grace=0)
