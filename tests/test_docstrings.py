"""Everything public has a docstring, and the example in it runs.

An example is the body of a function that runs in a context, `ctx`. What else it names without
making it (`fetch`, `connection`) is left to the reader, and is a stand-in here.
"""

import ast
import inspect
import logging
import re
import signal
import textwrap
from collections.abc import Generator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import trioctx

EXAMPLE = re.compile(r"^( *)Example::\n\n(?P<code>(?:\1 +\S.*\n|\n)+)", re.MULTILINE)


async def some_task(
    *args: object, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """A task of the reader's own, which also says that it has started."""
    task_status.started(8080)
    await trio.sleep(1)


class StandIn:
    """Something of the reader's own: any call on it works, and waiting for it takes a second."""

    def __call__(self, *args: object, **options: object) -> "StandIn":
        return self

    def __getattr__(self, name: str) -> "StandIn":
        return self

    def __await__(self) -> Generator[Any, Any, None]:
        return some_task().__await__()


def public() -> Iterator[tuple[str, Any]]:
    """What `__all__` names, and below it what each class makes public itself."""
    for name in trioctx.__all__:
        owner = getattr(trioctx, name)
        yield name, owner
        if inspect.isclass(owner):
            for member in sorted(dir(owner)):
                value = inspect.getattr_static(owner, member)
                function = value.fget if isinstance(value, property) else value
                if not member.startswith("_") and inspect.isfunction(function):
                    yield f"{name}.{member}", function


PUBLIC = dict(public())
TASKS = ["fetch", "handler", "listen", "refresh_cache", "serve"]
OBJECTS = [
    *["connection", "data", "digest", "goodbye", "handle", "listener", "query", "send"],
    *["serve_one", "url"],
]


def example(name: str) -> str:
    """The code below `Example::` in the docstring of what has this name."""
    found = EXAMPLE.search(f"{inspect.getdoc(PUBLIC[name])}\n")
    assert found is not None, f"the docstring of {name} has no example"
    return textwrap.dedent(found["code"])


@pytest.mark.parametrize("name", PUBLIC)
def test_a_docstring_begins_with_a_sentence(name: str) -> None:
    """A paragraph of its own that ends like a sentence."""
    first, _, _ = (inspect.getdoc(PUBLIC[name]) or "").partition("\n\n")
    assert re.search(r"[.?:]$", first)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "run"])
async def test_an_example_runs(
    name: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To its end, in a context that is stopped after ten seconds and may last a minute."""
    monkeypatch.setattr(trio, "serve_tcp", some_task)  # no example takes a port
    request_id = ContextVar[str]("request_id")
    current_user = ContextVar[str]("current_user")
    finished = False

    async with trioctx.with_timeout(trioctx.background(), 60) as server:

        async def stop() -> None:
            await trio.sleep(10)
            server.stop("the example is over", grace=10)

        server.start_service(stop)
        values = {request_id: "7f3a", current_user: "ann"}
        async with trioctx.with_values(server, values) as ctx:
            names: dict[str, object] = {
                **dict.fromkeys(OBJECTS, StandIn()),
                **dict.fromkeys(TASKS, some_task),
                "ctx": ctx,
                "current_user": current_user,
                "log": logging.getLogger("example"),
                "other": trioctx.with_timeout(ctx, 5),
                "request": trioctx.with_cancel(ctx),
                "request_id": request_id,
                "rows": [1, 2],
                "server": server,
                "trio": trio,
                "trioctx": trioctx,
                "user": current_user,
                "work": ctx.cancel,
            }
            if name.startswith("AfterFunc"):
                names["handle"] = trioctx.after_func(ctx, print)
            code = compile(example(name), name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.iscoroutine(result):
                await result
            finished = True
            ctx.cancel()
    assert finished


def test_the_example_of_run_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a program of its own, and SIGTERM ends it after a minute."""
    real_run = trio.run

    async def terminate() -> None:
        await trio.sleep(60)
        signal.raise_signal(signal.SIGTERM)

    def run(async_fn: Any, *args: Any, **options: Any) -> Any:
        async def program() -> Any:
            trio.lowlevel.spawn_system_task(terminate)
            return await async_fn(*args)

        return real_run(program, clock=MockClock(autojump_threshold=0), **options)

    monkeypatch.setattr(trio, "run", run)
    exec(example("run"), {"trio": trio, "trioctx": trioctx})


def test_an_example_is_found_in_a_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lines, blank ones among them, up to the next text."""

    def documented() -> None:
        """Do nothing.

        Example::

            with ctx:

                pass

        Unlike something.
        """

    monkeypatch.setitem(PUBLIC, "documented", documented)
    assert example("documented").strip() == "with ctx:\n\n    pass"
