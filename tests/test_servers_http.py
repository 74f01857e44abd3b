"""The parser of the HTTP server, without sockets: bytes in, requests out."""

import random

import pytest

from trioctx.servers._http import MAX_BODY, MAX_HEAD, Refused, RequestParser
from trioctx.servers._messages import Request

GET = b"GET /hello HTTP/1.1\r\nHost: here\r\n\r\n"
POST = b"POST /form?a=b HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = (
    b"PUT /file HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;note=x\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
)
CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def parse(*pieces: bytes) -> list[Request | int]:
    """All requests in the pieces, and at the end the status of the refusal, if there is one."""
    parser = RequestParser()
    for piece in pieces:
        parser.feed(piece)
    found: list[Request | int] = []
    try:
        while (request := parser.next_request()) is not None:
            found.append(request)
    except Refused as exc:
        found.append(exc.status)
    return found


def test_a_request_has_method_path_headers_and_body() -> None:
    """The query is not part of the path; header names are in lower case."""
    headers = ((b"host", b"here"), (b"content-length", b"3"))
    assert parse(POST) == [Request("POST", "/form", "a=b", headers, b"abc", True)]


def test_a_chunked_body_is_joined_and_its_trailers_are_dropped() -> None:
    """What comes after the last chunk is not a header."""
    (request,) = parse(CHUNKED)
    assert isinstance(request, Request)
    assert request.body == b"abcde"
    assert request.headers == ((b"host", b"here"), (b"transfer-encoding", b"chunked"))


def test_pipelined_requests_come_in_order() -> None:
    """One read can hold several requests."""
    parser = RequestParser()
    parser.feed(GET + POST + CHUNKED)
    for path in ("/hello", "/form", "/file"):
        request = parser.next_request()
        assert request is not None
        assert request.path == path
    assert parser.next_request() is None


def test_how_the_bytes_are_cut_makes_no_difference() -> None:
    """Byte by byte, and in 300 random ways, the same requests come out."""
    stream = GET + CHUNKED + POST + GET
    whole = parse(stream)
    assert len(whole) == 4
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == whole
    rng = random.Random(8090)
    for _ in range(300):
        cuts = sorted(rng.sample(range(len(stream)), rng.randrange(1, 9)))
        pieces = [stream[i:j] for i, j in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert parse(*pieces) == whole


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_keep_alive_follows_version_and_connection(head: bytes, keep_alive: bool) -> None:
    """1.1 stays unless told to close, 1.0 closes unless told to stay, and needs no Host."""
    (request,) = parse(head)
    assert isinstance(request, Request)
    assert request.keep_alive is keep_alive


@pytest.mark.parametrize(
    "wish",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ],
)
def test_nothing_is_read_after_the_last_request(wish: bytes) -> None:
    """A wish for another protocol is answered in this one, and the connection closes."""
    request, status = parse(wish + GET)
    assert isinstance(request, Request)
    assert not request.keep_alive
    assert status == 400


