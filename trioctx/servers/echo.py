"""A line echo server: `python -m trioctx echo`, then `nc 127.0.0.1 8081`.

Each line comes back as it was sent, with its line ending. A blank line or the end of the input
gets `Good bye, client @ ADDRESS`; when the server shuts down, `Server shutting down`.

What to learn here: `client_addr` is a ContextVar, so `_say_good_bye` knows whom it talks to without
being handed it. Only the waiting for a line is inside `until_stopping()`, so a stop never cuts a
line in two. The last words are written under `without_cancel`, so they are said even where
the connection has been cancelled, and under `with_timeout`, so nobody waits for a client that
does not read.

A client that sends and never reads costs one line and one read of memory: nothing more is read
from it before its echo is written. What is not done: nothing ends a client that stays silent,
or one that never reads, before the server stops.
"""

import logging
from typing import Final

import attrs
import trio

import trioctx
from trioctx.servers._tcp import client_addr, linger, serve_tcp

__all__ = ["MAX_LINE", "echo", "serve"]

MAX_LINE: Final = 64 * 1024
"""The longest line in bytes, without its line ending."""

_READ_SIZE: Final = 16 * 1024
_LAST_WORDS: Final = 2.0  # seconds

_log = logging.getLogger(__name__)


async def serve(
    ctx: trioctx.Context,
    host: str = "127.0.0.1",
    port: int = 8081,
    *,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the echo server until `ctx` is stopped. The rest is as for `serve_tcp`."""
    await serve_tcp(ctx, echo, port, host=host, task_status=task_status)


async def echo(ctx: trioctx.Context, stream: trio.abc.HalfCloseableStream) -> None:
    """Serve one client: echo its lines, then take leave of it."""
    lines = _Lines(stream)
    try:
        while line := await lines.next_line(ctx):
            await stream.send_all(line)
        if not ctx.stopping:
            await _say_good_bye(stream)
    except _LineTooLong:
        await stream.send_all(b"error: line longer than %d bytes\n" % MAX_LINE)
        await linger(ctx, stream)
    except trio.BrokenResourceError:
        _log.debug("client %s went away", client_addr.get())
    finally:
        if ctx.stopping:
            await _say_shutting_down(ctx, stream)


async def _say_good_bye(stream: trio.abc.SendStream) -> None:
    await stream.send_all(b"Good bye, client @ %s\n" % client_addr.get().encode())


async def _say_shutting_down(ctx: trioctx.Context, stream: trio.abc.SendStream) -> None:
    # Nothing may leave here: it would take the place of the Cancelled that is on its way.
    try:
        with trioctx.with_timeout(trioctx.without_cancel(ctx), _LAST_WORDS):
            await stream.send_all(b"Server shutting down\n")
    except (trioctx.DeadlineExceeded, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
        _log.debug("client %s has not heard of the shutdown: %r", client_addr.get(), exc)


class _LineTooLong(Exception):
    """A line of more than `MAX_LINE` bytes."""


@attrs.define(eq=False)
class _Lines:
    """The lines of a stream. Holds at most one line and one read."""

    _stream: trio.abc.ReceiveStream
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)

    async def next_line(self, ctx: trioctx.Context) -> bytes:
        """The next line with its ending; b"" for a blank one, at the end, and when ctx stops."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > MAX_LINE + len(b"\r"):
                raise _LineTooLong
            data: bytes | bytearray | None = None
            with ctx.until_stopping():
                data = await self._stream.receive_some(_READ_SIZE)
            if data is None:
                return b""
            self._buffer += data or b"\n"  # at the end of the input: what came last is a line too
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        if len(text) > MAX_LINE:
            raise _LineTooLong
        return line if text else b""
