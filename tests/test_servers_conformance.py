"""Every status of the HTTP server, over real sockets, with what the connection does next.

And 20,000 streams of requests, cut and mutated at random: each request is answered once, in order,
or the connection closes with a 4xx.
"""

import random
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import attrs
import pytest
import trio
from serving import Answer, open_socket_pair, receive_all, receive_response, served, statuses
from trio.testing import memory_stream_pair

import trioctx
from trioctx.servers._http import MAX_BODY, MAX_HEAD, Refused, RequestParser
from trioctx.servers.http import Limits, Request, Response, serve_http

# Reached only by a test that fails.
LIMIT = 20.0

HOST = b"Host: here\r\n"


async def tell(request: Request) -> Response:
    """What has come, and what is left of the time."""
    return Response(200, request.body or b"hello\n", (("X-Method", request.method),))


async def fail(request: Request) -> Response:
    raise LookupError("secret")


async def sleep(request: Request) -> Response:
    await trio.sleep_forever()
    raise AssertionError("not reached")


async def nothing(request: Request) -> Response:
    return Response(204)


ROUTES = {
    ("GET", "/"): tell,
    ("POST", "/"): tell,
    ("GET", "/fail"): fail,
    ("GET", "/sleep"): sleep,
    ("GET", "/nothing"): nothing,
}


