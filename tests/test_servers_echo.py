"""The echo server, on memory streams and on Trio's mock clock."""

import logging
import math
import os
import random
import socket
from collections.abc import AsyncIterator, Callable
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
from trioctx.servers._nowait import receive_nowait
from trioctx.servers.echo import MAX_LINE, echo, serve

GOOD_BYE = b"Good bye, client @ 10.0.0.1:5000\n"
SHUTTING_DOWN = b"Server shutting down\n"

Stream = trio.abc.HalfCloseableStream


Pair = Callable[[], tuple[Stream, Stream]]


def socket_stream_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """As `memory_stream_pair`, through the kernel."""
    one, other = map(trio.socket.from_stdlib_socket, socket.socketpair())
    return trio.SocketStream(one), trio.SocketStream(other)


on_both = pytest.mark.parametrize("pair", [memory_stream_pair, socket_stream_pair])


@asynccontextmanager
async def served(server: Stream, **limits: float) -> AsyncIterator[trioctx.Context]:
    """A client at 10.0.0.1:5000 is served, as by the accept loop, until the block is left."""

    async def serve_client(ctx: trioctx.Context) -> None:
        async with server:
            await echo(ctx, server, **limits)

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


async def answer_to(*pieces: bytes, pair: Pair = memory_stream_pair) -> bytes:
    """All that comes back for what is sent in these pieces, before the end of the input."""
    client, server = pair()
    async with client, served(server):
        for piece in pieces:
            await client.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()
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
        (b"one\n\n\r\ntwo\n", b"one\n"),
        (b"one\n\r\n\ntwo\n", b"one\n"),
        (b"\n", b""),
        (b"\r\none\n", b""),
        (b"one\r\r\ntwo\n", b"one\r\r\ntwo\n"),
        (b"one\r\n\r\ntwo\r\n", b"one\r\n"),
        (b" \n", b" \n"),
        (b"one\nunfinished", b"one\nunfinished\n"),
    ],
)
@on_both
async def test_lines_come_back_until_a_blank_one_or_the_end(
    sent: bytes, echoed: bytes, pair: Pair
) -> None:
    """Byte for byte, whatever they hold; then the goodbye names the client."""
    assert await answer_to(sent, pair=pair) == echoed + GOOD_BYE


class Script(trio.abc.HalfCloseableStream):
    """A client that sends these pieces, each in one packet, and keeps what it is sent."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces[::-1]
        self.received = bytearray()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.pieces:
            return b""
        piece = self.pieces.pop()
        if max_bytes is not None and len(piece) > max_bytes:
            self.pieces.append(piece[max_bytes:])
        return piece[:max_bytes]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.received += data

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("not needed")

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        raise AssertionError("the accept loop does that")


def expected(sent: bytes) -> bytes:
    """What an echo of lines is, one line at a time."""
    echoed = b""
    lines = sent.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for line in lines:
        text = line.removesuffix(b"\r")
        if len(text) > MAX_LINE:
            return echoed + b"error: line longer than %d bytes\n" % MAX_LINE
        if not text:
            break
        echoed += line + b"\n"
    return echoed + GOOD_BYE


def random_stream(rng: random.Random) -> bytes:
    """Some lines with their endings; now and then a blank one, a long one, or a mutation."""
    sent = b""
    for _ in range(rng.randrange(8)):
        size = rng.choice([1, 2, 20]) if rng.random() < 0.995 else MAX_LINE + rng.randint(-3, 3)
        sent += rng.randbytes(size) + rng.choice([b"\n", b"\r\n"])
    sent += rng.choice([b"", b"x", b"\n", b"\r\n", b"\n\r\n\nx\n"])
    mutated = bytearray(sent)
    for _ in range(rng.choice([0, 0, 1, 5]) if sent else 0):
        mutated[rng.randrange(len(sent))] = rng.choice(b"\r\nx\x00\xff")
    return bytes(mutated)


def random_pieces(rng: random.Random, sent: bytes) -> list[bytes]:
    cuts = sorted(rng.randrange(len(sent) + 1) for _ in range(rng.randrange(9)))
    pieces = [sent[i:j] for i, j in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    return [piece for piece in pieces if piece]


async def test_20000_streams_cut_at_random_come_back() -> None:
    """However lines are split, joined and mutated, the answer is that to the whole."""
    rng = random.Random(8081)
    with trioctx.with_value(trioctx.background(), client_addr, "10.0.0.1:5000") as ctx:
        for number in range(20_000):
            sent = random_stream(rng)
            client = Script(random_pieces(rng, sent))
            await echo(ctx, client)
            assert client.received == expected(sent), (number, sent)


async def test_sockets_are_no_different() -> None:
    """300 more, where what is sent at once and what is not is the kernel's choice."""
    rng = random.Random(8082)
    for number in range(300):
        sent = random_stream(rng)
        answer = await answer_to(*random_pieces(rng, sent), pair=socket_stream_pair)
        assert answer == expected(sent), (number, sent)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@on_both