REFUSED = [
    # no HTTP/1.x
    (b"\x16\x03\x01", 400),
    (b"nonsense\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    (b"GET /\r\n\r\n", 400),
    (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    # the target: not of this server, not a path
    (b"GET http://a/hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 400),
    (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    # the headers
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX(: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    # two opinions on where the body ends
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    # transfer codings and chunks
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\nabc", 400),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (CHUNKS + b"x\r\n", 400),
    (CHUNKS + b"0x3\r\nabc\r\n0\r\n\r\n", 400),
    (CHUNKS + b"3 \r\nabc\r\n0\r\n\r\n", 400),
    (CHUNKS + b"3\nabc\r\n0\r\n\r\n", 400),
    (CHUNKS + b"3\r\nabcd\r\n0\r\n\r\n", 400),
    (CHUNKS + b"f" * 20 + b"\r\nabc\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    # too much of it
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n", 431),
    (b"GET /" + b"x" * MAX_HEAD + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
]


@pytest.mark.parametrize(("refused", "status"), REFUSED)
def test_what_is_no_request_is_refused_after_the_requests_before_it(
    refused: bytes, status: int
) -> None:
    """The good request in front is still there to be answered, the one behind never is.

    However it is cut, also into single bytes.
    """
    for pieces in ([GET + refused, GET], [GET, *(refused[i : i + 1] for i in range(len(refused)))]):
        request, *rest = parse(*pieces)
        assert isinstance(request, Request)
        assert rest == [status]


def test_an_unknown_method_is_told_from_no_http() -> None:
    """501 where its line is one, in one piece; wherever in the stream it comes."""
    for method in (b"BREW", b"HELLO", b"get", b"M-SEARCHES"):
        line = method + b" /hello HTTP/1.1\r\nHost: a\r\n\r\n"
        assert parse(line + GET) == [501]
        assert parse(GET + line)[1:] == [501]
    assert parse(GET + b"\x16\x03\x01")[1:] == [400]


def test_a_part_of_a_request_is_in_message() -> None:
    """From its first byte to its last; not what waits, and not between two."""
    parser = RequestParser()
    assert not parser.in_message
    parser.feed(GET + POST[:1])
    assert parser.in_message
    parser.feed(POST[1:-1])
    assert parser.in_message
    parser.feed(POST[-1:])
    assert not parser.in_message


EXPECT = b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n"


def test_a_client_that_waits_to_be_asked_for_its_body() -> None:
    """From the end of the head until it is asked, or has begun to send it unasked."""
    for asked in (False, True):
        parser = RequestParser()
        parser.feed(EXPECT[:-2])
        assert not parser.wants_continue
        parser.feed(EXPECT[-2:])
        assert parser.wants_continue
        assert (parser.method, parser.path) == ("POST", "/form")
        if asked:
            parser.continued()
            assert not parser.wants_continue
        parser.feed(b"a")
        assert not parser.wants_continue
        parser.feed(b"bc")
        request = parser.next_request()
        assert request is not None
        assert request.body == b"abc"
        parser.feed(POST[:-1])
        assert not parser.wants_continue


@pytest.mark.parametrize(
    "head",
    [
        EXPECT.replace(b"HTTP/1.1", b"HTTP/1.0"),
        EXPECT.replace(b"100-Continue", b"more"),
        EXPECT.replace(b"Length: 3", b"Length: 0"),
        EXPECT.replace(b"Length: 3", b"Length: 99999999"),
    ],
)
def test_not_every_expectation_is_one(head: bytes) -> None:
    """HTTP/1.0 has none, others than 100 are ignored; nor for a body that is none or refused."""
    parser = RequestParser()
    parser.feed(head)
    assert not parser.wants_continue


def test_a_refusal_stays() -> None:
    """Asking again, and feeding more, changes nothing."""
    parser = RequestParser()
    parser.feed(b"\x00")
    for _ in range(2):
        parser.feed(GET)
        with pytest.raises(Refused) as caught:
            parser.next_request()
        assert caught.value.status == 400


def head_of(size: int) -> bytes:
    """A request whose head has `size` bytes as `MAX_HEAD` counts them: target and header lines."""
    filling = size - len(b"/") - len(b"host: a\r\n") - len(b"x: \r\n")
    return b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * filling + b"\r\n\r\n"


def test_the_head_is_bounded() -> None:
    """Up to `MAX_HEAD` it is taken, beyond it gets 431, however it is cut."""
    for head, expected in ((head_of(MAX_HEAD), None), (head_of(MAX_HEAD + 1), 431)):
        for size in (100, 5_000, len(head)):
            (found,) = parse(*(head[i : i + size] for i in range(0, len(head), size)))
            assert found == expected if expected else isinstance(found, Request)


def test_an_endless_head_is_refused_before_it_ends() -> None:
    """A header that never ends costs a bounded amount of memory."""
    assert parse(b"GET / HTTP/1.1\r\nX: ", *[b"x" * 1000] * 17) == [431]


def test_the_body_is_bounded() -> None:
    """Up to `MAX_BODY` it is taken, beyond it gets 413, sized or chunked."""
    for size, statuses in ((MAX_BODY, []), (MAX_BODY + 1, [413])):
        body = b"x" * size
        sized = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + body
        chunked = (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"1\r\nx\r\n" * size
            + b"0\r\n\r\n"
        )
        for stream in (sized, chunked):
            found = parse(*(stream[i : i + 10_000] for i in range(0, len(stream), 10_000)))
            assert [entry for entry in found if isinstance(entry, int)] == statuses
            assert [len(entry.body) for entry in found if isinstance(entry, Request)] == [
                size for _ in found if not statuses
            ]


def test_endless_trailers_are_refused() -> None:
    """What is no body is bounded too."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: "
    assert parse(head, *[b"x" * 10_000] * 100) == [413]
