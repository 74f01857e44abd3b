"""aiohttp's server, on asyncio's own loop, with its parser in C."""

import asyncio
import socket

from aiohttp import web


async def hello(request: web.Request) -> web.Response:
    return web.Response(body=b"hello\n", content_type="text/plain", charset="utf-8")


def application() -> web.Application:
    app = web.Application()
    app.router.add_get("/hello", hello)
    return app


async def serve(app: web.Application, *, handler_cancellation: bool = False) -> None:
    runner = web.AppRunner(app, access_log=None, handler_cancellation=handler_cancellation)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    await web.SockSite(runner, listener, backlog=1024).start()
    print(listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(application()))
