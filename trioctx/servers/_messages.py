"""Requests and responses as values, and the table that says who answers what. No I/O."""

import functools
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import attrs

__all__ = ["Request", "RequestHandler", "Response", "RouteTable", "Routes", "serialise"]

# Those of RFC 9110 and PATCH: known, so where a path does not have them the answer is 405.
_METHODS: Final = frozenset(
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
)

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}

_BODILESS: Final = (204, 304)  # RFC 9110, 8.6 and 15.4.5

_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*")


@attrs.frozen
class Request:
    """One whole request. The names of its headers are in lower case."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    keep_alive: bool

    def header(self, name: bytes) -> bytes | None:
        """The first header of this name, given in lower case."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@attrs.frozen
class Response:
    """What a handler answers. Date, length, type (text) and connection are written for it.

    Raises:
        ValueError: the status is no final one (200 to 599), or a header would not be one line.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def __attrs_post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"status must be that of a final response, not {self.status!r}")
        for name, value in self.headers:
            if not _HEADER.fullmatch(f"{name}: {value}"):
                raise ValueError(f"headers must be names and single lines, not {name!r}: {value!r}")

    @classmethod
    def of_status(cls, status: int, **headers: str) -> "Response":
        """A status and nothing more to say: its name is the body."""
        return cls(status, f"{status} {_PHRASES[status]}\n".encode(), (*headers.items(),))


RequestHandler = Callable[[Request], Awaitable[Response]]
"""What answers a request: `async def handler(request) -> Response`."""

Routes = Mapping[tuple[str, str], RequestHandler]
"""Method and path, to handler: `{("GET", "/hello"): hello}`. What answers GET answers HEAD."""


class RouteTable:
    """Finds the handler of a request, or the response that tells why there is none."""

    def __init__(self, routes: Routes) -> None:
        self._paths: dict[str, dict[str, RequestHandler]] = {}
        for (method, path), handler in routes.items():
            self._paths.setdefault(path, {})[method] = handler
        for methods in self._paths.values():
            if "GET" in methods:
                methods.setdefault("HEAD", methods["GET"])
        self._methods = _METHODS.union(*self._paths.values())

    def find(self, method: str, path: str) -> RequestHandler | Response:
        """The handler; or 501, 404 or 405 with `Allow`."""
        methods = self._paths.get(path)
        if methods is not None and method in methods:
            return methods[method]
        if method not in self._methods:
            return Response.of_status(501)
        if methods is None:
            return Response.of_status(404)
        return Response.of_status(405, Allow=", ".join(methods))


def serialise(response: Response, *, keep_alive: bool, head_only: bool = False) -> bytes:
    """The bytes of a response; of one to a HEAD request (`head_only`) without the body."""
    body = response.body
    head = _head(response.status, len(body), response.headers, keep_alive, int(time.time()))
    return head if head_only or response.status in _BODILESS else head + body


@functools.lru_cache(maxsize=256)
def _head(
    status: int, length: int, headers: tuple[tuple[str, str], ...], keep_alive: bool, second: int
) -> bytes:
    """The head of a response, which is the same for all like it in this second, as `Date` is."""
    lines = [
        f"HTTP/1.1 {status} {_PHRASES.get(status, '')}",
        f"Date: {formatdate(second, usegmt=True)}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
    ]
    if status not in _BODILESS:
        lines.append(f"Content-Length: {length}")
        if all(name.lower() != "content-type" for name, _ in headers):
            lines.append("Content-Type: text/plain; charset=utf-8")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
