"""The clients of a server: what they have sent, and the moment they go away."""

import os
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from serving import Stream, open_socket_pair, reset
from trio.testing import memory_stream_pair

import trioctx
from trioctx.servers._peers import READ_AHEAD, ClientDisconnected, Peer, Peers, StreamPeer


@asynccontextmanager
async def connected(server: Stream) -> AsyncIterator[tuple[trioctx.Context, Peer]]:
    """The peer of a served connection, and the context that it is served under."""
    with Peers(60) as peers:
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            ctx.start_service(peers.run, ctx)
            async with server, peers.connected(ctx, server, "somebody") as peer:
                yield ctx, peer


async def test_a_context_is_cancelled_when_the_client_goes() -> None:
    """Also one that comes after it has gone; nobody is told when nothing is under way."""
    client, server = await open_socket_pair()
    async with connected(server) as (ctx, peer):
        with trioctx.with_cancel(ctx) as first:
            peer.work_under(first)
            await client.send_all(b"unread")
            await client.aclose()
            await trio.sleep_forever()
        assert isinstance(first.cause, ClientDisconnected)
        peer.work_under(None)
        assert await peer.receive() == b"unread"
        with trioctx.with_cancel(ctx) as second:
            peer.work_under(second)
            assert second.cancelled
        assert await peer.receive() == b""
        assert not ctx.cancelled


async def test_a_reset_is_an_error_of_what_is_received_and_sent() -> None:
    """On both transports alike."""
    client, server = await open_socket_pair()
    async with connected(server) as (_, peer):
        await reset(client)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await peer.receive()
        with pytest.raises(trio.BrokenResourceError):
            await peer.send(b"x", 1)


async def test_more_than_one_read_is_there() -> None:
    """The edge came once, so reading goes on until the buffer is empty."""
    client, server = await open_socket_pair()
    sent = os.urandom(100_000)
    async with connected(server) as (ctx, peer):
        ctx.start_soon(client.send_all, sent)
        received = b""
        while len(received) < len(sent):
            received += await peer.receive()
        assert received == sent
        await client.aclose()


async def test_a_client_that_always_has_more_does_not_keep_others_waiting() -> None:
    """Each read is a checkpoint."""
    client, server = await open_socket_pair()
    async with connected(server) as (_, peer):
        await client.send_all(b"x" * 20_000)
        with trio.CancelScope() as scope:
            scope.cancel()
            await peer.receive()
        assert scope.cancelled_caught
        await client.aclose()


async def test_a_receive_that_is_cancelled_can_be_repeated() -> None:
    """Nobody is woken in its place."""
    client, server = await open_socket_pair()
    async with connected(server) as (_, peer):
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.001):
            await peer.receive()
        await client.send_all(b"x")
        assert await peer.receive() == b"x"
        await client.aclose()


async def test_who_is_let_go_is_first_read_to_the_end() -> None:
    """Then an idle receive ends; one in mid-request does not."""
    client, server = await open_socket_pair()
    async with connected(server) as (_, peer):
        await client.send_all(b"x")
        peer.let_go()
        assert await peer.receive(idle=True) == b"x"
        assert await peer.receive(idle=True) == b""
        with trio.move_on_after(0.001) as scope:
            await peer.receive()
        assert scope.cancelled_caught
        await client.aclose()


async def test_what_has_come_unnoticed_is_read_before_the_end() -> None:
    """A stop can be ahead of epoll."""
    client, server = await open_socket_pair()
    with Peers(60) as peers:  # which nobody runs
        ctx = trioctx.with_cancel(trioctx.background())
        async with client, server, peers.connected(ctx, server, "somebody") as peer:
            async with trio.open_nursery() as nursery:

                async def receive() -> None:
                    assert await peer.receive(idle=True) == b"x"

                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
                await client.send_all(b"x")
                peer.let_go()


async def test_reading_ahead_is_bounded() -> None:
    """For a stream that is no socket. What does not fit stays where it is, and is not lost."""
    client, server = memory_stream_pair()
    sent = os.urandom(3 * READ_AHEAD)
    async with connected(server) as (_, peer):
        assert isinstance(peer, StreamPeer)
        await client.send_all(sent)
        await trio.testing.wait_all_tasks_blocked()
        assert len(peer._ahead) < READ_AHEAD + 20_000
        received = b""
        while len(received) < len(sent):
            received += await peer.receive()
        assert received == sent


async def test_without_epoll_a_task_reads_for_a_socket_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on other systems than Linux."""
    monkeypatch.delattr(select, "epoll")
    client, server = await open_socket_pair()
    async with connected(server) as (ctx, peer):
        assert isinstance(peer, StreamPeer)
        await client.send_all(b"x")
        assert await peer.receive() == b"x"
        with trioctx.with_cancel(ctx) as request:
            peer.work_under(request)
            await client.aclose()
            await trio.sleep_forever()
        assert isinstance(request.cause, ClientDisconnected)


async def test_without_epoll_a_reset_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the next receive, whatever had been read ahead."""
    monkeypatch.delattr(select, "epoll")
    client, server = await open_socket_pair()
    async with connected(server) as (_, peer):
        await client.send_all(b"x")
        await trio.testing.wait_all_tasks_blocked()
        await reset(client)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await peer.receive()


async def test_nothing_stays_registered() -> None:
    """When the connection is done, nor a descriptor when the server is."""
    before = len(os.listdir("/dev/fd"))
    with Peers(60) as peers:
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            ctx.start_service(peers.run, ctx)
            for _ in range(3):
                client, server = await open_socket_pair()
                async with client, server, peers.connected(ctx, server, "somebody"):
                    assert len(peers._peers) == len(peers._by_fd) == 1
            assert not peers._peers
            assert not peers._by_fd
    assert len(os.listdir("/dev/fd")) == before


async def test_a_send_waits_for_a_client_that_does_not_read_and_gives_up() -> None:
    """Also where not a byte of it can be sent at once."""
    client, server = await open_socket_pair()
    async with connected(server) as (_, peer):
        for data in (b"x" * 30_000_000, b"x"):
            with pytest.raises(trioctx.DeadlineExceeded):
                await peer.send(data, 0.001)
        await client.aclose()
