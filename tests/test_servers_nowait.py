"""What a socket does at once, and what is done for streams that are none."""

import socket
from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import memory_stream_pair

from trioctx.servers._nowait import receive, receive_nowait, send_nowait


def socket_stream_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    one, other = map(trio.socket.from_stdlib_socket, socket.socketpair())
    return trio.SocketStream(one), trio.SocketStream(other)


async def test_it_receives_what_is_there() -> None:
    """At most as much as asked for; None if nothing is, `b""` at the end."""
    one, other = socket_stream_pair()
    async with one:
        async with other:
            assert receive_nowait(one, 10) is None
            assert send_nowait(other, b"hello") == 5
            assert receive_nowait(one, 2) == b"he"
            assert await receive(one, 10) == b"llo"
        assert receive_nowait(one, 10) == b""
        assert await receive(one, 10) == b""


async def test_it_sends_what_is_taken() -> None:
    """Nothing, when the buffer is full."""
    one, other = socket_stream_pair()
    async with one, other:
        whole = b"x" * 100_000_000
        sent = send_nowait(one, whole)
        assert 0 < sent < len(whole)
        assert send_nowait(one, whole) == 0


async def test_other_streams_do_nothing_at_once() -> None:
    """They are waited for."""
    one, other = memory_stream_pair()
    assert send_nowait(one, b"hello") == 0
    await one.send_all(b"hello")
    assert receive_nowait(other, 10) is None
    assert await receive(other, 10) == b"hello"


async def test_receive_waits_and_loses_nothing_when_it_is_cancelled() -> None:
    """Cancelled before it looks, and while it waits."""
    one, other = socket_stream_pair()
    async with one, other:
        for send_first in (True, False):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    if send_first:
                        send_nowait(other, b"hello")
                        scope.cancel()
                    nursery.start_soon(receive, one, 10)
                    await trio.testing.wait_all_tasks_blocked()
                    send_nowait(other, b"hello")
                    scope.cancel()
            assert scope.cancelled_caught
            assert await receive(one, 10) == b"hello"


@pytest.mark.parametrize("who", ["self", "peer"])
async def test_a_connection_that_is_gone_is_broken(who: str) -> None:
    """Reset by the peer with data unread, or closed here."""
    async with AsyncExitStack() as stack:
        one, other = socket_stream_pair()
        await stack.enter_async_context(one)
        await stack.enter_async_context(other)
        send_nowait(one, b"unread")
        await (one if who == "self" else other).aclose()
        with pytest.raises(trio.BrokenResourceError, match="cannot receive"):
            receive_nowait(one, 10)
        with pytest.raises(trio.BrokenResourceError, match="cannot send"):
            send_nowait(one, b"hello")
