"""The HTTP server and its hello, on memory streams, sockets, and Trio's mock clock."""

import logging
import math
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from serving import (
    CLOSE,
    ENDED,
    GET,
    STARTED,
    open_socket_pair,
    receive_all,
    receive_response,
    reset,
    served,
    statuses_for,
)
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

import trioctx
from trioctx.servers import client_addr
from trioctx.servers._peers import READ_AHEAD
from trioctx.servers.hello import hello, serve
from trioctx.servers.http import ClientDisconnected, Limits, Request, Response, request_id

POST = b"POST /hello HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
EXPECT = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")

ACCESS = "trioctx.servers.http.access"

Pair = Callable[[], Awaitable[tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]]]


async def open_memory_pair() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
    return memory_stream_pair()


both_transports = pytest.mark.parametrize("open_pair", [open_memory_pair, open_socket_pair])


async def echo_body(request: Request) -> Response:
    return Response(200, request.body)


def access_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == ACCESS]


def other_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name != ACCESS]


@both_transports
async def test_hello_says_hello(open_pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """With a line in the log before and after, and one in the access log."""
    caplog.set_level(logging.INFO)
    client, server = await open_pair()
    async with served(server):
        await client.send_all(GET)
        answer = await receive_response(client)
        assert (answer.status, answer.body) == (200, b"hello\n")
        assert not answer.closes
        await client.aclose()
    assert other_lines(caplog) == [STARTED, ENDED]
    [line] = access_lines(caplog)
    assert re.fullmatch(r'10\.0\.0\.1:5000 "GET /hello" 200 \d+\.\d ms [0-9a-f]{8}-\d+', line)


@both_transports
async def test_head_gets_no_body(open_pair: Pair) -> None:
    """But its length; and the next response follows at once."""
    client, server = await open_pair()
    async with served(server):
        await client.send_all(GET.replace(b"GET", b"HEAD") + CLOSE)
        answer = await receive_response(client, body=False)
        assert answer.headers["content-length"] == "6"
        assert (await receive_response(client)).body == b"hello\n"
        await client.aclose()


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (CLOSE, [200]),
        (GET + GET + CLOSE, [200, 200, 200]),
        (CLOSE + GET, [200]),
        (CLOSE.replace(b"/hello", b"/hello?name=x"), [200]),
        (GET.replace(b"/hello", b"/") + CLOSE, [404, 200]),
        (GET.replace(b"GET", b"DELETE") + CLOSE, [405, 200]),
        (GET.replace(b"GET", b"PROPFIND") + CLOSE, [501, 200]),
        (b"GET /hello HTTP/1.0\r\n\r\n", [200]),
        (GET + b"nonsense", [200, 400]),
        (POST + b"abc", [405]),
    ],
)
async def test_each_request_is_answered_in_order(
    sent: bytes, statuses: list[int], autojump_clock: MockClock
) -> None:
    """Until one after which the connection closes, whole or cut into pieces."""
    assert await statuses_for(sent) == statuses
    assert await statuses_for(sent[:10], sent[10:]) == statuses
    assert await statuses_for(*(sent[i : i + 7] for i in range(0, len(sent), 7))) == statuses


