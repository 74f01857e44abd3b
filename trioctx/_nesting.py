"""Nesting: which context's block a task runs in, by Trio's own tree of tasks and nurseries.

A new task inherits the ContextVars of its *spawner* but the cancel status of its *nursery*. Only
the second says what will cancel it, so a ContextVar alone cannot answer for the block around a
task. What can is public: `Task.parent_nursery`, `Nursery.parent_task` and `Task.child_nurseries`.
Every open context is kept under its task, with the number of nurseries that the task had open when
the context was entered: the context encloses those that were opened later, its own among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import trio

from ._values import ENTERED

if TYPE_CHECKING:
    from ._context import Context

# The innermost open context that was entered in a task. It knows the next one of the same task.
innermost: dict[trio.lowlevel.Task, Context] = {}


def pop_out_of_order(task: trio.lowlevel.Task, ctx: Context, below: Context | None) -> None:
    """`ctx`, entered in `task`, has been left, but not in order, or what was below it had not.

    Only asynchronous generators can keep a block so: one that was left too early stays in the chain
    until those above it are gone.
    """
    if innermost.get(task) is not ctx:
        ctx._below_in_task = below
        return
    while below is not None and below._state == "closed":
        below = below._below_in_task
    if below is None:
        del innermost[task]
    else:
        innermost[task] = below


def enclosing(task: trio.lowlevel.Task) -> Context | None:
    """The innermost open context whose block encloses the running task `task`."""
    ctx = innermost.get(task)
    if ctx is not None:
        return ctx
    hint = ENTERED.get()
    if hint is not None:
        # The usual case, a task started in the nursery of the context it inherited: no walk.
        nursery = hint._nursery
        if nursery is not None and nursery is task.parent_nursery:
            return hint
    return around(task)


def around(task: trio.lowlevel.Task) -> Context | None:
    """The innermost open context around the whole of `task`."""
    return holder(task.parent_nursery)


def holder(nursery: trio.Nursery | None) -> Context | None:
    """The innermost open context around the tasks of `nursery`."""
    while nursery is not None:
        task = nursery.parent_task
        ctx = innermost.get(task)
        if ctx is not None:
            index = task.child_nurseries.index(nursery)
            while ctx is not None and (ctx._index > index or ctx._state == "closed"):
                ctx = ctx._below_in_task
            if ctx is not None:
                return ctx
        nursery = task.parent_nursery
    return None


def inside(ctx: Context) -> Iterator[Context]:
    """The open contexts in the block of `ctx`. One step for each of them and of their tasks."""
    above = innermost.get(ctx._task)
    while above is not None and above is not ctx:
        yield above
        above = above._below_in_task
    nurseries = ctx._task.child_nurseries[ctx._index :]
    for nursery in nurseries:
        for task in nursery.child_tasks:
            node = innermost.get(task)
            while node is not None:
                yield node
                node = node._below_in_task
            nurseries += task.child_nurseries


def may_move(task: trio.lowlevel.Task, outer: Context | None) -> bool:
    """Whether a `started()` to come can take `task` out of `outer`, or `outer` elsewhere."""
    above: trio.lowlevel.Task | None = task
    stop = None if outer is None else outer._task
    while above is not None and above is not stop:
        if above.eventual_parent_nursery is not None:
            return True
        nursery = above.parent_nursery
        above = None if nursery is None else nursery.parent_task
    return outer is not None and outer._is_floating()


def destinations(task: trio.lowlevel.Task) -> list[Context]:
    """The contexts that will enclose the tasks around `task` once those call `started()`."""
    found = []
    above: trio.lowlevel.Task | None = task
    while above is not None:
        ctx = holder(above.eventual_parent_nursery)
        if ctx is not None:
            found.append(ctx)
        nursery = above.parent_nursery
        above = None if nursery is None else nursery.parent_task
    return found


def current() -> Context | None:
    """The innermost open context around the caller, in a task or in a thread."""
    try:
        task = trio.lowlevel.current_task()
    except RuntimeError:
        ctx = ENTERED.get()
        while ctx is not None and ctx._state != "open":
            ctx = ctx._outer
        return ctx
    return enclosing(task)
