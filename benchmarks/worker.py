"""The process in which sides do their work: ``python -m benchmarks.worker trio`` (or ``asyncio``).

It runs one event loop, in which every side of that loop is measured. A request is a line of JSON on
standard input, its answer one on standard output (the Go program, `sides/go/`, speaks the same):

    {"do": "sides"}                   {"trioctx": {"works": ["fanout", ...], "lacks": {...}}, ...}
    {"do": "deadlines", "number": 4000}              {}      armed, far away, until told otherwise
    {"do": "check", "side": ..., "work": ..., "args": {...}}     {"label": ...}
    {"do": "sample", "side": ..., "work": ..., "args": {...}}    {"figures": {"each": [1e-6]}}

Any error is {"error": "..."}. Among the sides, one whose package is not installed has {"absent":
why}; so has a check that finds its side unable to do the work with these arguments. While a request
is worked on, nothing else happens in the loop.
"""

import gc
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from importlib import import_module
from typing import Any

from .sides import Absent, Work

LOOPS = {
    "trio": {
        "trioctx": "ours",
        "trio": "bare_trio",
        "anyio-trio": "on_anyio",
        "floor": "floor",
    },
    "asyncio": {"asyncio": "bare_asyncio", "anyio-asyncio": "on_anyio"},
}
"""For each loop its sides, each with its module."""

FAR = 3600.0

Request = dict[str, Any]
Ambient = Callable[[int], Awaitable[None]]


async def sampled(work: Work, args: Request) -> dict[str, list[float]]:
    """The cycle collector runs before, and is kept out meanwhile."""
    gc.collect()
    gc.disable()
    try:
        return await work.sample(**args)
    finally:
        gc.enable()


def sole(error: BaseException) -> BaseException:
    """What happened, without the groups of the blocks that it passed."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        (error,) = error.exceptions
    return error


class Sides:
    """The sides of one loop: what each has, or which package it would need."""

    def __init__(self, loop: str) -> None:
        self.works: dict[str, dict[str, Work]] = {}
        self.told: dict[str, dict[str, Any]] = {}
        for side, name in LOOPS[loop].items():
            try:
                module = import_module(f"benchmarks.sides.{name}")
            except ModuleNotFoundError as exc:
                self.told[side] = {"absent": f"{exc.name} is not installed"}
            else:
                works = self.works[side] = module.works()
                self.told[side] = {"works": list(works), "lacks": module.LACKS}

    async def answer(self, request: Request, arm: Ambient) -> dict[str, Any]:
        match request["do"]:
            case "sides":
                return self.told
            case "deadlines":
                await arm(request["number"])
                gc.freeze()  # or each collection would look at all of them
                return {}
            case "check":
                work = self.works[request["side"]][request["work"]]
                await work.check(**request["args"])
                return {"label": work.label}
            case "sample":
                work = self.works[request["side"]][request["work"]]
                return {"figures": await sampled(work, request["args"])}
            case other:
                raise ValueError(f"no such request: {other!r}")

    async def serve(self, arm: Ambient) -> None:
        """Answer until the input ends. Reading blocks the loop, as nothing else is to run."""
        for line in sys.stdin:
            try:
                answer = await self.answer(json.loads(line), arm)
            except Exception as exc:
                error = sole(exc)
                if isinstance(error, Absent):
                    answer = {"absent": str(error)}
                else:
                    answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)


async def on_trio() -> None:
    import trio
    import trio.testing

    nested = 400  # scopes in a task: a task for each deadline would take gigabytes

    async def hold(number: int, task_status: trio.TaskStatus[None]) -> None:
        with ExitStack() as stack:
            for index in range(number):
                deadline = trio.current_time() + FAR + index
                stack.enter_context(trio.CancelScope(deadline=deadline))
            task_status.started()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        holders: list[trio.CancelScope] = []

        async def arm(number: int) -> None:
            while holders:
                holders.pop().cancel()
            await trio.testing.wait_all_tasks_blocked()
            for first in range(0, number, nested):
                holders.append(await start(min(nested, number - first)))

        async def start(number: int) -> trio.CancelScope:
            scope = trio.CancelScope()

            async def held(task_status: trio.TaskStatus[None]) -> None:
                with scope:
                    await hold(number, task_status)

            await nursery.start(held)
            return scope

        await Sides("trio").serve(arm)
        nursery.cancel_scope.cancel()


async def on_asyncio() -> None:
    import asyncio

    handles: list[asyncio.TimerHandle] = []

    def passed() -> None:
        """Not as long as anybody measures."""

    loop = asyncio.get_running_loop()

    async def arm(number: int) -> None:
        while handles:
            handles.pop().cancel()
        await asyncio.sleep(0)
        handles.extend(loop.call_later(FAR + index, passed) for index in range(number))

    await Sides("asyncio").serve(arm)


def main(loop: str) -> None:
    if loop == "trio":
        import trio

        trio.run(on_trio)
    else:
        import asyncio

        asyncio.run(on_asyncio())


if __name__ == "__main__":
    main(sys.argv[1])