@both_transports
async def test_a_client_that_wants_to_be_asked_for_its_body_is_asked(open_pair: Pair) -> None:
    """Once the head has shown that there is somebody to take it."""
    client, server = await open_pair()
    async with served(server, echo_body, methods=("POST",)):
        await client.send_all(EXPECT)
        assert await client.receive_some(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send_all(b"a")
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(b"bc")
        answer = await receive_response(client)
        assert (answer.status, answer.body) == (200, b"abc")
        await client.aclose()


async def test_a_body_that_nobody_takes_is_not_asked_for(autojump_clock: MockClock) -> None:
    """The answer comes at once, and the connection closes: the client may send the body or not."""
    for path, status in ((b"/hello", 405), (b"/", 404)):
        expect = EXPECT.replace(b"/hello", path)
        assert await statuses_for(expect) == [status]
        assert await statuses_for(expect.replace(b"close", b"keep-alive")) == [status]


async def test_a_failing_handler_is_a_500(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is in the log only, and the connection goes on."""
    caplog.set_level(logging.INFO)

    async def fail(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(200)
        raise ValueError("secret")

    client, server = memory_stream_pair()
    async with served(server, fail):
        await client.send_all(GET)
        answer = await receive_response(client)
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert b"ValueError" not in answer.body
        await client.send_all(CLOSE.replace(b"GET", b"HEAD"))
        assert (await receive_response(client, body=False)).status == 200
    assert "GET /hello failed" in caplog.messages
    assert "ValueError: secret" in caplog.text
    assert access_lines(caplog)[0].endswith(": ValueError('secret')")


async def test_a_handler_that_returns_no_response_is_a_500(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names it."""

    async def forget(request: Request) -> Any:
        return None

    assert await statuses_for(CLOSE, handler=forget) == [500]
    assert "forget" in caplog.text
    assert "must return a Response, not None" in caplog.text


async def test_only_the_deadline_of_the_request_is_a_504(autojump_clock: MockClock) -> None:
    """One that a handler has set for a part of its work, and lets escape, is its failure."""

    async def give_up(request: Request) -> Response:
        with trioctx.with_timeout(trioctx.current(), 1):
            await trio.sleep_forever()
        raise AssertionError("not reached")

    assert await statuses_for(CLOSE, handler=give_up) == [500]


async def test_each_request_has_a_context_of_its_own(autojump_clock: MockClock) -> None:
    """Named after the request, below the connection's, with the deadline and the values."""
    seen: list[trioctx.Context] = []

    async def note(request: Request) -> Response:
        ctx = trioctx.current()
        seen.append(ctx)
        assert ctx.name == "GET /hello"
        assert ctx[client_addr] == ctx.lookup("client_addr") == "10.0.0.1:5000"
        assert ctx[request_id] == ctx.lookup("request_id") == request_id.get()
        assert 4 < ctx.remaining() <= 5
        return Response(200)

    client, server = memory_stream_pair()
    async with served(server, note, limits=Limits(handler=5)) as connection:
        await client.send_all(GET + CLOSE)
        for _ in range(2):
            await receive_response(client)
    assert len(set(seen)) == 2
    assert {ctx.parent for ctx in seen} == {connection}
    assert {ctx.state for ctx in seen} == {"closed"}


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (b"abc-123", True),
        (b"x" * 128, True),
        (b"x" * 129, False),
        (b"", False),
        (b"two words", False),
        (b"\xc3\xa4", False),
    ],
)
async def test_a_request_is_called_what_the_client_calls_it_where_that_is_safe(
    given: bytes, taken: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Printable and bounded; else it is given a name, and each request another."""
    caplog.set_level(logging.INFO)
    called: list[str] = []

    async def note(request: Request) -> Response:
        called.append(request_id.get())
        return Response(200)

    request = CLOSE.replace(b"Host", b"X-Request-ID: " + given + b"\r\nHost")
    assert await statuses_for(request, handler=note) == [200]
    assert await statuses_for(request, handler=note) == [200]
    if taken:
        assert called == [given.decode()] * 2
    else:
        assert len(set(called)) == 2
        assert given.decode() not in called
    assert [line.rpartition(" ")[2] for line in access_lines(caplog)] == called


@both_transports
async def test_a_request_that_takes_too_long_is_a_504(
    open_pair: Pair, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The handler is cancelled, and says why; the connection goes on."""
    caplog.set_level(logging.INFO)
    client, server = await open_pair()
    async with served(server, partial(hello, work=10), limits=Limits(handler=3)):
        for request in (GET, CLOSE):
            begun = trio.current_time()
            await client.send_all(request)
            assert (await receive_response(client)).status == 504
            assert 3 <= trio.current_time() - begun < 10
        await client.aclose()
    started, why, ended = other_lines(caplog)[:3]
    assert (started, ended) == (STARTED, ENDED)
    assert "deadline" in why.lower()
    assert "504" in access_lines(caplog)[0]
    assert "DeadlineExceeded" in access_lines(caplog)[0]


DISCONNECTED = [STARTED, "server: client 10.0.0.1:5000 disconnected", ENDED]


@both_transports
@pytest.mark.parametrize("ahead", [b"", GET, b"GET /he"])
@pytest.mark.parametrize("way", ["close", "half", "reset"])
async def test_a_client_that_goes_away_cancels_its_request(
    open_pair: Pair, way: str, ahead: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """With `ClientDisconnected` as the cause; whatever it had sent ahead, which is dropped."""
    caplog.set_level(logging.INFO)
    causes: list[BaseException | None] = []
    working = trio.Event()

    async def work(request: Request) -> Response:
        working.set()
        try:
            return await hello(request, work=60)
        finally:
            causes.append(trioctx.current().cause)

    client, server = await open_pair()
    async with served(server, work):
        await client.send_all(GET)
        await working.wait()
        await client.send_all(ahead)
        await trio.testing.wait_all_tasks_blocked()
        if way == "half":
            await client.send_eof()
            assert await receive_all(client) == b""
        elif way == "reset" and isinstance(client, trio.SocketStream):
            await reset(client)
        await client.aclose()
    assert other_lines(caplog) == DISCONNECTED
    [line] = access_lines(caplog)
    assert '"GET /hello" - ' in line
    assert line.endswith(": ClientDisconnected('client 10.0.0.1:5000 disconnected')")
    [cause] = causes
    assert isinstance(cause, ClientDisconnected)


@both_transports
async def test_a_quick_handler_answers_a_client_that_has_closed_its_side(open_pair: Pair) -> None:
    """`printf ... | nc -N`: nothing waits, so nothing is cancelled, and the answers are taken."""
    client, server = await open_pair()
    async with served(server):
        await client.send_all(GET * 3)
        await client.send_eof()
        assert (await receive_all(client)).count(b"hello\n") == 3
        await client.aclose()


@both_transports
async def test_what_comes_ahead_is_kept(open_pair: Pair, autojump_clock: MockClock) -> None:
    """However much it is: beyond what is kept it is left unread, and nothing of it is lost."""
    client, server = await open_pair()
    long = GET.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 10_000 + b"\r\n\r\n")
    requests = 3 * READ_AHEAD // len(long)
    async with served(server, partial(hello, work=1)) as ctx:
        ctx.start_soon(client.send_all, GET + long * requests)
        for _ in range(1 + requests):
            assert (await receive_response(client)).body == b"hello\n"
        ctx.cancel()
    await client.aclose()


@both_transports
async def test_a_stop_ends_a_waiting_connection_at_once(
    open_pair: Pair, mock_clock: MockClock
) -> None:
    """Before its first request, and between two; no time passes."""
    for request in (b"", GET):
        client, server = await open_pair()
        async with served(server) as ctx:
            if request:
                await client.send_all(request)
                await receive_response(client)
            await trio.testing.wait_all_tasks_blocked()
            ctx.stop("enough", grace=math.inf)
            assert await receive_all(client) == b""
            await client.aclose()


@both_transports
async def test_a_handler_under_way_is_answered_within_the_grace(
    open_pair: Pair, autojump_clock: MockClock
) -> None:
    """The answer says that the connection closes, and what was sent ahead is not begun."""
    client, server = await open_pair()
    async with served(server, partial(hello, work=2)) as ctx:
        await client.send_all(GET + GET)
        await trio.sleep(1)
        ctx.stop("enough", grace=10)
        answer = await receive_response(client)
        assert (answer.status, answer.body) == (200, b"hello\n")
        assert answer.closes
        assert await receive_all(client) == b""
        await client.aclose()


@both_transports
async def test_a_request_that_has_begun_is_answered_within_the_grace(
    open_pair: Pair, autojump_clock: MockClock
) -> None:
    """Also where it was half a request; its body is still asked for."""
    for request, status in ((GET, b"200"), (EXPECT, b"100")):
        client, server = await open_pair()
        async with served(server, methods=("GET", "POST")) as ctx:
            await client.send_all(request[:20])
            await trio.sleep(1)
            ctx.stop("enough", grace=10)
            await trio.sleep(1)
            await client.send_all(request[20:])
            assert (await client.receive_some(12))[9:] == status
            await client.send_all(b"abc")
            assert b"\r\nConnection: close\r\n" in await receive_all(client)
            await client.aclose()


async def test_a_client_that_connects_while_draining_is_let_go() -> None:
    """With a 503 if it has sent a request, and else without a word."""
    for sent in (b"", GET):
        client, server = await open_socket_pair()
        await client.send_all(sent)
        async with served(server) as ctx:
            ctx.stop("enough", grace=math.inf)
            answer = await receive_all(client)
            await client.aclose()
        assert answer[:12] == (b"HTTP/1.1 503" if sent else b"")
        assert (b"\r\nConnection: close\r\n" in answer) is bool(sent)


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
    assert other_lines(caplog) == [STARTED, "server: enough", ENDED]
    assert access_lines(caplog)[0].endswith(": ContextCancelled('enough')")


@pytest.mark.parametrize("sent", [GET[:1], GET[:-1], POST + b"a"])
@both_transports
async def test_a_request_that_does_not_come_to_its_end_is_a_408(
    sent: bytes, open_pair: Pair, autojump_clock: MockClock
) -> None:
    """Within ten seconds of its first byte, however steadily it trickles."""
    client, server = await open_pair()

    async def trickle(ctx: trioctx.Context) -> None:
        for byte in sent:
            await client.send_all(bytes([byte]))
            await trio.sleep(9 / len(sent))

    async with served(server) as ctx:
        begun = trio.current_time()
        ctx.start_soon(trickle, ctx)
        answer = await receive_response(client)
        assert answer.status == 408
        assert answer.closes
        assert 10 <= trio.current_time() - begun < 11
        assert await receive_all(client) == b""
        await client.aclose()


@both_transports
async def test_a_silent_client_is_let_go(open_pair: Pair, autojump_clock: MockClock) -> None:
    """After the idle timeout, which each request begins anew; without a word."""
    client, server = await open_pair()
    async with served(server, limits=Limits(idle=60)):
        await trio.sleep(40)
        await client.send_all(GET)
        await receive_response(client)
        begun = trio.current_time()
        assert await receive_all(client) == b""
        assert 59 <= trio.current_time() - begun <= 62
        await client.aclose()


@pytest.mark.parametrize("on_sockets", [False, True])
async def test_a_client_that_does_not_read_is_given_up(
    on_sockets: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """After ten seconds."""

    async def answer_much(request: Request) -> Response:
        return Response(200, b"x" * 30_000_000)

    caplog.set_level(logging.DEBUG)
    client, server = await open_socket_pair() if on_sockets else lockstep_stream_pair()
    async with served(server, answer_much):
        begun = trio.current_time()
        await client.send_all(GET)
    assert 10 <= trio.current_time() - begun < 12
    assert "10.0.0.1:5000 did not take its answer" in caplog.text
    await client.aclose()


@both_transports
async def test_a_client_that_closes_in_mid_request_is_no_error(
    open_pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is answered, nothing is logged."""
    caplog.set_level(logging.INFO)
    client, server = await open_pair()
    async with served(server):
        await client.send_all(GET[:20])
        await trio.testing.wait_all_tasks_blocked()
        await client.send_eof()
        assert await receive_all(client) == b""
        await client.aclose()
    assert caplog.messages == []


async def test_serve_is_the_whole_server() -> None:
    """On a real socket; a stop ends it."""
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        [(host, port)] = await ctx.start(serve, ctx, "127.0.0.1", 0)
        async with await trio.open_tcp_stream(host, port) as client:
            await client.send_all(CLOSE)
            assert (await receive_response(client)).body == b"hello\n"
        ctx.stop("enough", grace=0)


async def test_serve_gives_a_request_half_a_minute(autojump_clock: MockClock) -> None:
    """Unless it is told otherwise."""
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        given: list[tuple[dict[str, Any], int]] = [({}, 504), ({"timeout": math.inf}, 200)]
        for timeout, status in given:
            server = partial(serve, port=0, work=60, **timeout)
            [(host, port)] = await ctx.start(server, ctx)
            async with await trio.open_tcp_stream(host, port) as client:
                begun = trio.current_time()
                await client.send_all(CLOSE)
                assert (await receive_response(client)).status == status
                assert trio.current_time() - begun >= (30 if status == 504 else 60)
        ctx.stop("enough", grace=0)
