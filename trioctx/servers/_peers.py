"""The clients of a server: what each has sent, and the moment it goes away.

All connections are registered once with one `select.epoll`, which one task awaits. That tells a
connection's task that there is something to read, and a request's context that its client has gone:
`EPOLLRDHUP` comes without a read, so the bytes of the next requests stay in the kernel, and neither
a task nor a nursery nor a system call is spent on a request to have it watched.

    epoll --> Peers._watch --> peer.notice() --+--> reschedules the task in peer.receive()
                                               +--> request's context.cancel(ClientDisconnected)

An answer after which the next request is waited for is sent at the end of the turn, together with
those of the other connections (`_turn.py`). On loopback that is a quarter of the processor time of
a request (50 connections, 43 to 33 us): a client that the first answer has woken is still awake for
the others, and waking is most of what a send costs. From 8 connections on it gains, and below 4 the
turn more costs 5 %, so for so few it is sent at once.

Where there is no epoll, and for streams that are no sockets, a task for each connection reads ahead
instead, up to `READ_AHEAD` bytes; beyond them a disconnect is noticed only once they are used.

A stop, and having been idle for too long, come the same way: `peer.let_go()` ends a `receive()`
that waits for a new request. A region for each such wait (`with ctx.until_stopping()`) is what one
would write first, and it is right; here it would cost a fifth of the throughput.
"""

import abc
import math
import os
import select
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

import trioctx
from trioctx.servers._turn import EndOfTurn

__all__ = ["READ_AHEAD", "ClientDisconnected", "Peer", "Peers", "SocketPeer", "StreamPeer"]

READ_AHEAD = 64 * 1024
"""How many bytes of further requests are kept while one is worked on, where there is no epoll."""

_READ_SIZE = 16 * 1024
_MANY = 4  # connections with something to read: then answers are sent together
_SWEEP = 1.0  # seconds from one look at who is idle to the next


class ClientDisconnected(Exception):
    """The cause of the end of a request whose client went away before the answer."""


class Peer(abc.ABC):
    """The client of one connection, of which one task receives."""

    def __init__(self, stream: trio.abc.Stream, name: str, send_timeout: float) -> None:
        self._stream = stream
        self._name = name
        self._send_timeout = send_timeout
        self._gone = False
        self._working: trioctx.Context | None = None
        self._task: trio.lowlevel.Task | None = None  # the one that waits in receive()
        self._unsent = b""
        self._sends_soon = False  # what is unsent is sent at the end of the turn
        self.silent_for = -math.inf  # seconds since it is waited for, if it is
        self.let_go_of = False

    async def receive(self, *, idle: bool = False) -> bytes:
        """What comes next; b"" when nothing will. An `idle` one ends with b"" at `let_go()` too.

        When it returns, what was given to `send_soon()` has been sent.

        Raises:
            trio.BrokenResourceError: the client has reset the connection.
            trioctx.DeadlineExceeded: it did not take in time what was to be sent.
        """
        waited = False
        while True:
            if self._unsent and not self._sends_soon:
                await self.flush()
            data = self._take()
            if data is not None:
                break
            if idle:
                if self.let_go_of:
                    data = b""
                    break
                self.silent_for = 0.0
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
            waited = True
        if self._unsent:
            await self.flush()
        if not waited:
            await trio.lowlevel.checkpoint()  # a client that never lets us wait is not alone
        return data

    async def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            trioctx.DeadlineExceeded: the client did not take it in time.
            trio.BrokenResourceError: the client has gone.
        """
        self._unsent += data
        await self.flush()

    def send_soon(self, data: bytes) -> None:
        """Send it while the `receive()` or `flush()` waits that is to follow at once."""
        self._unsent = data

    async def flush(self) -> None:
        """Send what `send_soon()` was given. Raises what `send()` does."""
        self._send_now()
        if self._unsent:
            rest, self._unsent = self._unsent, b""  # cancelled, it must not be sent again
            with trioctx.with_timeout(trioctx.current(), self._send_timeout):
                await self._stream.send_all(rest)

    def let_go(self) -> None:
        """End an idle `receive()`, and each later one, when what has already come is read."""
        self.let_go_of = True
        self._wake()

    def work_under(self, ctx: trioctx.Context | None) -> None:
        """Cancel this context when the client goes away; now, if it has gone already."""
        self._working = ctx
        if self._gone:
            self._disconnect()

    @abc.abstractmethod
    def _take(self) -> bytes | None:
        """What has come, b"" if nothing will, None if there is nothing yet."""

    @abc.abstractmethod
    def _send_now(self) -> None:
        """Send what can be sent without waiting."""

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        self.silent_for = -math.inf
        return trio.lowlevel.Abort.SUCCEEDED

    def _wake(self) -> None:
        task = self._task
        if task is not None:
            self._task = None
            self.silent_for = -math.inf
            trio.lowlevel.reschedule(task)

    def _disconnect(self) -> None:
        self._gone = True
        if self._working is not None:
            self._working.cancel(ClientDisconnected(f"client {self._name} disconnected"))


class SocketPeer(Peer):
    """A client whose socket is registered, edge-triggered, with an epoll."""

    def __init__(
        self, stream: trio.SocketStream, name: str, send_timeout: float, turn: EndOfTurn
    ) -> None:
        super().__init__(stream, name, send_timeout)
        self._fd = stream.socket.fileno()
        self._turn = turn
        self._readable = True

    def let_go(self) -> None:
        self._readable = True  # what has come by now may not have been noticed yet
        super().let_go()

    def notice(self, events: int) -> None:
        """Take note of what epoll tells."""
        self._readable = True
        if events != select.EPOLLIN:  # but EPOLLRDHUP, EPOLLHUP, EPOLLERR, alone or with it
            self._disconnect()
        self._wake()

    def send_soon(self, data: bytes) -> None:
        self._unsent = data
        self._sends_soon = self._turn.call(self._send_at_end_of_turn)

    def close(self) -> None:
        """Send what can be sent at once; nothing later, when the descriptor may be another's."""
        self._send_at_end_of_turn()
        self._unsent = b""

    def _send_at_end_of_turn(self) -> None:
        self._sends_soon = False
        try:
            self._send_now()
        except trio.BrokenResourceError:
            pass  # it is tried again by the task that receives, and fails there
        if self._unsent:
            self._wake()

    def _send_now(self) -> None:
        data = self._unsent
        if data:
            try:
                self._unsent = data[os.write(self._fd, data) :]
            except BlockingIOError:
                pass
            except OSError as exc:
                raise trio.BrokenResourceError from exc

    def _take(self) -> bytes | None:
        if not self._readable:
            return None
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            self._readable = False
            return None
        except OSError as exc:
            raise trio.BrokenResourceError from exc
        # A short read has emptied the buffer (epoll(7)): the next bytes are a new edge. The end of
        # the input was one already.
        self._readable = self._gone or len(data) == _READ_SIZE
        return data


