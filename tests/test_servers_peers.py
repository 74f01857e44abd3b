"""The clients of a server: what they have sent, and the moment they go away."""

import os
import select
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from serving import Stream, open_socket_pair, receive_all, reset
from trio.testing import memory_stream_pair

import trioctx
from trioctx.servers import _peers
from trioctx.servers._nowait import send_nowait
from trioctx.servers._peers import (
    READ_AHEAD,
    ClientDisconnected,
    Peer,
    Peers,
    SocketPeer,
    StreamPeer,
)


@asynccontextmanager
async def connected(
    server: Stream, *, send_timeout: float = 10
) -> AsyncIterator[tuple[trioctx.Context, Peer]]:
    """The peer of a served connection, and the context that it is served under."""
    with Peers(60, send_timeout) as peers:
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
            await peer.send(b"x")


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
    with Peers(60, 10) as peers:  # which nobody runs
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
    with Peers(60, 10) as peers:
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
    async with connected(server, send_timeout=0.001) as (_, peer):
        for data in (b"x" * 30_000_000, b"x"):
            with pytest.raises(trioctx.DeadlineExceeded):
                await peer.send(data)
        await client.aclose()


# More than the buffers of both ends take.
MUCH = b"x" * 30_000_000


@asynccontextmanager
async def one_of_many(
    server: trio.SocketStream, *, send_timeout: float = 10
) -> AsyncIterator[tuple[trioctx.Context, Peer, Peers]]:
    """As `connected`; what it sends soon is sent at the end of the turn."""
    with Peers(60, send_timeout) as peers:
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            ctx.start_service(peers.run, ctx)
            async with server, peers.connected(ctx, server, "somebody") as peer:
                await trio.testing.wait_all_tasks_blocked()
                peers._turn.worth_it = True
                yield ctx, peer, peers


async def test_many_answers_are_sent_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all tasks of the turn have given theirs."""
    order: list[str] = []
    send_now = SocketPeer._send_now

    def note(peer: SocketPeer) -> None:
        order.append("sent")
        send_now(peer)

    async def serve(ctx: trioctx.Context, peers: Peers, server: trio.SocketStream) -> None:
        async with server, peers.connected(ctx, server, "somebody") as peer:
            while await peer.receive():
                order.append("answered")
                peer.send_soon(b"!")

    clients = []
    with Peers(60, 10) as peers:
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            ctx.start_service(peers.run, ctx)
            for _ in range(9):
                client, server = await open_socket_pair()
                clients.append(client)
                ctx.start_soon(serve, ctx, peers, server)
            await trio.testing.wait_all_tasks_blocked()
            monkeypatch.setattr(SocketPeer, "_send_now", note)
            for client in clients:
                assert send_nowait(client, b"?")
            for client in clients:
                assert await client.receive_some() == b"!"
            assert order == ["answered"] * 9 + ["sent"] * 9
            for client in clients:
                await client.aclose()


async def test_several_with_something_to_read_are_many() -> None:
    """One alone is answered at once: a turn more would only cost time."""
    with Peers(60, 10) as peers:
        async with trioctx.with_cancel(trioctx.background()) as ctx, AsyncExitStack() as stack:
            ctx.start_service(peers.run, ctx)
            clients = []
            for _ in range(_peers._MANY):
                client, server = await open_socket_pair()
                clients.append(await stack.enter_async_context(client))
                await stack.enter_async_context(server)
                await stack.enter_async_context(peers.connected(ctx, server, "somebody"))
            await trio.testing.wait_all_tasks_blocked()
            for talking in (clients, clients[:1]):
                for client in talking:
                    assert send_nowait(client, b"x")
                await trio.testing.wait_all_tasks_blocked()
                assert peers._turn.worth_it is (talking is clients)


@pytest.mark.parametrize("then", ["let go", "data", "end", "flush", "leave", "cancel"])
async def test_what_was_to_be_sent_soon_is_sent_whatever_comes_next(then: str) -> None:
    """Before what comes next has an effect."""
    client, server = await open_socket_pair()
    async with one_of_many(server) as (ctx, peer, peers):
        if then == "data":
            await client.send_all(b"data")
        elif then == "end":
            await client.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        peers._turn.worth_it = True
        peer.send_soon(b"answer")
        assert peer._sends_soon
        if then == "let go":
            peer.let_go()
            assert await peer.receive(idle=True) == b""
        elif then in ("data", "end"):
            assert await peer.receive(idle=True) == (b"data" if then == "data" else b"")
        elif then == "flush":
            await peer.flush()
        elif then == "cancel":
            ctx.cancel()
            await peer.receive()
    assert await receive_all(client) == b"answer"
    await client.aclose()


async def test_what_does_not_go_out_at_the_end_of_the_turn_is_waited_for() -> None:
    """By the task that receives; then it receives."""
    client, server = await open_socket_pair()
    received = 0

    async def read_slowly() -> None:
        nonlocal received
        while received < len(MUCH):
            received += len(await client.receive_some())
        await client.send_all(b"next")

    async with one_of_many(server) as (ctx, peer, _):
        peer.send_soon(MUCH)
        ctx.start_soon(read_slowly)
        assert await peer.receive(idle=True) == b"next"
        await client.aclose()
    assert received == len(MUCH)


@pytest.mark.parametrize("how", ["reset", "does not read"])
async def test_what_cannot_be_sent_soon_is_an_error_of_receive(how: str) -> None:
    """As of `send()`."""
    client, server = await open_socket_pair()
    async with one_of_many(server, send_timeout=0.001) as (_, peer, _):
        if how == "reset":
            peer.send_soon(b"x")
            await reset(client)
            with pytest.raises(trio.BrokenResourceError):
                await peer.receive()
        else:
            peer.send_soon(MUCH)
            with pytest.raises(trioctx.DeadlineExceeded):
                await peer.receive()
        await client.aclose()


async def test_a_send_that_is_cancelled_is_not_begun_again() -> None:
    """On leaving, nothing is sent that part of which may have gone."""
    client, server = await open_socket_pair()
    async with one_of_many(server) as (ctx, peer, _):
        peer.send_soon(MUCH)
        with trio.move_on_after(0.001):
            await peer.receive()
        assert not peer._unsent
        ctx.cancel()
    assert len(await receive_all(client)) < len(MUCH)
    await client.aclose()


async def test_nothing_is_sent_to_who_comes_after() -> None:
    """Another connection can have the descriptor when the turn ends."""
    client, server = await open_socket_pair()
    async with one_of_many(server) as (ctx, _, peers):
        gone, old = await open_socket_pair()
        async with old:
            async with peers.connected(ctx, old, "who goes") as peer:
                assert isinstance(peer, SocketPeer)
                peer.send_soon(MUCH)
                assert peer._sends_soon
            left = peer._unsent
        assert not left
        await trio.testing.wait_all_tasks_blocked()
        await gone.aclose()
        await client.aclose()


@pytest.mark.parametrize("where", ["watching", "sending"])
async def test_a_bug_in_what_all_share_ends_the_server(where: str) -> None:
    """With the error: nobody is left waiting."""
    client, server = await open_socket_pair()
    with pytest.raises(ExceptionGroup) as caught:
        async with one_of_many(server) as (_, peer, peers):
            if where == "watching":
                peers._by_fd.clear()
                await client.send_all(b"x")
            else:
                peers._turn.call({}.popitem)
            await peer.receive()
    assert caught.group_contains(KeyError)
    await client.aclose()
