"""Bytes of an open context of each kind, each the parent of the next."""

from functools import partial

import trioctx
from benchmarks.sides import Work
from benchmarks.sides.shared.cost import SECONDS
from benchmarks.sides.shared.memory import memory
from benchmarks.sides.shared.variables import VAR

from . import checks
from .checks import root


def linked() -> Work:
    parents: list[trioctx.Context] = []

    def block(around: trioctx.Context) -> trioctx.Context:
        if not parents:
            parents.append(root())
        return trioctx.with_cancel(parents[0])

    return memory("with with_cancel, linked", root, block, checks.linked_new, undo=parents.clear)


def works() -> dict[str, Work]:
    derive = trioctx.with_cancel
    timeout = partial(trioctx.with_timeout, seconds=SECONDS)
    value = partial(trioctx.with_value, var=VAR, value="set")
    return {
        "memory_with_cancel": memory("with with_cancel", root, derive, checks.cancel),
        "memory_with_timeout": memory("with with_timeout", root, timeout, checks.timeout),
        "memory_with_value": memory("with with_value", root, value, checks.values),
        "memory_tasks": memory("async with with_cancel", root, derive, checks.tasks, tasks=True),
        "memory_linked": linked(),
    }
