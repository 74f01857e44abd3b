"""An HTTP server that says hello: `python -m trioctx hello`, then `curl 127.0.0.1:8090/hello`.

What to learn here: `hello` is a plain function of a request. That it runs under a context of its
own, with a deadline, and is cancelled when the client goes away, is the server's business
(`trioctx.servers.http`); `hello` just works, and can ask `trioctx.current()` why it was ended.
"""

import functools
import logging
from typing import Final

import trio

import trioctx
from trioctx.servers.http import Limits, Request, Response, serve_http

__all__ = ["hello", "serve"]

_HELLO: Final = Response(200, b"hello\n")

_log: Final = logging.getLogger(__name__)


async def serve(
    ctx: trioctx.Context,
    host: str = "127.0.0.1",
    port: int = 8090,
    work: float = 0.0,
    timeout: float = 30.0,
    *,
    max_connections: int | None = None,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the hello server until `ctx` is stopped.

    Args:
        ctx, host, port, max_connections, task_status: as for `serve_tcp`.
        work: how many seconds `hello` works before it answers.
        timeout: how many seconds a request may take.
    """
    await serve_http(
        ctx,
        {("GET", "/hello"): functools.partial(hello, work=work)},
        port,
        host=host,
        limits=Limits(handler=timeout),
        max_connections=max_connections,
        task_status=task_status,
    )


async def hello(request: Request, *, work: float = 0.0) -> Response:
    """Work for `work` seconds, then say hello."""
    _log.info("server: hello handler started")
    try:
        if work:
            await trio.sleep(work)
        return _HELLO
    except trio.Cancelled:
        ctx = trioctx.current()
        _log.info("server: %s", ctx.cause or ctx.err)
        raise
    finally:
        _log.info("server: hello handler ended")
