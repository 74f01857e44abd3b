"""What a socket does at once, without waiting: most reads and nearly all writes of a server.

Trio's own `receive_some` and `send_all` are checkpoints even when the kernel does the work at once.
A server that sends at once, and then gives the others a turn before it looks for the next
request, spends one turn of Trio's loop on each, and none on telling epoll what it waits for.

Streams that are no sockets (TLS, the memory streams of tests) do nothing at once: `receive_nowait`
has nothing and `send_nowait` takes nothing, and the caller goes on as it would with a full buffer.
"""

import os

import trio

__all__ = ["receive", "receive_nowait", "send_nowait"]


def receive_nowait(stream: trio.abc.ReceiveStream, max_bytes: int) -> bytes | None:
    """What has arrived, `b""` at the end of the input, None if that would have to be waited for.

    Raises:
        trio.BrokenResourceError: the connection was reset.
    """
    if not isinstance(stream, trio.SocketStream):
        return None
    try:
        return os.read(stream.socket.fileno(), max_bytes)
    except BlockingIOError:
        return None
    except OSError as exc:
        raise trio.BrokenResourceError(f"cannot receive: {exc}") from exc


def send_nowait(stream: trio.abc.SendStream, data: bytes) -> int:
    """Send as much as the kernel takes at once. Returns how many bytes that was.

    Raises:
        trio.BrokenResourceError: the client does not receive any more.
    """
    if not isinstance(stream, trio.SocketStream):
        return 0
    try:
        return os.write(stream.socket.fileno(), data)
    except BlockingIOError:
        return 0
    except OSError as exc:
        raise trio.BrokenResourceError(f"cannot send: {exc}") from exc


async def receive(stream: trio.abc.ReceiveStream, max_bytes: int) -> bytes | bytearray:
    """As `stream.receive_some(max_bytes)`. Nothing is lost when it is cancelled.

    Always a checkpoint: the others have a turn before it looks, so a client that sends without a
    pause does not keep them waiting, and one that answers quickly is not waited for.
    """
    if not isinstance(stream, trio.SocketStream):
        return await stream.receive_some(max_bytes)
    await trio.lowlevel.checkpoint()
    while (data := receive_nowait(stream, max_bytes)) is None:
        await trio.lowlevel.wait_readable(stream.socket)
    return data
