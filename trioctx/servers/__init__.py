"""Servers that drain: the accept loop to build on, and two small servers that show its use.

`serve_tcp` is the accept loop, `serve_unix` and `serve_listeners` are the same for other sockets.
`trioctx.servers.echo` and `trioctx.servers.hello` (which needs `pip install 'trioctx[http]'`) are
whole servers on it, to run and to copy from.
"""

from trioctx.servers._tcp import (
    Handler as Handler,
    client_addr as client_addr,
    connection_id as connection_id,
    linger as linger,
    serve_listeners as serve_listeners,
    serve_tcp as serve_tcp,
)
from trioctx.servers._unix import serve_unix as serve_unix

__all__ = [
    "Handler",
    "client_addr",
    "connection_id",
    "linger",
    "serve_listeners",
    "serve_tcp",
    "serve_unix",
]
