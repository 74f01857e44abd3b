"""A model of the contract: what must hold of every context, told from a history and nothing else.

Pure: it knows neither Trio nor trioctx. `test_model.py` tells it what was done, and when each block
was really left; it answers what the library has to say about every context. It is written to be
read next to the contract: everything is worked out from scratch, by recursion, whenever asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal

# A moment: the time on the clock, then the order of what happened at that time. A deadline that
# comes while its context lives has rank 0 and the end of a grace 1: "at the same instant the
# deadline wins". What is done to a context is numbered from 2 on.
Stamp = tuple[float, int]
NEVER: Stamp = (-math.inf, 0)

Values = dict[str, int]


@dataclass(frozen=True)
class End:
    """How a context ended: when, as what, which node ended, and why."""

    at: Stamp
    error: Literal["cancelled", "deadline"]
    node: Node
    cause: object


@dataclass(eq=False)
class Node:
    """What was done to one context."""

    number: int
    parents: tuple[Node, ...] = ()
    given: Values | None = None  # of a value context
    detaches: bool = False  # made by without_cancel
    state: Literal["new", "open", "closed"] = "new"
    told: float = math.inf  # the deadline as known when it was made, or left

    due: tuple[Stamp, float, object] | None = None  # moment, deadline, cause
    cancelled: tuple[Stamp, object] | None = None
    stopped: tuple[object] | None = None  # the cause of the first stop
    grace: tuple[Stamp, float] = ((math.inf, 0), math.inf)

    around: Node | None = None  # the context around the block
    opened: Stamp = NEVER
    closed: Stamp = (math.inf, 0)
    shielded: bool = False
    scope: bool = False
    nursery: bool = False
    interrupted: bool = False  # Trio's Cancelled came out of the body or of a child
    stood: Values = field(default_factory=dict)  # its parent's and its own, then as at entry

    def __repr__(self) -> str:
        return f"#{self.number}"


class Model:
    """The history of all contexts, and what follows from it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count(2)
        self._numbers = count()
        self.background = Node(next(self._numbers), state="open")

    def _stamp(self) -> Stamp:
        return (self.now, next(self._order))

    def _moment(self, time: float, rank: int) -> Stamp:
        """When something set for `time` comes about: now, if that has passed."""
        return (time, rank) if time > self.now else self._stamp()

    # --- what is done ---------------------------------------------------------------------------

    def derive(
        self,
        *parents: Node,
        given: Values | None = None,
        detaches: bool = False,
        deadline: float = math.inf,
        cause: object = None,
    ) -> Node:
        """Make a context."""
        node = Node(next(self._numbers), parents, given, detaches)
        if deadline < math.inf:
            node.due = (self._moment(deadline, 0), deadline, cause)
        node.stood = {**(parents[0].stood if parents else {}), **(given or {})}
        above = () if detaches else parents
        node.told = min([deadline, *(self.deadline(parent) for parent in above)])
        return node

    def enter(self, node: Node, around: Node | None, variables: Values, nursery: bool) -> Values:
        """Enter a context where `around` encloses; returns the variables as they are inside."""
        node.shielded = detached(node)
        linked = any(not encloses(parent, around) for parent in passed_through(node))
        node.scope = node.given is None or nursery or node.shielded or linked
        node.stood = {**variables, **installed(node, around)}
        node.parents = tuple(passed_through(node))  # settled at entry
        node.around, node.nursery = around, nursery
        node.state, node.opened = "open", self._stamp()
        return node.stood

    def leave(self, node: Node) -> set[End] | Literal["travels"]:
        """Leave the block; returns what that raises: nothing, an end, or `Cancelled` travels on."""
        raised = self._outcome(node)
        node.told = self.deadline(node)
        node.state, node.closed = "closed", self._stamp()
        return raised

    def cancel(self, node: Node, cause: object) -> None:
        """Cancel; the first one wins, and nothing after closing counts."""
        if node.state != "closed" and node.cancelled is None:
            node.cancelled = (self._stamp(), cause)

    def stop(self, node: Node, cause: object, grace: float) -> None:
        """Stop; the first cause stays, the shortest grace counts."""
        if node.state != "closed":
            node.stopped = node.stopped or (cause,)
            end = self.now + grace
            node.grace = min(node.grace, (self._moment(end, 1), end))

    # --- what follows ---------------------------------------------------------------------------

    def sources(self, node: Node) -> list[tuple[Node, Stamp]]:
        """What a context ends with, and since when: the parents it was given and, while it is open,
        the context around it. That a parent is not entered, or elsewhere, makes no difference."""
        above = [] if node.detaches else [(parent, NEVER) for parent in node.parents]
        if node.around is not None and not node.shielded:
            above.append((node.around, node.opened))
        return above

    def ends(self, node: Node, path: tuple[Node, ...] = ()) -> set[End]:
        """How a context has ended: what came first in time; of several that come at once the outer.

        Empty: not yet, or closed before. More than one: two that are unrelated came at once, and
        the contract does not say which it is.
        """
        path = (*path, node)
        own: set[End] = set()
        if node.due is not None and node.due[1] <= self.now:
            own.add(End(node.due[0], "deadline", node, node.due[2]))
        if node.cancelled is not None:
            own.add(End(node.cancelled[0], "cancelled", node, node.cancelled[1]))
        if node.stopped is not None and node.grace[1] <= self.now:
            own.add(End(node.grace[0], "cancelled", node, node.stopped[0]))
        taken = {
            replace(end, at=max(end.at, since))
            for source, since in self.sources(node)
            if source not in path
            for end in self.ends(source, path) or closing(source)
        }
        first = min((end.at for end in own | taken), default=node.closed)
        if first >= node.closed:
            return set()
        return {end for end in taken if end.at == first} or {e for e in own if e.at == first}

    def deadline(self, node: Node) -> float:
        """The deadline that a context tells."""
        if node.state == "new":
            return min(node.told, node.grace[1])
        return self.limit(node)

    def limit(self, node: Node, path: tuple[Node, ...] = ()) -> float:
        """The effective deadline: the minimum of its own and of all it ends with."""
        if node.state == "closed":
            return node.told
        path = (*path, node)
        limits = [self.limit(above, path) for above, _ in self.sources(node) if above not in path]
        return min([math.inf if node.due is None else node.due[1], node.grace[1], *limits])

    def done(self, node: Node) -> bool:
        """Whether it has ended or closed."""
        return node.state == "closed" or bool(self.ends(node))

    def stopping(self, node: Node, path: tuple[Node, ...] = ()) -> bool:
        """Whether it or something that it ends with was stopped, has ended or closed."""
        path = (*path, node)
        above = [source for source, _ in self.sources(node) if source not in path]
        stopped = node.stopped is not None or self.done(node)
        return stopped or any(self.stopping(source, path) for source in above)

    def _outcome(self, node: Node) -> set[End] | Literal["travels"]:
        """What the block raises, by the table in the contract."""
        if not node.interrupted:
            return set()
        if node.around is not None and not node.shielded and self.ends(node.around):
            return "travels"
        return {end for end in self.ends(node) if (end.error, end.node) != ("cancelled", node)}


