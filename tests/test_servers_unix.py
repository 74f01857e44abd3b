"""The accept loop on a Unix socket: who it serves, and what becomes of the path."""

import errno
import os
import socket
from pathlib import Path

import pytest
import trio

import trioctx
from trioctx.servers import client_addr, serve_unix


async def tell_address(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
    assert ctx.name == f"client {client_addr.get()}"
    await stream.send_all(client_addr.get().encode())


async def ask(path: str) -> bytes:
    async with await trio.open_unix_socket(path) as client:
        return b"".join([data async for data in client])


async def test_a_unix_socket_is_served(tmp_path: Path) -> None:
    """The client is named after the path, which is gone in the end."""
    path = str(tmp_path / "s")
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        assert await ctx.start(serve_unix, ctx, tell_address, path) == path
        assert await ask(path) == f"unix:{path}".encode()
        ctx.stop(grace=0)
    assert not await trio.Path(path).exists()


async def test_a_path_left_by_a_dead_server_is_taken_over(tmp_path: Path) -> None:
    """Nobody listens there."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        await ctx.start(serve_unix, ctx, tell_address, path)
        assert await ask(path) == f"unix:{path}".encode()
        ctx.cancel()


async def test_a_path_in_use_is_left_alone(tmp_path: Path) -> None:
    """By a server that listens, or by any other file."""
    path = str(tmp_path / "s")
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        await ctx.start(serve_unix, ctx, tell_address, path)
        with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
            await serve_unix(ctx, tell_address, path)
        assert await ask(path) == f"unix:{path}".encode()
        ctx.cancel()
    await trio.Path(path).write_text("mine")
    with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        await serve_unix(trioctx.background(), tell_address, path)
    assert await trio.Path(path).read_text() == "mine"


async def test_the_path_of_a_successor_is_left_alone(tmp_path: Path) -> None:
    """One that took over while this server still drained, or a file that is already gone."""
    path = str(tmp_path / "s")
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        await ctx.start(serve_unix, ctx, tell_address, path)
        os.unlink(path)
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(path)
            ctx.cancel()
            await ctx.wait_done()
    assert await trio.Path(path).exists()
    os.unlink(path)
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        await ctx.start(serve_unix, ctx, tell_address, path)
        os.unlink(path)
        ctx.cancel()
