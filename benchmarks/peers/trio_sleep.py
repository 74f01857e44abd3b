"""What one writes on Trio to end a handler whose client goes away: a task that reads meanwhile.

As little as `trio_hello` otherwise; what the client sends while a handler works is lost.
"""

import httptools
import trio

from .sleeping import SECONDS, telling
from .trio_hello import Requests, main


async def watch(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        pass  # a reset is an end, too
    scope.cancel()


async def sleep() -> None:
    with telling():
        await trio.sleep(SECONDS)


async def serve(stream: trio.SocketStream) -> None:
    requests = Requests()
    parser = httptools.HttpRequestParser(requests)
    try:
        async for data in stream:
            parser.feed_data(data)
            if requests.complete:
                requests.complete = False
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(watch, stream, nursery.cancel_scope)
                    await sleep()
                    nursery.cancel_scope.cancel()
    except trio.BrokenResourceError:
        pass


if __name__ == "__main__":
    trio.run(main, serve)