def closing(node: Node) -> set[End]:
    """What the closing of a block is for what is below it."""
    if node.state != "closed":
        return set()
    return {End(node.closed, "cancelled", node, ("closed", node))}


def refuses(node: Node) -> bool:
    """Whether there is nothing to cancel or stop: a root, or a value context without a scope."""
    return not node.parents or (bool(node.given) and not node.scope and node.state != "closed")


def encloses(outer: Node, inner: Node | None) -> bool:
    """Whether `outer` encloses what is in `inner`, with no shield between. A root always does."""
    if not outer.parents:
        return True
    while inner is not None and inner is not outer and not inner.shielded:
        inner = inner.around
    return inner is outer


def detached(node: Node) -> bool:
    """Made by `without_cancel`, or derived from such a one that is not entered."""
    above = (parent for parent in node.parents if parent.state == "new")
    return node.detaches or any(map(detached, above))


def passed_through(node: Node) -> list[Node]:
    """The parents, with their own in place of value contexts that are not entered."""
    return [
        each
        for parent in node.parents
        for each in (passed_through(parent) if parent.given and parent.state == "new" else [parent])
    ]


def installed(node: Node, around: Node | None) -> Values:
    """The values that entering sets: those of the contexts between it and the block around it, and
    all those of a linked parent."""
    above: Values = {}
    parent = node.parents[0]
    if parent.state == "new":
        above = installed(parent, around)
    elif not encloses(parent, around):
        above = parent.stood
    return {**above, **(node.given or {})}
