"""aiohttp, told to cancel a handler whose client goes away. (By default it does not.)"""

import asyncio

from aiohttp import web

from .aiohttp_hello import serve
from .sleeping import SECONDS, telling


async def sleep(request: web.Request) -> web.Response:
    with telling():
        await asyncio.sleep(SECONDS)
    return web.Response()


def application() -> web.Application:
    app = web.Application()
    app.router.add_get("/sleep", sleep)
    return app


if __name__ == "__main__":
    asyncio.run(serve(application(), handler_cancellation=True))
