"""The echo server, on memory streams and on Trio's mock clock."""

import logging
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import (
    MockClock,
    lockstep_stream_pair,
    memory_stream_one_way_pair,
    memory_stream_pair,
)

import trioctx
from trioctx.servers import client_addr
from trioctx.servers.echo import MAX_LINE, echo, serve

GOOD_BYE = b"Good bye, client @ 10.0.0.1:5000\n"
SHUTTING_DOWN = b"Server shutting down\n"

Stream = trio.abc.HalfCloseableStream


@asynccontextmanager
async def served(server: Stream) -> AsyncIterator[trioctx.Context]:
    """A client at 10.0.0.1:5000 is served, as by the accept loop, until the block is left."""

    async def serve_client(ctx: trioctx.Context) -> None:
        async with server:
            await echo(ctx, server)

    async with trioctx.with_value(trioctx.background(), client_addr, "10.0.0.1:5000") as ctx:
        ctx.start_soon(serve_client, ctx)
        yield ctx


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([data async for data in stream])


async def receive_exactly(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive_some(size - len(data))
    return data


async def answer_to(*pieces: bytes) -> bytes:
    """All that comes back for what is sent in these pieces, before the end of the input."""
    client, server = memory_stream_pair()
    async with served(server):
        try:
            for piece in pieces:
                await client.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()
        except trio.BrokenResourceError:
            pass  # the server has said goodbye
        await client.send_eof()
        return await receive_all(client)
    raise AssertionError("the block does not swallow anything")


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        (b"", b""),
        (b"one\ntwo\n", b"one\ntwo\n"),
        (b"one\r\ntwo\n", b"one\r\ntwo\n"),
        (b"\x00\xff\r\x80\n", b"\x00\xff\r\x80\n"),
        (b"one\n\ntwo\n", b"one\n"),
        (b"one\r\n\r\ntwo\r\n", b"one\r\n"),
        (b" \n", b" \n"),
        (b"one\nunfinished", b"one\nunfinished\n"),
    ],
)
async def test_lines_come_back_until_a_blank_one_or_the_end(sent: bytes, echoed: bytes) -> None:
    """Byte for byte, whatever they hold; then the goodbye names the client."""
    assert await answer_to(sent) == echoed + GOOD_BYE


async def test_how_the_bytes_are_cut_makes_no_difference() -> None:
    """Lines split and joined in 100 random ways."""
    rng = random.Random(8081)
    sent = b"one\r\n\xff\nthree and more\n\r\nnot any more\n"
    for _ in range(100):
        cuts = sorted(rng.sample(range(len(sent)), rng.randrange(1, 9)))
        pieces = [sent[i:j] for i, j in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
        assert await answer_to(*pieces) == b"one\r\n\xff\nthree and more\n" + GOOD_BYE


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
async def test_the_length_of_a_line_is_bounded(ending: bytes) -> None:
    """The ending does not count; beyond the bound there is an error and no goodbye."""
    longest = b"x" * MAX_LINE + ending
    error = b"error: line longer than %d bytes\n" % MAX_LINE
    assert await answer_to(longest) == longest + GOOD_BYE
    assert await answer_to(b"x" + longest) == error
    assert await answer_to(b"fine\n" + b"x" * 3 * MAX_LINE) == b"fine\n" + error


async def test_nothing_is_read_from_a_client_that_does_not_read() -> None:
    """Its echo has to be written first, so it costs one line and one read of memory."""
    client, server = lockstep_stream_pair()
    sent = 0
    async with served(server) as ctx:
        with pytest.raises(trio.WouldBlock):
            while True:
                with trio.CancelScope() as scope:
                    ctx.start_soon(_cancel_when_blocked, scope)
                    await client.send_all(b"x" * 999 + b"\n")
                    sent += 1
                if scope.cancelled_caught:
                    raise trio.WouldBlock
        await client.aclose()
    assert sent < 100


async def _cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def test_a_stop_tells_a_waiting_client_at_once() -> None:
    """What has come of a line that is not finished is dropped."""
    client, server = memory_stream_pair()
    async with served(server) as ctx:
        await client.send_all(b"one\nunfinis")
        assert await receive_exactly(client, 4) == b"one\n"
        ctx.stop("enough", grace=math.inf)
        assert await receive_all(client) == SHUTTING_DOWN


async def test_a_line_being_echoed_is_not_cut_by_a_stop(autojump_clock: MockClock) -> None:
    """It has the grace; then comes the last word."""
    client, server = lockstep_stream_pair()
    async with served(server) as ctx:
        await client.send_all(b"one\n")
        await trio.testing.wait_all_tasks_blocked()
        ctx.stop("enough", grace=10)
        await trio.sleep(9)
        assert await receive_exactly(client, 4) == b"one\n"
        assert await receive_all(client) == SHUTTING_DOWN


async def test_a_cancelled_connection_still_gets_the_last_word() -> None:
    """It is written under `without_cancel`, also where the stop's grace was none."""
    client, server = memory_stream_pair()
    async with served(server) as ctx:
        await client.send_all(b"one\n")
        assert await receive_exactly(client, 4) == b"one\n"
        ctx.cancel("enough")
        assert await receive_all(client) == SHUTTING_DOWN


class Unread(trio.abc.SendStream):
    """The way to a client that never reads, when every buffer is full."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep_forever()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.sleep_forever()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_nobody_waits_long_for_a_client_that_does_not_read(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The grace for the line, two seconds for the last word."""
    caplog.set_level(logging.DEBUG)
    client, received = memory_stream_one_way_pair()
    async with served(trio.StapledStream(Unread(), received)) as ctx:
        await client.send_all(b"one\n")
        await trio.testing.wait_all_tasks_blocked()
        ctx.stop("enough", grace=10)
    assert trio.current_time() == pytest.approx(12)
    assert "10.0.0.1:5000 has not heard" in caplog.text


async def test_a_client_that_goes_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Neither while it is written to, nor when the server stops at that moment."""
    caplog.set_level(logging.DEBUG)
    for stop in (False, True):
        client, server = memory_stream_pair()
        async with served(server) as ctx:
            await client.send_all(b"one\n")
            await client.aclose()
            if stop:
                ctx.cancel()
    assert "10.0.0.1:5000 went away" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_stop_while_lingering_adds_nothing(autojump_clock: MockClock) -> None:
    """After the error the client has been told the end, and cannot be told more."""
    client, server = memory_stream_pair()
    async with served(server) as ctx:
        await client.send_all(b"x" * 2 * MAX_LINE)
        assert (await client.receive_some()).startswith(b"error: ")
        await trio.testing.wait_all_tasks_blocked()
        ctx.stop("enough", grace=math.inf)
        assert await receive_all(client) == b""
    assert trio.current_time() == 0


async def test_serve_is_the_whole_server() -> None:
    """On a real socket, with the real address in the goodbye."""
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        [(host, port)] = await ctx.start(serve, ctx, "127.0.0.1", 0)
        async with await trio.open_tcp_stream(host, port) as client:
            await client.send_all(b"one\n\n")
            address = "{}:{}".format(*client.socket.getsockname())
            assert await receive_all(client) == f"one\nGood bye, client @ {address}\n".encode()
        ctx.stop("enough", grace=0)
