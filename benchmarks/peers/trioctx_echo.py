"""trioctx's echo server, line by line."""

import trioctx
from trioctx.servers import echo


async def main(ctx: trioctx.Context) -> None:
    addresses = await ctx.start(echo.serve, ctx, "127.0.0.1", 0)
    print(addresses[0][1], flush=True)


if __name__ == "__main__":
    trioctx.run(main)
