"""hypercorn's Trio worker."""

import socket
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from .asgi import app


async def main(application: Any) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    await serve(application, config)


if __name__ == "__main__":
    trio.run(main, app)
