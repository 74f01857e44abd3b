"""The servers under clients that mean harm, or stop caring: real sockets, real processes.

What is counted (contexts, tasks, file descriptors) is counted in this process, where the server
then runs too. Everything else happens to `python -m trioctx`.
"""

import gc
import logging
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import trioctx
from trioctx.servers import echo, hello, serve_tcp

# Long enough for any machine; reached only by a test that fails.
LIMIT = 20.0

HOST = "127.0.0.1"
GET = b"GET /hello HTTP/1.1\r\nHost: here\r\n\r\n"
LINE = b"a line of text\n"
OF_SERVER = {"hello": GET, "echo": LINE}
END = {"hello": b"\r\n\r\nhello\n", "echo": LINE}  # of the answer

# What a client may get instead of an answer, whole, when it asks after the stop.
REFUSAL = re.compile(
    rb"|Server shutting down\n|HTTP/1.1 503 .*\r\nConnection: close\r\n.*\r\n\r\n503 [\w ]+\n",
    re.DOTALL,
)


class Server:
    """A running `python -m trioctx`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.port = self._port()

    def _port(self) -> int:
        deadline = time.monotonic() + LIMIT
        while self.process.poll() is None and time.monotonic() < deadline:
            text = self.log.read_text(encoding="utf-8")
            if found := re.search(rf"listening on {re.escape(HOST)}:(\d+)", text):
                return int(found[1])
            time.sleep(0.02)
        text = self.log.read_text(encoding="utf-8")
        raise AssertionError(f"it does not say where it listens: {text}")

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=LIMIT)

    def memory(self) -> int | None:
        """Bytes that the process has in memory, on Linux."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return None
        [kilobytes] = re.findall(r"^VmRSS:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        return int(kilobytes) * 1024

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT)


@contextmanager
def running(folder: Path, *args: str) -> Iterator[Server]:
    """`python -m trioctx` with these arguments, on a free port. It never outlives the block."""
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "trioctx", *args, "--port", "0"],
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": str(Path(trioctx.__file__).parents[1])},
        )
    try:
        yield Server(process, log)
    finally:
        process.kill()
        process.wait(LIMIT)


def ask(client: socket.socket, name: str) -> None:
    """One request, or line, and its whole answer."""
    client.sendall(OF_SERVER[name])
    answer = b""
    while not answer.endswith(END[name]):
        data = client.recv(4096)
        assert data, f"closed after {answer!r}"
        answer += data


@pytest.mark.parametrize("name", ["hello", "echo"])
def test_200_slow_lorises_do_not_stop_another_client(name: str, tmp_path: Path) -> None:
    """Each sends a byte now and then, and never a whole request."""
    start = OF_SERVER[name][:-3]
    with running(tmp_path, name) as server, ExitStack() as stack:
        lorises = [stack.enter_context(server.connect()) for _ in range(200)]
        for length in range(3):
            for loris in lorises:
                loris.sendall(start[length : length + 1])
            with server.connect() as client:
                ask(client, name)
                ask(client, name)
        for loris in lorises:
            loris.sendall(start[3:])
        with server.connect() as client:
            ask(client, name)


def stuff(client: socket.socket, data: bytes) -> int:
    """Send until nothing has been taken for a while. Returns how many bytes were."""
    client.settimeout(0.5)
    taken = 0
    deadline = time.monotonic() + LIMIT / 2
    try:
        while time.monotonic() < deadline:
            taken += client.send(data)
    except (TimeoutError, ConnectionError):
        pass
    return taken


@pytest.mark.parametrize("name", ["hello", "echo"])
def test_clients_that_never_read_cost_little(name: str, tmp_path: Path) -> None:
    """They are not read from any more; others are served; a stop does not wait beyond the grace."""
    with running(tmp_path, name, "--grace", "0.2") as server, ExitStack() as stack:
        with server.connect() as client:
            ask(client, name)
        before = server.memory()
        for _ in range(4):
            rude = stack.enter_context(socket.socket())
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            rude.connect((HOST, server.port))
            stuff(rude, OF_SERVER[name] * 1000)
        after = server.memory()
        if before is not None and after is not None:
            assert after - before < 4 * 2**20
        with server.connect() as client:
            ask(client, name)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < LIMIT / 2


def open_contexts() -> int:
    gc.collect()
    return sum(
        isinstance(thing, trioctx.Context) and thing.state == "open" for thing in gc.get_objects()
    )


def descriptors() -> int | None:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else None


def held() -> tuple[int, int, int | None]:
    """Open contexts, tasks and file descriptors of this process."""
    return open_contexts(), trio.lowlevel.current_statistics().tasks_living, descriptors()


