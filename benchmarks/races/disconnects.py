"""From a client's disconnect to the end of the handler that works for it.

The client is here: it asks for something that takes a minute, waits until the handler has begun,
and goes away. The handler tells the moment of its end, by a clock that all processes share, so the
way of that news back to here is not measured.
"""

import socket
import statistics
import struct
from time import monotonic_ns

from ..figures import quantile
from ..sides import WrongOutcome
from .outcomes import Sample
from .processes import LIMIT, Server

REQUEST = b"GET /sleep HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: close() resets
PATIENCE = 5.0  # seconds in which a handler should be ended


def disconnect(server: Server, *, reset: bool) -> float:
    """Seconds from the client's close until its handler's end."""
    with socket.create_connection(("127.0.0.1", server.port), LIMIT) as client:
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.sendall(REQUEST)
        if (line := server.program.line()) != "began":
            raise WrongOutcome(f"{server.program.name}: the handler does not begin: {line!r}")
        closed = monotonic_ns()
    what, _, ended = server.program.line(PATIENCE).partition(" ")
    if what != "ended":
        how = "resets" if reset else "closes"
        raise WrongOutcome(f"{server.program.name}: no handler is ended where the client {how}")
    return (int(ended) - closed) / 1e9


def check_disconnect(server: Server) -> None:
    """Both ways of going are noticed, and not before the client goes."""
    for reset in False, True:
        if disconnect(server, reset=reset) <= 0:
            raise WrongOutcome(f"{server.program.name}: a handler is ended before its client goes")


def disconnects(server: Server, number: int) -> Sample:
    """So many of either kind, one after another."""
    sample: dict[str, float | None] = {}
    for name, reset in ("fin", False), ("rst", True):
        took = [disconnect(server, reset=reset) for _ in range(number)]
        sample[name] = statistics.median(took)
        sample[f"{name}_p99"] = quantile(took, 0.99)
        sample[f"{name}_max"] = max(took)
    return sample
