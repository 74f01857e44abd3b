"""Servers that drain: the accept loop to build on, and two small servers that show its use.

`serve_tcp` is the accept loop. `trioctx.servers.echo` and `trioctx.servers.hello` (which needs
`pip install 'trioctx[http]'`) are whole servers on it, to run and to copy from.
"""

from trioctx.servers._tcp import (
    Handler as Handler,
    client_addr as client_addr,
    linger as linger,
    serve_tcp as serve_tcp,
)

__all__ = ["Handler", "client_addr", "linger", "serve_tcp"]
