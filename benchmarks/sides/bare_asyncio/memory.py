"""Bytes of an open timeout or TaskGroup, and of what stands for a value."""

import asyncio

from benchmarks.sides import Work
from benchmarks.sides.shared.cost import SECONDS
from benchmarks.sides.shared.memory import NOTHING, memory
from benchmarks.sides.shared.variables import memory_with_value

from . import checks


def works() -> dict[str, Work]:
    def nothing() -> object:
        return NOTHING

    return {
        "memory_with_cancel": memory(
            "timeout(None)", nothing, lambda _: asyncio.timeout(None), checks.cancel, tasks=True
        ),
        "memory_with_timeout": memory(
            "timeout", nothing, lambda _: asyncio.timeout(SECONDS), checks.timeout, tasks=True
        ),
        "memory_with_value": memory_with_value(),
        "memory_tasks": memory(
            "TaskGroup", nothing, lambda _: asyncio.TaskGroup(), checks.tasks, tasks=True
        ),
    }