def post(headers: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n" + HOST + headers + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"
BIG = b"x" * (MAX_BODY + 1)


@attrs.frozen
class Case:
    """What is sent, the status that comes back, and whether the connection closes with it."""

    sent: bytes
    status: int
    closes: bool
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


CASES = {
    "GET": Case(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", 200, False, body=b"hello\n"),
    "query": Case(b"GET /?a=b HTTP/1.1\r\n" + HOST + b"\r\n", 200, False),
    "HEAD": Case(
        b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n", 200, False, (("content-length", "6"),), b""
    ),
    "close": Case(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 200, True),
    "1.0": Case(b"GET / HTTP/1.0\r\n\r\n", 200, True),
    "1.0 keep-alive": Case(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, False),
    "sized": Case(post(b"Content-Length: 3\r\n", b"abc"), 200, False, body=b"abc"),
    "chunked": Case(post(CHUNKED, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"), 200, False, body=b"abc"),
    "upgrade": Case(
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200, True
    ),
    "204": Case(b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n", 204, False, body=b""),
    "400": Case(b"nonsense\r\n\r\n", 400, True),
    "400 no host": Case(b"GET / HTTP/1.1\r\n\r\n", 400, True),
    "400 absolute": Case(b"GET http://here/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, True),
    "400 asterisk": Case(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400, True),
    "400 both": Case(post(b"Content-Length: 1\r\n" + CHUNKED, b"0\r\n\r\n"), 400, True),
    "400 two": Case(post(b"Content-Length: 1\r\nContent-Length: 2\r\n", b"ab"), 400, True),
    "400 chunk size": Case(post(CHUNKED, b"-1\r\n\r\n"), 400, True),
    "400 folding": Case(post(b"A: b\r\n c\r\n"), 400, True),
    "400 bare CR": Case(post(b"A: b\rc\r\n"), 400, True),
    "400 name": Case(post(b"A B: c\r\n"), 400, True),
    "404": Case(b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n", 404, False),
    "405": Case(
        b"DELETE / HTTP/1.1\r\n" + HOST + b"\r\n", 405, False, (("allow", "GET, POST, HEAD"),)
    ),
    "408 nothing more": Case(b"GET / HT", 408, True),
    "408 body": Case(post(b"Content-Length: 3\r\n", b"ab"), 408, True),
    "413 sized": Case(post(b"Content-Length: %d\r\n" % len(BIG), BIG), 413, True),
    "413 chunked": Case(post(CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(BIG), BIG)), 413, True),
    "431": Case(post(b"A: " + b"x" * MAX_HEAD + b"\r\n"), 431, True),
    "500": Case(b"GET /fail HTTP/1.1\r\n" + HOST + b"\r\n", 500, False),
    "501 method": Case(b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n", 501, True),
    "501 known method": Case(b"PROPFIND / HTTP/1.1\r\n" + HOST + b"\r\n", 501, False),
    "501 coding": Case(post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), 501, True),
    "504": Case(b"GET /sleep HTTP/1.1\r\n" + HOST + b"\r\n", 504, False),
}


@pytest.mark.parametrize("name", CASES)
async def test_every_status(name: str) -> None:
    """With the headers that it needs; after it the next request is answered, or the end comes."""
    case = CASES[name]
    limits = Limits(handler=0.01, request=0.05 if case.status == 408 else LIMIT)
    async with trioctx.with_timeout(trioctx.background(), LIMIT) as ctx:

        async def serve(task_status: trio.TaskStatus[list[tuple[str, int]]]) -> None:
            await serve_http(ctx, ROUTES, 0, limits=limits, task_status=task_status)

        [(host, port)] = await ctx.nursery.start(serve)
        async with await trio.open_tcp_stream(host, port) as client:
            await client.send_all(case.sent)
            answer = await receive_response(client, body=not case.sent.startswith(b"HEAD"))
            check(answer, case)
            if case.closes:
                assert await receive_all(client) == b""
            else:
                await client.send_all(CASES["close"].sent)
                assert (await receive_response(client)).status == 200
        ctx.cancel()


def check(answer: Answer, case: Case) -> None:
    assert answer.status == case.status
    assert answer.closes is case.closes
    assert parsedate_to_datetime(answer.headers["date"]).tzinfo is not None
    assert dict(case.headers).items() <= answer.headers.items()
    assert case.body is None or answer.body == case.body
    assert b"secret" not in answer.body
    assert ("content-length" in answer.headers) is (case.status != 204)


# --- random streams ---------------------------------------------------------------------------


def random_request(rng: random.Random, number: int) -> bytes:
    """A valid request that says its number."""
    name = b"X-Number: %d\r\n" % number
    extra = b"".join(
        b"X-%d: %s\r\n" % (n, b"y" * rng.randrange(30)) for n in range(rng.randrange(3))
    )
    body = bytes(rng.choices(b"ab\r\n0 :GET/", k=rng.randrange(20)))
    kind = rng.randrange(4)
    if kind == 0:
        return b"GET / HTTP/1.1\r\n" + HOST + name + extra + b"\r\n"
    if kind == 1:
        return b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n" + name + extra + b"\r\n"
    if kind == 2:
        return post(name + extra + b"Content-Length: %d\r\n" % len(body), body)
    at = rng.randrange(len(body) + 1)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (body[:at], body[at:]) if c)
    return post(name + CHUNKED + extra, chunks + b"0\r\n\r\n")


def mutated(rng: random.Random, stream: bytes) -> bytes:
    """With up to three bytes, or runs of them, changed, taken out, doubled or put in."""
    data = bytearray(stream)
    for _ in range(rng.randrange(1, 4)):
        at, size = rng.randrange(len(data)), rng.randrange(1, 4)
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = data[at : at + size]
            case _:
                data[at:at] = bytes(rng.choices(b"\r\n\t :,0;x\x00\xff", k=size))
    return bytes(data or b"\r")


def cut(rng: random.Random, stream: bytes) -> list[bytes]:
    cuts = sorted(rng.choices(range(len(stream) + 1), k=rng.randrange(6)))
    return [stream[i:j] for i, j in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def parse(pieces: Sequence[bytes]) -> tuple[list[Request], int | None]:
    """The requests, as a server takes them, and the refusal."""
    parser, found = RequestParser(), []
    try:
        for piece in pieces:
            parser.feed(piece)
            while request := parser.next_request():
                found.append(request)
                if not request.keep_alive:
                    return found, None
    except Refused as exc:
        return found, exc.status
    return found, None


STREAMS = 20_000


def streams(seed: int, count: int, *, mutate: bool) -> list[tuple[int, bytes, random.Random]]:
    """How many requests, the bytes, and the randomness to cut them with."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        size = rng.randrange(1, 5)
        stream = b"".join(random_request(rng, number) for number in range(size))
        made.append((size, mutated(rng, stream) if mutate else stream, rng))
    return made


def numbers(requests: Sequence[Request]) -> list[bytes | None]:
    return [request.header(b"x-number") for request in requests]


def test_valid_streams_cut_at_random() -> None:
    """Each request comes once, in order, whole."""
    for size, stream, rng in streams(1, STREAMS // 4, mutate=False):
        found, status = parse(cut(rng, stream))
        assert numbers(found) == [b"%d" % number for number in range(size)]
        assert status is None


def test_mutated_streams_cut_at_random() -> None:
    """What comes does not depend on the cuts; what is refused is refused with a 4xx or 501."""
    for size, stream, rng in streams(2, STREAMS // 2, mutate=True):
        found, status = parse([stream])
        again, status_again = parse(cut(rng, stream))
        assert again == found
        assert status in (None, 400, 413, 431, 501)
        # A method that nobody knows can be told from nonsense only in one piece.
        assert status_again == status or {status, status_again} == {501, 400}
        # A mutation can make one request of two, or two of one body, never out of thin air.
        assert len(found) <= size + 3


async def test_streams_through_the_server() -> None:
    """Each request is answered once, in order, or the connection closes with a 4xx."""
    seen: list[Request] = []

    async def note(request: Request) -> Response:
        seen.append(request)
        return Response(200, request.header(b"x-number") or b"-")

    for mutate, seed in ((False, 3), (True, 4)):
        for _, stream, rng in streams(seed, STREAMS // 8, mutate=mutate):
            seen.clear()
            pieces = cut(rng, stream)
            expected, refusal = parse(pieces)
            on_socket = rng.random() < 0.1
            client, server = await (open_socket_pair() if on_socket else open_pair())
            async with client, served(server, note, methods=("GET", "POST"), path="/"):
                try:
                    for piece in pieces:
                        await client.send_all(piece)
                    await client.send_eof()
                except trio.BrokenResourceError:
                    assert refusal is not None or not expected[-1].keep_alive
                got = statuses(await receive_all(client))
            answered = got[: len(expected)]
            assert len(answered) == len(expected)
            assert set(answered) <= {200, 404, 405, 501}
            end = got[len(expected) :]
            assert end == ([refusal] if refusal else []) or {*end, refusal} == {400, 501}
            assert numbers(seen) == [
                request.header(b"x-number")
                for request, status in zip(expected, answered, strict=True)
                if status == 200
            ]


async def open_pair() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
    return memory_stream_pair()
