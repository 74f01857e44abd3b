"""What a server must answer before it is timed."""

import socket

from ..sides import WrongOutcome, expect

PATIENCE = 30.0  # seconds


def received(client: socket.socket, ending: bytes) -> bytes:
    """What comes, up to this ending; at least something."""
    data = b""
    while not (data and data.endswith(ending)):
        try:
            more = client.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            raise WrongOutcome(f"the connection closed after {data!r}")
        data += more
    return data


def check_hello(port: int) -> None:
    """200 twice and 404 on one connection."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        for path, status, ending in (
            ("/hello", b"HTTP/1.1 200", b"\r\n\r\nhello\n"),
            ("/hello", b"HTTP/1.1 200", b"\r\n\r\nhello\n"),
            ("/no-such-path", b"HTTP/1.1 404", b""),
        ):
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            expect(f"the status of {path}", received(client, ending)[: len(status)], status)


def check_echo(port: int) -> None:
    """Two lines on one connection."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        for line in b"one\n", b"two and more\n":
            client.sendall(line)
            expect("the echo", received(client, b"\n"), line)
