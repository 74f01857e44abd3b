"""Bytes of an open scope or task group, and of what stands for a value and for a link."""

from typing import Any

import anyio

from benchmarks.sides import Work
from benchmarks.sides.shared.cost import SECONDS
from benchmarks.sides.shared.memory import memory
from benchmarks.sides.shared.variables import memory_with_value

from . import checks


def linked() -> Work:
    scopes: set[anyio.CancelScope] = set()

    def block(around: Any) -> anyio.CancelScope:
        scope = anyio.CancelScope()
        scopes.add(scope)
        return scope

    return memory(
        "CancelScope in a set", anyio.CancelScope, block, checks.elsewhere, undo=scopes.clear
    )


def works() -> dict[str, Work]:
    scope = anyio.CancelScope
    return {
        "memory_with_cancel": memory("CancelScope", scope, lambda _: scope(), checks.cancel),
        "memory_with_timeout": memory(
            "fail_after", scope, lambda _: anyio.fail_after(SECONDS), checks.timeout
        ),
        "memory_with_value": memory_with_value(),
        "memory_tasks": memory(
            "create_task_group",
            scope,
            lambda _: anyio.create_task_group(),
            checks.tasks,
            tasks=True,
        ),
        "memory_linked": linked(),
    }
