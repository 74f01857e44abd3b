"""A line echo server: `python -m trioctx echo`, then `nc 127.0.0.1 8081`.

Each line comes back as it was sent, with its line ending. A blank line or the end of the input
gets `Good bye, client @ ADDRESS`; when the server shuts down, `Server shutting down`.

What to learn here: `client_addr` is a ContextVar, so `_good_bye` knows whom it talks to without
being handed it. One `until_stopping()` block is open while client and server keep pace, so a line
costs no scope of its own; nothing in it is half done when a stop or the idle timeout ends it,
because in it an echo is sent at once or not at all. What the kernel does not take at once is
written outside, under `with_timeout`: there a stop leaves it the grace. The last words are written
under `without_cancel`, so they are said even where the connection has been cancelled.

Bounded: the length of a line, the time a client may take to finish one, the time it may take to
receive what it is sent. A client that sends and never reads costs one line and one read of memory:
nothing more is read from it before its echo is written.
"""

import functools
import logging
from typing import Final

import attrs
import trio

import trioctx
from trioctx.servers._nowait import receive, receive_nowait, send_nowait
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
    max_connections: int | None = None,
    idle_timeout: float = 300.0,
    write_timeout: float = 30.0,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the echo server until `ctx` is stopped.

    Args:
        ctx, host, port, max_connections, task_status: as for `serve_tcp`.
        idle_timeout, write_timeout: as for `echo`.
    """
    handler = functools.partial(echo, idle_timeout=idle_timeout, write_timeout=write_timeout)
    await serve_tcp(
        ctx, handler, port, host=host, max_connections=max_connections, task_status=task_status
    )


async def echo(
    ctx: trioctx.Context,
    stream: trio.abc.HalfCloseableStream,
    *,
    idle_timeout: float = 300.0,
    write_timeout: float = 30.0,
) -> None:
    """Serve one client: echo its lines, then take leave of it.

    Args:
        idle_timeout: how many seconds a client may take for a line, from the last echo on.
        write_timeout: how many seconds it may take to receive what did not go out at once.
    """
    talk = _Talk(stream)
    try:
        while not talk.finished:
            with ctx.until_stopping(), trio.move_on_at(talk.last_echo + idle_timeout):
                await talk.keep_pace()
            if not (talk.unsent or talk.look()):
                if ctx.stopping:
                    break
                # Lines may have come since the block got its deadline.
                if trio.current_time() >= talk.last_echo + idle_timeout:
                    talk.finish(b"error: no line for %g seconds\n" % idle_timeout)
            if talk.unsent:
                with trioctx.with_timeout(ctx, write_timeout):
                    await talk.send_rest()
        if talk.finished:
            await linger(ctx, stream)
    except (trio.BrokenResourceError, trioctx.DeadlineExceeded) as exc:
        _log.debug("client %s went away or does not read: %r", client_addr.get(), exc)
    finally:
        if ctx.stopping and not talk.finished:
            await _say_shutting_down(ctx, stream)


def _good_bye() -> bytes:
    return b"Good bye, client @ %s\n" % client_addr.get().encode()


async def _say_shutting_down(ctx: trioctx.Context, stream: trio.abc.SendStream) -> None:
    # Nothing may leave here: it would take the place of the Cancelled that is on its way.
    try:
        with trioctx.with_timeout(trioctx.without_cancel(ctx), _LAST_WORDS):
            await stream.send_all(b"Server shutting down\n")
    except (trioctx.DeadlineExceeded, trio.BrokenResourceError) as exc:
        _log.debug("client %s has not heard of the shutdown: %r", client_addr.get(), exc)


@attrs.define(eq=False)
class _Talk:
    """What has come from a client, and what is to go back. Holds at most one line and one read."""

    _stream: trio.abc.HalfCloseableStream
    _rest: bytes = attrs.field(default=b"", init=False)  # of a line whose end is still to come
    unsent: bytes = attrs.field(default=b"", init=False)
    finished: bool = attrs.field(default=False, init=False)
    last_echo: float = attrs.field(factory=trio.current_time, init=False)

    async def keep_pace(self) -> None:
        """Echo line after line, until something is left to send. Cancelled, it loses nothing."""
        while not self.unsent:
            self._hear(await receive(self._stream, _READ_SIZE))

    def look(self) -> bool:
        """Take what has come since. Returns whether it was anything.

        So what a client had sent before `keep_pace` was cancelled is not left unanswered.
        """
        data = receive_nowait(self._stream, _READ_SIZE)
        if data is None:
            return False
        self._hear(data)
        return True

    async def send_rest(self) -> None:
        """Wait until what did not go out at once is sent."""
        await self._stream.send_all(self.unsent)
        self.unsent = b""
        self.last_echo = trio.current_time()

    def finish(self, words: bytes) -> None:
        self.unsent += words
        self.finished = True

    def _hear(self, data: bytes | bytearray) -> None:
        # At the end of the input, what came last is a line too; and the next one is blank.
        text = self._rest + (data or b"\n")
        end = text.rfind(b"\n") + 1
        lines, self._rest = text[:end], text[end:]
        # A line after the first one has come whole in this read, which is smaller.
        if len(text) > MAX_LINE and len(_first_line(text)) > MAX_LINE:
            self.finish(b"error: line longer than %d bytes\n" % MAX_LINE)
            return
        before_blank = lines[: _find_blank(lines)]
        if before_blank:
            self.last_echo = trio.current_time()
            self.unsent = before_blank[send_nowait(self._stream, before_blank) :]
        if len(before_blank) < len(lines):
            self.finish(_good_bye())


def _first_line(text: bytes) -> bytes:
    return text.split(b"\n", 1)[0].removesuffix(b"\r")


def _find_blank(lines: bytes) -> int:
    """Where the first blank line begins, or the end of the lines."""
    before = b"\n" + lines
    found = (before.find(b"\n\n"), before.find(b"\n\r\n"))
    return min((at for at in found if at >= 0), default=len(lines))
