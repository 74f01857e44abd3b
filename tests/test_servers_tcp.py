"""The accept loop: a context for each connection, failing handlers, draining, exhaustion."""

import errno
import logging
import math
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

import trioctx
from trioctx.servers import (
    Handler,
    _tcp,
    client_addr,
    connection_id,
    linger,
    serve_listeners,
    serve_tcp,
)


@asynccontextmanager
async def serving(
    handler: Handler, *, max_connections: int | None = None
) -> AsyncIterator[tuple[trioctx.Context, int]]:
    """A server on a free port, below the context that is yielded, and its port."""
    serve = partial(serve_tcp, max_connections=max_connections)
    async with trioctx.with_cancel(trioctx.background(), name="test") as ctx:
        [(_, port)] = await ctx.start(serve, ctx, handler, 0)
        yield ctx, port
        ctx.cancel()


async def connect(port: int) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", port)


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([data async for data in stream])


async def shout(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
    """Upper case, until a stop or the end of the input."""
    with ctx.until_stopping():
        async for data in stream:
            await stream.send_all(data.upper())


async def test_it_tells_where_it_listens(caplog: pytest.LogCaptureFixture) -> None:
    """To whoever starts it, and in a line of the log."""
    caplog.set_level(logging.INFO)
    async with serving(shout) as (_, port), await connect(port) as client:
        assert f"listening on 127.0.0.1:{port}" in caplog.messages
        await client.send_all(b"hey")
        assert await client.receive_some() == b"HEY"


async def test_an_address_in_use_is_an_oserror() -> None:
    """Raised bare, before anything is served."""
    async with serving(shout) as (ctx, port):
        with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
            await serve_tcp(ctx, shout, port)


async def test_each_connection_has_a_context_named_after_its_client() -> None:
    """Below the server's, with its values in it, for whoever asks `current()` too."""
    seen: list[str | None] = []
    ids: set[int] = set()

    async def handler(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
        assert trioctx.current() is ctx
        assert ctx.parent is not None
        assert ctx.parent.parent is not None
        assert ctx.parent.parent.name == f"server 127.0.0.1:{port}"
        seen.extend([ctx.name, ctx[client_addr], client_addr.get()])
        assert ctx[connection_id] == connection_id.get() == ctx.lookup("connection_id")
        ids.add(connection_id.get())

    async with serving(handler) as (_, port):
        clients = [await connect(port), await connect(port)]
        for client in clients:
            assert await receive_all(client) == b""
            host, own_port = client.socket.getsockname()
            address = f"{host}:{own_port}"
            assert {address, f"client {address}"} <= set(seen)
            await client.aclose()
    assert len(seen) == 6
    assert len(ids) == 2


async def test_a_failing_handler_costs_only_its_own_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its stream is closed and the traceback logged; the others do not notice."""

    async def handler(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
        await shout(ctx, stream)
        raise ValueError("after the end")

    async with serving(handler) as (_, port), await connect(port) as other:
        async with await connect(port) as client:
            await client.send_eof()
            assert await receive_all(client) == b""
        await other.send_all(b"still here")
        assert await other.receive_some() == b"STILL HERE"
        [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert record.exc_info is not None
        assert repr(record.exc_info[1]) == "ValueError('after the end')"


async def test_several_failures_of_one_handler_are_logged_together(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A group of one is logged as the exception it holds, a larger one whole."""

    async def fail(exc: Exception) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise exc

    async def handler(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
        ctx.start_soon(fail, KeyError("a"))
        ctx.start_soon(fail, KeyError("b"))
        await stream.receive_some()
        ctx.cancel()

    async with serving(handler) as (_, port), await connect(port) as client:
        await client.send_eof()
        assert await receive_all(client) == b""
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    group = record.exc_info[1]
    while isinstance(group, ExceptionGroup) and len(group.exceptions) == 1:
        group = group.exceptions[0]
    assert isinstance(group, ExceptionGroup)
    assert {repr(exc) for exc in group.exceptions} == {"KeyError('a')", "KeyError('b')"}


async def test_a_handler_that_fails_while_it_is_cancelled_is_logged_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The cancellation of the server still ends it quietly."""
    started = trio.Event()

    async def fail(ctx: trioctx.Context) -> None:
        try:
            started.set()
            await trio.sleep_forever()
        finally:
            raise ValueError("in cleanup")

    async def handler(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
        ctx.start_soon(fail, ctx)
        await trio.sleep_forever()

    async with serving(handler) as (_, port), await connect(port):
        await started.wait()
    assert "in cleanup" in caplog.text


async def test_a_stop_closes_the_listener_and_ends_idle_connections_at_once(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """No time passes. `shutting down` is logged once."""
    caplog.set_level(logging.INFO)
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        [(_, port)] = await ctx.start(serve_tcp, ctx, shout, 0)
        async with await connect(port) as client:
            await client.send_all(b"a")
            assert await client.receive_some() == b"A"
            ctx.stop("enough", grace=math.inf)
            assert await receive_all(client) == b""
        with pytest.raises(OSError, match="all attempts to connect"):
            await connect(port)
    assert caplog.messages.count("shutting down") == 1


async def test_a_busy_connection_has_the_grace(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Done within it, it is not interrupted; else it is cancelled then, and the log says who."""
    started: dict[float, str] = {}
    ended: dict[float, float] = {}

    async def handler(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
        (seconds,) = await stream.receive_some()
        started[seconds] = client_addr.get()
        try:
            await trio.sleep(seconds)
            await stream.send_all(b"done")
        finally:
            ended[seconds] = trio.current_time()

    async with trioctx.with_cancel(trioctx.background()) as ctx:
        [(_, port)] = await ctx.start(serve_tcp, ctx, handler, 0)
        async with await connect(port) as quick, await connect(port) as slow:
            await quick.send_all(bytes([3]))
            await slow.send_all(bytes([30]))
            while len(started) < 2:
                await trio.lowlevel.checkpoint()
            stopped = trio.current_time()
            ctx.stop("enough", grace=5)
            assert await receive_all(quick) == b"done"
            assert await receive_all(slow) == b""
    assert ended == {3: stopped + 3, 30: stopped + 5}
    assert [record.getMessage() for record in caplog.records] == [
        f"client {started[30]} had to be cancelled: enough"
    ]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_accepting_survives_exhaustion(
    number: int,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It pauses, says so, and tries again."""
    accept = trio.SocketListener.accept
    failures = 3

    async def accept_later(listener: trio.SocketListener) -> trio.SocketStream:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(number, os.strerror(number))
        return await accept(listener)

    monkeypatch.setattr(trio.SocketListener, "accept", accept_later)
    begun = trio.current_time()
    async with serving(shout, max_connections=1) as (_, port), await connect(port) as client:
        await client.send_all(b"at last")
        assert await client.receive_some() == b"AT LAST"
    assert trio.current_time() - begun == pytest.approx(0.3)
    assert len([text for text in caplog.messages if os.strerror(number) in text]) == 3


async def test_another_error_of_accept_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is none that passes."""

    async def accept(listener: trio.SocketListener) -> trio.SocketStream:
        raise OSError(errno.EINVAL, "not listening")

    monkeypatch.setattr(trio.SocketListener, "accept", accept)
    with pytest.raises(ExceptionGroup) as caught:
        async with serving(shout) as (_, port), await connect(port) as client:
            await client.receive_some()
    assert caught.group_contains(OSError, match="not listening")


async def test_a_client_that_resets_before_it_is_accepted_is_nobody() -> None:
    """It has no address any more, and no handler is called for it."""
    called: list[str | None] = []

    async def handler(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
        called.append(ctx.name)

    async with serving(handler) as (_, port):
        reset = socket.create_connection(("127.0.0.1", port))
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.close()
        async with await connect(port) as client:
            assert await receive_all(client) == b""
            assert called == ["client {}:{}".format(*client.socket.getsockname())]


async def test_several_addresses_are_served() -> None:
    """Each with the port that the system chose for it."""
    serve = partial(serve_tcp, host=["127.0.0.1", "127.0.0.2"])
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        bound = await ctx.start(serve, ctx, shout, 0)
        assert [host for host, _ in bound] == ["127.0.0.1", "127.0.0.2"]
        for host, port in bound:
            async with await trio.open_tcp_stream(host, port) as client:
                await client.send_all(b"hey")
                assert await client.receive_some() == b"HEY"
        ctx.cancel()


async def test_of_several_addresses_all_are_served_or_none() -> None:
    """What was opened before the one that fails is closed."""
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    with taken, pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        await serve_tcp(trioctx.background(), shout, port, host=["127.0.0.2", "127.0.0.1"])
    with socket.create_server(("127.0.0.2", port)):
        pass


async def test_a_listener_can_come_from_elsewhere() -> None:
    """And is closed in the end."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        ctx.start_soon(serve_listeners, ctx, shout, [listener])
        async with await connect(listener.socket.getsockname()[1]) as client:
            await client.send_all(b"hey")
            assert await client.receive_some() == b"HEY"
        ctx.stop(grace=0)
    assert listener.socket.fileno() == -1


async def test_beyond_max_connections_clients_wait() -> None:
    """They can connect and send; nothing is dropped, and never are more served at a time."""
    served = most = 0

    async def count(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
        nonlocal served, most
        served += 1
        most = max(most, served)
        await shout(ctx, stream)
        served -= 1

    async def ask(client: trio.SocketStream, number: int) -> None:
        async with client:
            await client.send_all(b"client %d" % number)
            await client.send_eof()
            assert await receive_all(client) == b"CLIENT %d" % number

    async with serving(count, max_connections=3) as (_, port):
        clients = [await connect(port) for _ in range(50)]
        await trio.testing.wait_all_tasks_blocked()
        assert served == 3
        async with trio.open_nursery() as nursery:
            for number, client in enumerate(clients):
                nursery.start_soon(ask, client, number)
    assert most == 3


async def test_two_listeners_share_the_room() -> None:
    """A place is not reserved by one while clients wait at the other."""
    serve = partial(serve_tcp, host=["127.0.0.1", "127.0.0.2"], max_connections=1)
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        bound = await ctx.start(serve, ctx, shout, 0)
        for host, port in bound * 2:
            async with await trio.open_tcp_stream(host, port) as client:
                await client.send_all(b"hey")
                assert await client.receive_some() == b"HEY"
        ctx.cancel()


@pytest.mark.parametrize("bad", [0, -1, True, 1.5, math.inf])
async def test_max_connections_is_a_count(bad: int) -> None:
    """Anything else is refused by name, before the server counts as started."""
    serve = partial(serve_tcp, max_connections=bad)
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        with pytest.raises(ValueError, match=f"max_connections must .* not {bad!r}"):
            await ctx.start(serve, ctx, shout, 0)


@pytest.mark.parametrize("room", [None, 2, 1])
async def test_who_has_connected_before_a_stop_is_served(room: int | None) -> None:
    """Where there is room; the others are reset, as the listener closes at once."""
    called: list[bytes] = []

    async def handler(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
        called.append(await stream.receive_some())

    async with serving(handler, max_connections=room) as (ctx, port):
        async with await connect(port) as first:
            await trio.testing.wait_all_tasks_blocked()
            late = socket.create_connection(("127.0.0.1", port))
            late.sendall(b"late")
            ctx.stop(grace=math.inf)
            await trio.testing.wait_all_tasks_blocked()
            await first.send_all(b"first")
            assert await receive_all(first) == b""
        late.close()
    assert called == ([b"first"] if room == 1 else [b"late", b"first"])


async def test_a_stop_is_not_held_up_by_new_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those let in at the last moment are few: it ends also where each calls again at once."""
    monkeypatch.setattr(_tcp, "_LATECOMERS", 1)
    called: list[str] = []

    async def handler(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
        called.append(client_addr.get())

    async with serving(handler) as (ctx, port):
        here = ("127.0.0.1", port)
        with socket.create_connection(here) as first, socket.create_connection(here):
            ctx.stop(grace=math.inf)
            await trio.testing.wait_all_tasks_blocked()
            assert called == [_tcp._format(first.getsockname())]


async def test_linger_reads_until_the_client_closes() -> None:
    """The client sees the end at once, and what it sends until it closes is discarded."""
    client, server = memory_stream_pair()
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        ctx.start_soon(linger, ctx, server)
        assert await receive_all(client) == b""
        await client.send_all(b"x" * 100_000)
        await client.aclose()


@pytest.mark.parametrize(("stop", "end"), [(60.0, 1.0), (0.25, 0.25)])
async def test_linger_is_short(stop: float, end: float, autojump_clock: MockClock) -> None:
    """A second, or until a stop, whatever the client does."""
    client, server = memory_stream_pair()
    ended: list[float] = []

    async def linger_and_note_the_time(ctx: trioctx.Context) -> None:
        begun = trio.current_time()
        await linger(ctx, server)
        ended.append(trio.current_time() - begun)

    async with trioctx.with_cancel(trioctx.background()) as ctx:
        ctx.start_soon(linger_and_note_the_time, ctx)
        await client.send_all(b"x")
        await trio.sleep(stop)
        ctx.stop(grace=math.inf)
    assert ended == [pytest.approx(end)]


async def test_linger_does_not_mind_a_reset() -> None:
    """The client is gone, which is what was waited for."""
    client, server = memory_stream_pair()
    await client.aclose()
    await linger(trioctx.background(), server)


def test_addresses_are_written_as_in_a_url() -> None:
    """IPv6 in brackets, without its flow and scope; a path after `unix:`."""
    assert _tcp._format(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert _tcp._format(("::1", 80, 0, 0)) == "[::1]:80"
    assert _tcp._format("/run/x.sock") == "unix:/run/x.sock"
