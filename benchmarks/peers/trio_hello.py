"""The least that speaks HTTP/1.1 on Trio and httptools.

No context, no deadline, no notice of a disconnect, no bounds, no drain, no pipelining.
"""

from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import lru_cache, partial
from time import time

import httptools
import trio


class Requests:
    """What httptools calls."""

    def __init__(self) -> None:
        self.path = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.path = url

    def on_message_complete(self) -> None:
        self.complete = True


@lru_cache(maxsize=4)
def answer(path: bytes, second: int) -> bytes:
    status, body = (b"200 OK", b"hello\n") if path == b"/hello" else (b"404 Not Found", b"?\n")
    return (
        b"HTTP/1.1 %s\r\nDate: %s\r\nContent-Length: %d\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n\r\n%s"
    ) % (status, formatdate(second, usegmt=True).encode(), len(body), body)


async def serve(stream: trio.SocketStream) -> None:
    try:
        await answer_all(stream)
    except trio.BrokenResourceError:
        pass  # wrk goes without waiting for its last answers


async def answer_all(stream: trio.SocketStream) -> None:
    requests = Requests()
    parser = httptools.HttpRequestParser(requests)
    async for data in stream:
        parser.feed_data(data)
        if requests.complete:
            requests.complete = False
            await stream.send_all(answer(requests.path, int(time())))
            if not parser.should_keep_alive():
                break


async def main(handler: Callable[[trio.SocketStream], Awaitable[object]]) -> None:
    async with trio.open_nursery() as nursery:
        start = partial(trio.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(start, handler, 0)
        print(listeners[0].socket.getsockname()[1], flush=True)


if __name__ == "__main__":
    trio.run(main, serve)
