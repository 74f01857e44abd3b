"""The application for the ASGI servers, without a framework."""

from typing import Any

HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"6")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # how an application declines the lifespan
    status, body = (200, b"hello\n") if scope["path"] == "/hello" else (404, b"what?\n")
    await send({"type": "http.response.start", "status": status, "headers": HEADERS})
    await send({"type": "http.response.body", "body": body})
