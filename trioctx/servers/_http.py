"""HTTP/1.1 for a server, without any I/O: bytes in, requests out; a response in, bytes out.

`httptools` (llhttp) does the parsing, and is strict: both lengths, bad chunk sizes, folded headers,
a bare CR or LF are its errors. Here its callbacks become requests, and the bounds are kept.

    feed(bytes) --> httptools --> on_...() --> waiting requests --> next_request()
                        |            |                                   |
                        +-- error ---+-- beyond bounds --> Refused, after the requests before it
"""

from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import attrs
import httptools

__all__ = ["MAX_BODY", "MAX_HEAD", "Refused", "Request", "RequestParser", "Response", "serialise"]

MAX_HEAD: Final = 16 * 1024
"""The request line and the headers, in bytes."""

MAX_BODY: Final = 64 * 1024
"""The body, in bytes."""

# A message as it is sent: a chunk of one byte has six of framing, and there may be trailers.
_MAX_MESSAGE: Final = MAX_HEAD + 8 * MAX_BODY


@attrs.frozen
class Request:
    """One whole request. The names of its headers are in lower case."""

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    keep_alive: bool


@attrs.frozen
class Response:
    """What a handler answers. Date, length, type (text) and connection are written for it."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_status(cls, status: int, **headers: str) -> "Response":
        """A status and nothing more to say: its name is the body."""
        body = f"{status} {HTTPStatus(status).phrase}\n"
        return cls(status, body.encode(), tuple(headers.items()))


class Refused(Exception):
    """The client sent no request, or one beyond the bounds. `status` is the answer to it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class RequestParser:
    """The requests in a stream of bytes, however the bytes are cut.

    The `on_...` methods are httptools' callbacks.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._refusal: int | None = None
        self._in_message = False
        self._in_head = False
        self._received = 0  # bytes of this message, but for those that came with its first one
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._body = bytearray()
        self._keep_alive = True

    @property
    def idle(self) -> bool:
        """Whether nothing has come that `next_request` has not returned, not even a part."""
        return not self._in_message and not self._waiting and self._refusal is None

    def feed(self, data: bytes | bytearray) -> None:
        """Take what the client sent. What is wrong with it is raised by `next_request`."""
        if self._refusal is not None:
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # A request for an upgrade has been read like any other. What follows it is of another
            # protocol, as is what follows a `Connection: close`.
            self._refuse(400)
        if self._in_head and self._received > MAX_HEAD:
            self._refuse(431)
        elif self._received > _MAX_MESSAGE:
            self._refuse(413)

    def next_request(self) -> Request | None:
        """The next whole request in order, or None until more is fed.

        Raises:
            Refused: at and after the first bytes that cannot be served. The connection is lost.
        """
        if self._waiting:
            return self._waiting.popleft()
        if self._refusal is not None:
            raise Refused(self._refusal)
        return None

    def _refuse(self, status: int) -> None:
        if self._refusal is None:
            self._refusal = status

    def on_message_begin(self) -> None:
        self._in_message = self._in_head = True
        self._received = 0
        self._target = b""
        self._headers = []
        self._head_size = 0
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # and not in the trailers
            self._headers.append((name.lower(), value))
            self._head_size += len(name) + len(value) + len(b": \r\n")

    def on_headers_complete(self) -> None:
        self._in_head = False
        version = self._parser.get_http_version()
        hosts = sum(name == b"host" for name, _ in self._headers)
        if self._head_size > MAX_HEAD:
            self._refuse(431)
        elif (
            version not in ("1.0", "1.1")
            or hosts > 1
            or (hosts == 0 and version == "1.1")  # RFC 9112, 3.2
            or not self._target.startswith(b"/")  # a proxy's or a server-wide target
        ):
            self._refuse(400)
        self._keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()

    def on_body(self, body: bytes) -> None:
        if len(self._body) + len(body) > MAX_BODY:
            self._refuse(413)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        self._in_message = False
        self._received = 0
        if self._refusal is None:
            self._waiting.append(
                Request(
                    method=self._parser.get_method().decode(),
                    path=httptools.parse_url(self._target).path.decode(),
                    headers=tuple(self._headers),
                    body=bytes(self._body),
                    keep_alive=self._keep_alive,
                )
            )


def serialise(response: Response, *, keep_alive: bool, head_only: bool = False) -> bytes:
    """The bytes of a response; of one to a HEAD request (`head_only`) without the body."""
    lines = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Length: {len(response.body)}",
        "Content-Type: text/plain; charset=utf-8",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        *(f"{name}: {value}" for name, value in response.headers),
    ]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if head_only else head + response.body
