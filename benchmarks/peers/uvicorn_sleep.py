"""uvicorn, whose application must itself wait for the disconnect, in a task beside its work."""

import asyncio
from typing import Any

from .sleeping import SECONDS, telling
from .uvicorn_hello import main


async def app(scope: Any, receive: Any, send: Any) -> None:
    async def sleep() -> None:
        with telling():
            await asyncio.sleep(SECONDS)

    async with asyncio.TaskGroup() as group:
        work = group.create_task(sleep())
        while (await receive())["type"] != "http.disconnect":
            pass
        work.cancel()


if __name__ == "__main__":
    main(app)
