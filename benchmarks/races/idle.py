"""The memory of an idle connection: what a server's process grows by, shared out.

Only the process's own memory. The kernel's buffers of a socket are the same for all servers.
"""

import re
from contextlib import ExitStack
from pathlib import Path

from ..peers.load import connected
from .contestants import Race
from .outcomes import Sample
from .processes import Server

FIRST = 100
"""So many connections are open before: what a server allocates once is allocated by then."""


def memory(pid: int) -> int | None:
    """Bytes of a process, with its part of what it shares; on Linux."""
    file = Path(f"/proc/{pid}/smaps_rollup")
    try:
        found = re.search(r"^Pss: +(\d+) kB", file.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024


def idle(race: Race, server: Server, connections: int) -> Sample:
    """Bytes of each of so many connections that have had an answer and now wait.

    For a server that has just started: what one has freed before, it would use again.
    """
    with ExitStack() as stack:
        for client in connected(server.port, race.protocol, FIRST):
            stack.enter_context(client)
        server.settle()
        before = memory(server.pid)
        for client in connected(server.port, race.protocol, connections):
            stack.enter_context(client)
        server.settle()
        after = memory(server.pid)
    if before is None or after is None:
        return {"bytes": None}
    return {"bytes": (after - before) / connections}