async def expect_held(before: tuple[int, int, int | None]) -> None:
    """As much as before, soon."""
    for _ in range(round(LIMIT / 0.05)):
        if held() == before:
            return
        await trio.sleep(0.05)
    assert held() == before, "contexts, tasks, descriptors"


async def shout(ctx: trioctx.Context, stream: trio.SocketStream) -> None:
    """A handler with a task and a deadline of its own."""
    async with trioctx.with_timeout(ctx, LIMIT) as inner:
        inner.start_service(trio.sleep_forever)
        try:
            async for data in stream:
                await stream.send_all(data.upper())
                await trio.sleep(0.001)
        except trio.BrokenResourceError:
            pass


async def misbehave(port: int, request: bytes, rng: random.Random) -> None:
    """Connect, send some requests or parts of one, read some, and go at a random moment."""
    async with await trio.open_tcp_stream(HOST, port) as stream:
        try:
            with trio.move_on_after(rng.choice([0, 0.001, 0.003, 0.01])):
                for _ in range(rng.randrange(4)):
                    cut = rng.choice([len(request), rng.randrange(len(request))])
                    await stream.send_all(request[:cut])
                    if rng.random() < 0.5:
                        await stream.receive_some(rng.choice([1, 4096]))
                if rng.random() < 0.2:
                    await stream.send_eof()
                await trio.sleep_forever()
        except trio.BrokenResourceError:
            pass  # the server was first
        if rng.random() < 0.8:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    ("serve", "request_bytes"),
    [
        pytest.param(partial(hello.serve, host=HOST, port=0, work=0.002), GET, id="hello"),
        pytest.param(partial(echo.serve, host=HOST, port=0), LINE, id="echo"),
        pytest.param(partial(serve_tcp, handler=shout, host=HOST, port=0), LINE, id="serve_tcp"),
    ],
)
async def test_1000_connections_reset_at_random_leave_nothing(
    serve: Callable[..., Awaitable[Any]], request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """No open context, no task, no descriptor more than before; nothing failed in the log."""
    caplog.set_level(logging.WARNING)
    rng = random.Random(3)
    at_first = held()
    async with trioctx.with_cancel(trioctx.background(), name="test") as ctx:
        addresses = await ctx.start(serve, ctx)
        port = addresses[0][1]
        await trio.testing.wait_all_tasks_blocked()
        before = held()
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    seeded = random.Random(rng.random())
                    nursery.start_soon(misbehave, port, request_bytes, seeded)
        await expect_held(before)
        ctx.cancel()
    await expect_held(at_first)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


class Clients:
    """Clients that ask again and again on connections which the server has accepted.

    A request counts as accepted once its first byte was sent before the stop.
    """

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._request, self._end = OF_SERVER[name], END[name]
        self._split = name == "hello"  # of a line, only the whole is a request
        self.stopped = False
        self.under_way = trio.Event()
        self._answered = 0
        self.cut: list[str] = []

    async def run(self, seed: int) -> None:
        rng = random.Random(seed)
        async with await trio.open_tcp_stream(HOST, self._server.port) as stream:
            while await self._ask(stream, rng):
                self._answered += 1
                if self._answered == 500:  # by now each connection is accepted
                    self.under_way.set()

    async def _ask(self, stream: trio.SocketStream, rng: random.Random) -> bool:
        accepted, answer = False, b""
        at = rng.randrange(1, len(self._request)) if self._split and rng.random() < 0.5 else 0
        try:
            if at:
                await stream.send_all(self._request[:at])
                accepted = not self.stopped
                await trio.sleep(rng.uniform(0, 0.02))
            await stream.send_all(self._request[at:])
            accepted = accepted or not self.stopped
            while self._end not in answer:
                data = await stream.receive_some()
                if not data:
                    break
                answer += data
            else:
                return b"\r\nConnection: close\r\n" not in answer
            what = "closed"
        except trio.BrokenResourceError:
            what = "reset"
        if accepted or not REFUSAL.fullmatch(answer):
            how = f"{at} bytes and the rest" if at else "whole"
            self.cut.append(f"sent {how}, {what} after {answer!r}")
        return False


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("command", ["hello", "hello --work 0.02", "echo"])
async def test_a_stop_under_load_cuts_nothing(command: str, seed: int, tmp_path: Path) -> None:
    """50 clients in a loop, SIGTERM: what was accepted is answered whole, exit status 0."""
    name, *options = command.split()
    with running(tmp_path, name, *options, "--grace", "10") as server:
        clients = Clients(server, name)
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                for number in range(50):
                    nursery.start_soon(clients.run, seed * 1000 + number)
                await clients.under_way.wait()
                await trio.sleep(random.Random(seed).uniform(0, 0.1))
                server.process.send_signal(signal.SIGTERM)
                clients.stopped = True
        assert clients.cut == []
        assert server.process.wait(LIMIT) == 0