async def test_the_length_of_a_line_is_bounded(ending: bytes, pair: Pair) -> None:
    """The ending does not count; beyond the bound there is an error and no goodbye."""
    longest = b"x" * MAX_LINE + ending
    assert await answer_to(longest, pair=pair) == longest + GOOD_BYE
    for sent in (b"x" + longest, b"fine\n" + b"x" * 3 * MAX_LINE, longest + b"x" + longest):
        answer = await answer_to(sent, pair=pair)
        assert answer == expected(sent)
        assert answer.endswith(b"error: line longer than %d bytes\n" % MAX_LINE)


@on_both
async def test_a_client_has_so_long_for_a_line(pair: Pair, autojump_clock: MockClock) -> None:
    """From the line before; what comes of one that is never finished does not count."""
    client, server = pair()
    async with client, served(server, idle_timeout=10):
        for _ in range(3):
            await trio.sleep(8)
            await client.send_all(b"one\n")
            assert await receive_exactly(client, 4) == b"one\n"
        for _ in range(9):
            await trio.sleep(1)
            await client.send_all(b"x")
        assert trio.current_time() == pytest.approx(33)
        assert await receive_all(client) == b"error: no line for 10 seconds\n"
        assert trio.current_time() == pytest.approx(34)


async def test_the_time_for_a_line_begins_when_the_last_echo_is_out(
    autojump_clock: MockClock,
) -> None:
    """A client that is slow to receive is not late with its next line."""
    client, server = lockstep_stream_pair()
    async with client, served(server, idle_timeout=5):
        for _ in range(2):
            await trio.sleep(4)
            await client.send_all(b"one\n")
            await trio.sleep(8)
            assert await receive_exactly(client, 4) == b"one\n"


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


async def test_who_does_not_read_is_let_go_after_the_write_timeout(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Until then it costs what the kernel holds, a line and a read."""
    caplog.set_level(logging.DEBUG)
    client, server = socket_stream_pair()
    async with client, served(server, write_timeout=10):
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await client.send_all(b"x" * 999 + b"\n")
    assert trio.current_time() == pytest.approx(10)
    assert "10.0.0.1:5000 went away or does not read: DeadlineExceeded" in caplog.text


async def test_who_reads_late_gets_all() -> None:
    """What did not go out at once follows, whole and in order."""
    client, server = socket_stream_pair()
    lines = b"".join(b"%d\n" % number for number in range(1, 100_000))
    async with client, served(server) as ctx:

        async def send() -> None:
            await client.send_all(lines + b"\n")

        ctx.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert await receive_all(client) == lines + GOOD_BYE


async def test_a_client_that_sends_without_a_pause_leaves_others_their_turn() -> None:
    """Each read is a checkpoint, also where there is always something to read."""
    client, server = socket_stream_pair()
    sent = b"one\n" * 20_000
    received = turns = 0
    assert os.write(client.socket.fileno(), sent) == len(sent)
    async with client, served(server) as ctx:
        while received < len(sent):
            await trio.lowlevel.checkpoint()
            turns += 1
            received += len(receive_nowait(client, len(sent)) or b"")
        ctx.cancel()
    assert turns >= len(sent) // 16_384


async def test_what_has_come_before_a_stop_is_answered(autojump_clock: MockClock) -> None:
    """Also where the server had not looked yet, and it is more than one read."""
    client, server = socket_stream_pair()
    lines = b"one\n" * 10_000
    async with client, served(server) as ctx:
        await trio.testing.wait_all_tasks_blocked()
        assert os.write(client.socket.fileno(), lines) == len(lines)
        ctx.stop("enough", grace=math.inf)
        assert await receive_all(client) == lines + SHUTTING_DOWN
    assert trio.current_time() == 0


@on_both
async def test_a_stop_tells_a_waiting_client_at_once(pair: Pair) -> None:
    """What has come of a line that is not finished is dropped."""
    client, server = pair()
    async with client, served(server) as ctx:
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


@on_both
async def test_a_cancelled_connection_still_gets_the_last_word(pair: Pair) -> None:
    """It is written under `without_cancel`, also where the stop's grace was none."""
    client, server = pair()
    async with client, served(server) as ctx:
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


@on_both
async def test_a_client_that_goes_away_is_no_error(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither while it is written to, nor when the server stops at that moment."""
    caplog.set_level(logging.DEBUG)
    for stop in (False, True):
        client, server = pair()
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