class StreamPeer(Peer):
    """A client on any stream, for whom `read()` reads ahead."""

    def __init__(self, stream: trio.abc.Stream, name: str, send_timeout: float) -> None:
        super().__init__(stream, name, send_timeout)
        self._ahead = bytearray()
        self._room = trio.Event()
        self._broken = False

    async def read(self) -> None:
        """Read until the client goes away, as far ahead as there is room."""
        try:
            while data := await self._stream.receive_some(_READ_SIZE):
                self._ahead += data
                self._wake()
                while len(self._ahead) >= READ_AHEAD:
                    self._room = trio.Event()
                    await self._room.wait()
        except trio.BrokenResourceError:
            self._broken = True
        self._disconnect()
        self._wake()

    def _take(self) -> bytes | None:
        data = bytes(self._ahead)
        if not (data or self._gone):
            return None
        if self._broken:
            raise trio.BrokenResourceError
        self._ahead.clear()
        self._room.set()
        return data

    def _send_now(self) -> None:
        pass  # a stream that is no socket has only `send_all()`


class Peers:
    """The clients of one server.

    Those silent for `idle_timeout` seconds are let go; those that do not take what is sent to them
    within `send_timeout` are given up.
    """

    def __init__(self, idle_timeout: float, send_timeout: float) -> None:
        self._idle_timeout = idle_timeout
        self._send_timeout = send_timeout
        self._turn = EndOfTurn()
        self._peers: set[Peer] = set()
        self._by_fd: dict[int, SocketPeer] = {}
        self._epoll = select.epoll() if hasattr(select, "epoll") else None

    def __enter__(self) -> "Peers":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._epoll is not None:
            self._epoll.close()

    async def run(self, ctx: trioctx.Context) -> None:
        """Notice what the clients do, for ever; let go of them when `ctx` is stopping."""
        async with trioctx.with_cancel(ctx, name="peers") as watching:
            if self._epoll is not None:
                watching.start_soon(self._turn.run)
                watching.start_soon(self._watch, self._epoll)
            with ctx.until_stopping():
                await self._let_go_of_the_silent()
            for peer in self._peers:
                peer.let_go()

    @asynccontextmanager
    async def connected(
        self, ctx: trioctx.Context, stream: trio.abc.Stream, name: str
    ) -> AsyncIterator[Peer]:
        """The client at the other end of `stream`, watched inside the block."""
        peer: Peer
        if self._epoll is not None and isinstance(stream, trio.SocketStream):
            fd = stream.socket.fileno()
            peer = SocketPeer(stream, name, self._send_timeout, self._turn)
            self._by_fd[fd] = peer
            with self._among_us(ctx, peer):
                self._epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
                try:
                    yield peer
                finally:
                    self._epoll.unregister(fd)
                    del self._by_fd[fd]
                    peer.close()
        else:
            peer = StreamPeer(stream, name, self._send_timeout)
            async with trioctx.with_cancel(ctx, name="read ahead") as reading:
                reading.start_service(peer.read)
                with self._among_us(ctx, peer):
                    yield peer

    @contextmanager
    def _among_us(self, ctx: trioctx.Context, peer: Peer) -> Iterator[None]:
        self._peers.add(peer)
        peer.let_go_of = ctx.stopping
        try:
            yield
        finally:
            self._peers.remove(peer)

    async def _watch(self, epoll: select.epoll) -> None:
        while True:
            await trio.lowlevel.wait_readable(epoll)
            noticed = epoll.poll(0)
            self._turn.worth_it = len(noticed) >= _MANY
            for fd, events in noticed:
                self._by_fd[fd].notice(events)

    async def _let_go_of_the_silent(self) -> None:
        while True:
            await trio.sleep(_SWEEP)
            for peer in self._peers:
                peer.silent_for += _SWEEP
                if peer.silent_for > self._idle_timeout:
                    peer.let_go()
