"""Bytes of an open scope or nursery, and of what stands for a value and for a link."""

from typing import Any

import trio

from benchmarks.sides import Work
from benchmarks.sides.shared.cost import SECONDS
from benchmarks.sides.shared.memory import memory
from benchmarks.sides.shared.variables import memory_with_value

from . import checks


def linked() -> Work:
    scopes: set[trio.CancelScope] = set()

    def block(around: Any) -> trio.CancelScope:
        scope = trio.CancelScope()
        scopes.add(scope)
        return scope

    return memory(
        "CancelScope in a set", trio.CancelScope, block, checks.elsewhere, undo=scopes.clear
    )


def works() -> dict[str, Work]:
    scope = trio.CancelScope
    return {
        "memory_with_cancel": memory("CancelScope", scope, lambda _: scope(), checks.cancel),
        "memory_with_timeout": memory(
            "fail_after", scope, lambda _: trio.fail_after(SECONDS), checks.timeout
        ),
        "memory_with_value": memory_with_value(),
        "memory_tasks": memory(
            "open_nursery", scope, lambda _: trio.open_nursery(), checks.tasks, tasks=True
        ),
        "memory_linked": linked(),
    }
