"""trioctx's HTTP server: the handler's context is cancelled when its client goes away."""

import trio

import trioctx
from trioctx.servers.http import Request, Response, serve_http

from .sleeping import SECONDS, telling


async def sleep(request: Request) -> Response:
    with telling():
        await trio.sleep(SECONDS)
    return Response(200, b"slept\n")


async def main(ctx: trioctx.Context) -> None:
    addresses = await ctx.start(serve_http, ctx, {("GET", "/sleep"): sleep}, 0)
    print(addresses[0][1], flush=True)


if __name__ == "__main__":
    trioctx.run(main)
