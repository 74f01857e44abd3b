"""The servers as a user runs them: processes of their own, real signals, real clients."""

import errno
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import trioctx
from trioctx.__main__ import main

# Long enough for any machine; reached only by a test that fails.
LIMIT = 20.0

GET = b"GET /hello HTTP/1.1\r\nHost: here\r\n\r\n"

STARTED = "server: hello handler started"
ENDED = "server: hello handler ended"


class Server:
    """A running `python -m trioctx`, and the lines of its log, without their time stamps."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(re.sub(r"^\d\d:\d\d:\d\d ", "", line.rstrip("\n")))
                self._changed.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line of the log that matches, once it is there."""

        def find() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in self.lines)), None)

        with self._changed:
            assert self._changed.wait_for(find, LIMIT), f"no {pattern!r} in {self.lines}"
            found = find()
            assert found is not None
            return found

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.wait_for(r"^listening on (.*):(\d+)$").groups()
        return host, int(port)

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=LIMIT)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, and return the exit status, once all of the log is there."""
        self.process.send_signal(number)
        status = self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        return status

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        assert self.process.stderr is not None
        self.process.stderr.close()


def environment() -> dict[str, str]:
    """Where the trioctx under test is found, whatever the working directory."""
    return {**os.environ, "PYTHONPATH": str(Path(trioctx.__file__).parents[1])}


@contextmanager
def running(*args: str) -> Iterator[Server]:
    """`python -m trioctx` with these arguments, on a free port. It never outlives the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trioctx", *args, "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    server = Server(process)
    try:
        yield server
    finally:
        server.kill()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=environment(),
        check=False,
    )


def receive_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(4096), b""))


def test_hello_says_hello_to_httpx() -> None:
    """Twice on one connection; other paths and methods get their status."""
    with running("hello") as server, httpx.Client(base_url=server.url, timeout=LIMIT) as client:
        for _ in range(2):
            response = client.get("/hello")
            assert (response.status_code, response.text) == (200, "hello\n")
        assert client.get("/").status_code == 404
        response = client.post("/hello", content=b"x" * 1000)
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
        response = client.head("/hello")
        assert (response.status_code, response.headers["content-length"]) == (200, "6")
        assert client.post("/hello", content=b"x" * 100_000).status_code == 413
    assert server.lines.count(STARTED) == server.lines.count(ENDED) == 3


def test_hello_answers_a_raw_socket_that_sends_nonsense() -> None:
    """400, and the connection closes."""
    with running("hello") as server, server.connect() as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert receive_all(client).startswith(b"HTTP/1.1 400 ")


def test_a_request_beyond_its_timeout_is_a_504() -> None:
    """And the log says why the handler ended."""
    with running("hello", "--work", "60", "--timeout", "0.2") as server:
        assert httpx.get(f"{server.url}/hello", timeout=LIMIT).status_code == 504
        server.wait_for(ENDED)
        server.wait_for("server: deadline of .* exceeded")


def test_a_request_has_a_deadline_unless_it_is_told_otherwise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Half a minute; `inf` is none."""
    with pytest.raises(SystemExit):
        main(["hello", "--help"])
    assert "inf for no limit; default: 30.0" in " ".join(capsys.readouterr().out.split())
    with running("hello", "--timeout", "inf") as server:
        assert httpx.get(f"{server.url}/hello", timeout=LIMIT).status_code == 200


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_disconnects_in_mid_request_ends_its_handler(reset: bool) -> None:
    """At once, whether it closes or resets; the server goes on."""
    with running("hello", "--work", "60") as server:
        with server.connect() as client:
            host, port = client.getsockname()
            client.sendall(GET)
            server.wait_for(STARTED)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.wait_for(ENDED)
        gone = f"client {host}:{port} disconnected"
        server.wait_for(f"{host}:{port} \"GET /hello\" - .*: ClientDisconnected\\('{gone}'\\)")
        assert server.lines[1:4] == [STARTED, f"server: {gone}", ENDED]
        assert httpx.get(f"{server.url}/", timeout=LIMIT).status_code == 404


def test_an_httpx_client_that_gives_up_ends_its_handler() -> None:
    """A read timeout of the client is a disconnect for the server."""
    with running("hello", "--work", "60") as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{server.url}/hello", timeout=httpx.Timeout(LIMIT, read=0.2))
        server.wait_for("server: client .* disconnected")
        server.wait_for(ENDED)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", ["echo", "hello"])
def test_a_signal_stops_an_idle_server(name: str, number: signal.Signals) -> None:
    """Exit status 0, and nothing but a line of log."""
    with running(name) as server:
        host, port = server.address
        assert server.stop(number) == 0
    assert server.lines == [f"listening on {host}:{port}", "shutting down"]


def test_a_signal_in_mid_request_lets_it_be_answered() -> None:
    """Within the grace; meanwhile nobody new is let in, and an idle client is let go."""
    with running("hello", "--work", "1", "--grace", "60") as server:
        address = server.address
        with server.connect() as busy, server.connect() as idle:
            idle.sendall(GET.replace(b"/hello", b"/"))
            assert idle.recv(4096).startswith(b"HTTP/1.1 404 ")
            busy.sendall(GET)
            server.wait_for(STARTED)
            server.process.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, timeout=LIMIT)
            answer = receive_all(busy)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"hello\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert server.process.wait(LIMIT) == 0


def test_after_the_grace_a_request_is_cut() -> None:
    """The handler is cancelled, the log says whose; the exit status is still 0."""
    with running("hello", "--work", "60", "--grace", "0.2") as server, server.connect() as client:
        client.sendall(GET)
        server.wait_for(STARTED)
        assert server.stop() == 0
        address = "{}:{}".format(*client.getsockname())
        assert receive_all(client) == b""
    assert ENDED in server.lines
    assert server.lines[-1] == f"client {address} had to be cancelled: received SIGTERM"


def test_a_second_signal_ends_the_grace() -> None:
    """For whoever presses Ctrl-C twice."""
    with running("hello", "--work", "60", "--grace", "60") as server, server.connect() as client:
        client.sendall(GET)
        server.wait_for(STARTED)
        server.process.send_signal(signal.SIGINT)
        server.wait_for("shutting down")
        assert server.stop(signal.SIGINT) == 0
        address = "{}:{}".format(*client.getsockname())
        assert receive_all(client) == b""
    assert ENDED in server.lines
    assert server.lines[-1] == f"client {address} had to be cancelled: received SIGINT"


def test_echo_echoes_and_says_goodbye() -> None:
    """At a blank line, and at the end of the input, with the client's address."""
    with running("echo") as server:
        for end in (b"\n", b""):
            with server.connect() as client:
                client.sendall(b"one\ntwo\n" + end)
                if not end:
                    client.shutdown(socket.SHUT_WR)
                address = "{}:{}".format(*client.getsockname())
                expected = f"one\ntwo\nGood bye, client @ {address}\n"
                assert receive_all(client) == expected.encode()


