"""hypercorn, whose application must itself wait for the disconnect, in a task beside its work."""

from typing import Any

import trio

from .hypercorn_hello import main
from .sleeping import SECONDS, telling


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # how an application declines the lifespan

    async def sleep() -> None:
        with telling():
            await trio.sleep(SECONDS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep)
        while (await receive())["type"] != "http.disconnect":
            pass
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, app)
