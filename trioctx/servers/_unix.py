"""The accept loop on a Unix socket: its path is bound, taken from the dead, and tidied away."""

import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

import trioctx
from trioctx.servers._tcp import Handler, make_room, serve_all

__all__ = ["serve_unix"]


async def serve_unix(
    ctx: trioctx.Context,
    handler: Handler,
    path: str,
    *,
    max_connections: int | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve each connection to the Unix socket at `path`. The rest is as for `serve_tcp`.

    A socket that a dead server has left there is replaced. The path is removed in the end.

    Raises:
        OSError: somebody listens there already, or it cannot be bound.
    """
    room = make_room(max_connections)
    async with _listening(path) as listener:
        task_status.started(path)
        await serve_all(ctx, handler, [listener], room)


@asynccontextmanager
async def _listening(path: str) -> AsyncIterator[trio.SocketListener]:
    """Listen on `path`, and remove it afterwards, unless a successor has taken it over meanwhile.

    A socket at `path` that nobody listens on any more is replaced.

    Raises:
        OSError: somebody listens on `path`, something else is there, or it cannot be bound.
    """
    await _remove_stale(path)
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    with sock:
        await sock.bind(path)
        ours = _identity(path)
        try:
            sock.listen()
            yield trio.SocketListener(sock)
        finally:
            with contextlib.suppress(FileNotFoundError):
                if _identity(path) == ours:
                    os.unlink(path)


async def _remove_stale(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            try:
                stream = await trio.open_unix_socket(path)
            except ConnectionRefusedError:
                os.unlink(path)
            else:
                await stream.aclose()
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)


def _identity(path: str) -> tuple[int, int]:
    # An inode's number alone is given to the next file as soon as it is free.
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns
