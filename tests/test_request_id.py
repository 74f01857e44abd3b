"""The walk-through of docs/request-id.md: its files are written, imported and run."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import trio
from trio.testing import MockClock

import trioctx
from trioctx.servers import serve_tcp

PAGE = Path(__file__).resolve().parent.parent / "docs" / "request-id.md"

# A block with a title: the name of the file that it is, or what the program prints.
BLOCK = re.compile(
    r'^```\w+ title="(?P<title>[^"]+)"\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL
)
BLOCKS = {match["title"]: match["text"] for match in BLOCK.finditer(PAGE.read_text("utf-8"))}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's `server.py`, as a module beside its `tracing.py`."""
    files = {"tracing", "server"}
    for name in files:
        (tmp_path / f"{name}.py").write_text(BLOCKS[f"{name}.py"], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("server")
    for name in files:
        del sys.modules[name]


async def receive_all(port: int) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        return b"".join([data async for data in stream])


async def test_each_client_gets_its_own_id(
    server: ModuleType, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """After three seconds of work; and the log is the page's, with the id in each line."""
    answers: list[tuple[bytes, float]] = []

    async def ask(port: int) -> None:
        answers.append((await receive_all(port), trio.current_time()))

    async with trioctx.with_cancel(trioctx.background()) as ctx:
        [(_, port)] = await ctx.start(serve_tcp, ctx, server.answer, 0)
        begun = trio.current_time()
        async with trio.open_nursery() as clients:
            clients.start_soon(ask, port)
            await trio.sleep(1)
            clients.start_soon(ask, port)
        ctx.stop(grace=0)
    assert [answer for answer, _ in answers] == [b"result: req-1\n", b"result: req-2\n"]
    assert [at - begun for _, at in answers] == [pytest.approx(3), pytest.approx(4)]
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(
        BLOCKS["what the server prints"].splitlines()
    )


async def test_without_a_connection_there_is_no_id(
    server: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log says so, and `lookup` raises."""
    server.log("idle")
    assert capsys.readouterr().out == "[-] idle\n"
    with pytest.raises(KeyError, match="id"):
        server.result()


async def test_main_serves_until_it_is_stopped(
    server: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the port that the page's clients connect to, which no test takes."""
    assert "nc 127.0.0.1 8082" in PAGE.read_text("utf-8")
    ports: list[int] = []

    async def note(ctx: trioctx.Context, handler: object, port: int) -> None:
        assert handler is server.answer
        ports.append(port)

    monkeypatch.setattr(server, "serve_tcp", note)
    await server.main(trioctx.background())
    assert ports == [8082]
