"""trioctx's hello server: a context, a deadline and disconnect detection for every request."""

from functools import partial

import trioctx
from trioctx.servers import hello

TIMEOUT = 30.0


async def main(ctx: trioctx.Context) -> None:
    addresses = await ctx.start(partial(hello.serve, timeout=TIMEOUT), ctx, "127.0.0.1", 0)
    print(addresses[0][1], flush=True)


if __name__ == "__main__":
    trioctx.run(main)
