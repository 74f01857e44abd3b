"""Requests, responses and routes as values, and a response as bytes."""

from email.utils import parsedate_to_datetime

import pytest

from trioctx.servers._messages import Request, Response, RouteTable, serialise


async def answer(request: Request) -> Response:
    """A handler, to be found."""
    return Response(200)


def test_a_response_has_the_headers_it_needs() -> None:
    """Status line, date, length, type, connection, its own headers, body."""
    response = Response(200, b"hello\n", (("X-Own", "1"),))
    head, body = serialise(response, keep_alive=True).split(b"\r\n\r\n")
    status, date, *rest = head.decode().split("\r\n")
    assert status == "HTTP/1.1 200 OK"
    assert parsedate_to_datetime(date.removeprefix("Date: ")).tzinfo is not None
    assert rest == [
        "Connection: keep-alive",
        "Content-Length: 6",
        "Content-Type: text/plain; charset=utf-8",
        "X-Own: 1",
    ]
    assert body == b"hello\n"


def test_a_content_type_of_its_own_replaces_the_usual_one() -> None:
    """In whatever case it is written."""
    data = serialise(Response(200, b"{}", (("content-type", "text/json"),)), keep_alive=True)
    assert data.lower().count(b"content-type") == 1


def test_a_response_to_head_has_the_length_and_not_the_body() -> None:
    """A body there would be taken for the next response."""
    data = serialise(Response.of_status(404), keep_alive=False, head_only=True)
    assert data.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Length: 14\r\n" in data
    assert b"\r\nConnection: close\r\n" in data


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(status: int) -> None:
    """Nor a length; what the handler gave as one is dropped."""
    data = serialise(Response(status, b"body"), keep_alive=True)
    assert data.endswith(b"\r\n\r\n")
    assert b"Content-" not in data


def test_a_status_without_a_name_is_a_status() -> None:
    """The space after it is part of the line (RFC 9112, 4)."""
    assert serialise(Response(299), keep_alive=True).startswith(b"HTTP/1.1 299 \r\n")


def test_a_bare_status_says_its_name() -> None:
    """Headers are given as keyword arguments."""
    assert Response.of_status(405, Allow="GET") == Response(
        405, b"405 Method Not Allowed\n", (("Allow", "GET"),)
    )


@pytest.mark.parametrize("status", [0, 100, 199, 600])
def test_only_final_statuses_are_responses(status: int) -> None:
    """The others are the server's business, or nobody's."""
    with pytest.raises(ValueError, match=f"status must be .* not {status}"):
        Response(status)


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nSet-Cookie: b"), ("X", "a\n"), ("X Y", "a"), ("", "a"), ("X", "€")],
)
def test_a_header_cannot_become_two(name: str, value: str) -> None:
    """Whatever a handler copies into it from a request."""
    with pytest.raises(ValueError, match="headers must be"):
        Response(200, headers=((name, value),))


def test_a_header_is_found_by_its_lower_case_name() -> None:
    """The first of several; None if there is none."""
    request = Request("GET", "/", "", ((b"a", b"1"), (b"b", b"2"), (b"b", b"3")), b"", True)
    assert request.header(b"b") == b"2"
    assert request.header(b"c") is None


def test_routes_map_method_and_path() -> None:
    """What answers GET answers HEAD, unless that has a handler of its own."""

    async def head(request: Request) -> Response:
        raise NotImplementedError

    table = RouteTable(
        {("GET", "/a"): answer, ("POST", "/a"): answer, ("GET", "/b"): answer, ("HEAD", "/b"): head}
    )
    assert table.find("GET", "/a") is table.find("HEAD", "/a") is table.find("POST", "/a") is answer
    assert table.find("HEAD", "/b") is head


def test_what_no_route_answers() -> None:
    """404, 405 with what is allowed, 501 for a method that no path has."""
    table = RouteTable({("GET", "/a"): answer, ("PURGE", "/b"): answer})
    assert table.find("GET", "/c") == Response.of_status(404)
    assert table.find("DELETE", "/a") == Response.of_status(405, Allow="GET, HEAD")
    assert table.find("PURGE", "/a") == Response.of_status(405, Allow="GET, HEAD")
    assert table.find("PROPFIND", "/a") == Response.of_status(501)