def test_echo_tells_everyone_of_the_shutdown() -> None:
    """Those who have sent a line and those who have not; each hears it before the close."""
    with running("echo", "--grace", "60") as server:
        clients = [server.connect() for _ in range(5)]
        for client in clients[1:]:
            client.sendall(b"one\n")
            assert client.recv(4) == b"one\n"
        deadline = time.monotonic() + LIMIT
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            with client:
                assert receive_all(client) == b"Server shutting down\n"
        assert server.process.wait(LIMIT) == 0
        assert time.monotonic() < deadline


def test_echo_lets_no_more_in_than_it_is_told_to() -> None:
    """The second client can connect and send, and is served when the first is gone."""
    with running("echo", "--max-connections", "1") as server:
        with server.connect() as first, server.connect() as second:
            first.sendall(b"one\n")
            assert first.recv(4) == b"one\n"
            second.sendall(b"two\n")
            second.settimeout(0.1)
            with pytest.raises(TimeoutError):
                second.recv(4)
            first.sendall(b"\n")
            first.close()
            second.settimeout(LIMIT)
            assert second.recv(4) == b"two\n"


def test_echo_waits_for_nobody_longer_than_it_is_told_to() -> None:
    """Neither for a line nor for one to be received."""
    with running("echo", "--idle-timeout", "0.2", "--write-timeout", "0.2") as server:
        with server.connect() as silent:
            assert receive_all(silent) == b"error: no line for 0.2 seconds\n"
        with server.connect() as deaf, pytest.raises(ConnectionError):
            while True:
                deaf.sendall(b"x" * 999 + b"\n")


@pytest.mark.parametrize("name", ["echo", "hello"])
def test_a_port_in_use_is_one_line_and_status_1(name: str) -> None:
    """No traceback."""
    with running(name) as server:
        host, port = server.address
        second = run("-m", "trioctx", name, "--port", str(port))
    why = os.strerror(errno.EADDRINUSE)
    assert second.returncode == 1
    assert second.stderr == f"trioctx: cannot listen on {host} port {port}: {why}\n"


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["shout"],
        ["echo", "--port", "65536"],
        ["echo", "--port", "x"],
        ["echo", "--grace", "-1"],
        ["echo", "--grace", "nan"],
        ["echo", "--work", "1"],
        ["echo", "--max-connections", "0"],
        ["echo", "--max-connections", "many"],
        ["echo", "--idle-timeout", "-1"],
        ["hello", "--work", "-1"],
        ["hello", "--timeout", "soon"],
    ],
)
def test_bad_arguments_are_status_2(args: list[str]) -> None:
    """With argparse's usage."""
    result = run("-m", "trioctx", *args)
    assert result.returncode == 2
    assert result.stderr.startswith("usage: trioctx")


def test_without_httptools_hello_says_what_to_install() -> None:
    """One line and status 1; echo does not need it."""
    main = (
        "import sys; sys.modules['httptools'] = None; from trioctx.__main__ import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    result = run("-c", main, "hello", "--port", "0")
    assert result.returncode == 1
    assert result.stderr == "trioctx: hello needs httptools: pip install 'trioctx[http]'\n"
    assert run("-c", main, "echo", "--help").returncode == 0
