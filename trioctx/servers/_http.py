"""HTTP/1.1 for a server, without any I/O: bytes in, requests out.

`httptools` (llhttp) does the parsing, and is strict: both lengths, bad chunk sizes, folded headers,
a bare CR or LF are its errors. Here its callbacks become requests, and the bounds are kept.

    feed(bytes) --> httptools --> on_...() --> waiting requests --> next_request()
                        |            |                                   |
                        +-- error ---+-- beyond bounds --> Refused, after the requests before it

A request comes out whole, with its body: so what is wrong with any part of it gets its 4xx, however
the bytes were cut, and never after a handler has begun.
"""

import re
from collections import deque
from typing import Final

import httptools

from trioctx.servers._messages import Request

__all__ = ["MAX_BODY", "MAX_HEAD", "Refused", "RequestParser"]

MAX_HEAD: Final = 16 * 1024
"""The request line and the headers, in bytes."""

MAX_BODY: Final = 64 * 1024
"""The body, in bytes."""

# A message as it is sent: a chunk of one byte has six of framing, and there may be trailers.
_MAX_MESSAGE: Final = MAX_HEAD + 8 * MAX_BODY

# A request line, with any method. llhttp gives up at the first letter that no method of its has.
_REQUEST_LINE: Final = re.compile(rb"(?m)^[!#$%&'*+.^_`|~0-9A-Za-z-]+ /[!-~]* HTTP/1\.[01]\r$")


class Refused(Exception):
    """The client sent no request, or one beyond the bounds. `status` is the answer to it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class RequestParser:
    """The requests in a stream of bytes, however the bytes are cut.

    `in_message` tells whether a part of a request has come that is not whole yet. The `on_...`
    methods are httptools' callbacks.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._refusal: int | None = None
        self.in_message = False
        self._in_head = False
        self._received = 0  # bytes of this message, but for those that came with its first one
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_size = 0
        self._expects = False
        self._keep_alive = True
        self.method = ""
        self.path = ""
        self._query = ""

    def feed(self, data: bytes | bytearray) -> None:
        """Take what the client sent. What is wrong with it is raised by `next_request`."""
        if self._refusal is not None:
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserInvalidMethodError:
            # A method of its own, in a line that is one: 501. Else it is no HTTP.
            self._refuse(501 if _has_unknown_method(data) else 400)
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

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits to be asked for the body of the request with this head.

        `method` and `path` are those of that request (RFC 9110, 10.1.1).
        """
        return self._expects and not self._body_size and self._refusal is None

    def continued(self) -> None:
        """The client has been asked."""
        self._expects = False

    def _refuse(self, status: int) -> None:
        if self._refusal is None:
            self._refusal = status

    # --- what httptools calls -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.in_message = self._in_head = True
        self._received = 0
        self._target = b""
        self._headers = []
        self._body = []
        self._body_size = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # and not in the trailers
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        version = self._parser.get_http_version()
        target = self._target.decode("latin-1")
        size = len(target)
        hosts = 0
        codings = b""
        for name, value in self._headers:
            size += len(name) + len(value) + len(b": \r\n")
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                codings += b"," + value.lower()
            elif name == b"content-length" and int(value) > MAX_BODY:
                self._refuse(413)
            elif name == b"expect" and version == "1.1":
                self._expects = value.lower() == b"100-continue"
        if size > MAX_HEAD:
            self._refuse(431)
        elif (
            version not in ("1.0", "1.1")
            or hosts > 1
            or (hosts == 0 and version == "1.1")  # RFC 9112, 3.2
            or not target.startswith("/")  # a proxy's or a server-wide target
            or "#" in target
            or (codings and version == "1.0")  # RFC 9112, 6.1
        ):
            self._refuse(400)
        elif codings.endswith(b"chunked") and codings != b",chunked":
            self._refuse(501)  # where chunked is not the last one, httptools says 400
        self.method = self._parser.get_method().decode()
        self.path, _, self._query = target.partition("?")
        self._keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > MAX_BODY:
            self._refuse(413)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self.in_message = False
        self._received = 0
        self._expects = False
        if self._refusal is None:
            self._waiting.append(
                Request(
                    self.method,
                    self.path,
                    self._query,
                    tuple(self._headers),
                    b"".join(self._body),
                    self._keep_alive,
                )
            )


def _has_unknown_method(data: bytes | bytearray) -> bool:
    """Whether there is a request line in `data` with a method that llhttp has never heard of."""
    for line in _REQUEST_LINE.finditer(data):
        try:
            httptools.HttpRequestParser(None).feed_data(line[0])
        except httptools.HttpParserInvalidMethodError:
            return True
    return False
