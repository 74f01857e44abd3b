"""The load: keep-alive connections, on each of which one request always waits for its answer.

`python -m benchmarks.peers.load` reads requests, each a line of JSON, and answers each with one:

    {"port": 8080, "kind": "hello", "connections": 50, "seconds": 0.25, "server": PID}
    {"requests": 9000, "seconds": 0.2501, "load": 0.1, "server": 0.24,
     "p50": 0.0011, "p99": 0.0014, "max": 0.0031}

How many were answered, in how many seconds, and how many of these the load itself and all threads
of the server were running (null where the system does not tell); and how long a request waited for
its answer. One thread and no framework, so that it can ask for more than a server can answer: one
look at the clock for each answer is also the moment at which the next request is sent.

All connections are open, and each has had an answer, before the clock is started.
"""

import gc
import json
import select
import socket
import sys
from collections.abc import Sequence
from time import perf_counter, process_time
from typing import Any

from ..processor_time import processor_time

REQUESTS = {
    "hello": b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "echo": b"sixteen bytes...\n",
}
ENDINGS = {"hello": b"\r\n\r\nhello\n", "echo": b"sixteen bytes...\n"}
PATIENCE = 10.0  # seconds without any answer


def connected(port: int, kind: str, connections: int) -> list[socket.socket]:
    """So many connections, on each of which a request has been answered."""
    clients = []
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", port), PATIENCE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        clients.append(client)
    for client in clients:
        client.sendall(REQUESTS[kind])
    for client in clients:
        data = b""
        while not data.endswith(ENDINGS[kind]):
            more = client.recv(65536)
            if not more:
                raise ConnectionError("the server closed a connection")
            data += more
        client.settimeout(None)  # with one, each call would first ask the system to wait
    return clients


def load(port: int, kind: str, connections: int, seconds: float, server: int) -> dict[str, Any]:
    """Ask for `seconds`; what is then still unanswered is waited for, and not counted."""
    request, ending = REQUESTS[kind], ENDINGS[kind]
    clients = connected(port, kind, connections)
    epoll = select.epoll()
    for client in clients:
        epoll.register(client, select.EPOLLIN)
    calls = {client.fileno(): (client.recv, client.send) for client in clients}
    tails = dict.fromkeys(calls, b"")
    asked = dict.fromkeys(calls, 0.0)
    waits: list[float] = []
    waited = waits.append
    asking, unanswered = True, connections
    took, after = 0.0, None
    worked, served = process_time(), processor_time(server)
    began = perf_counter()
    ends = began + seconds
    for fd, (_, send) in calls.items():
        asked[fd] = perf_counter()
        send(request)
    while unanswered:
        ready = epoll.poll(PATIENCE)
        if not ready:
            raise TimeoutError(f"no answer for {PATIENCE:g} seconds")
        for fd, _ in ready:
            receive, send = calls[fd]
            data = receive(65536)
            if not data:
                raise ConnectionError("the server closed a connection")
            if not data.endswith(ending):  # an answer in several pieces
                tails[fd] = data = (tails[fd] + data)[-1024:]
                if not data.endswith(ending):
                    continue
                tails[fd] = b""
            if asking:
                now = perf_counter()
                waited(now - asked[fd])
                asked[fd] = now
                send(request)
            else:
                unanswered -= 1
        if asking and waits and perf_counter() >= ends:
            asking = False
            took, worked = perf_counter() - began, process_time() - worked
            after = processor_time(server)
    epoll.close()
    for client in clients:
        client.close()
    return {
        "requests": len(waits),
        "seconds": took,
        "load": worked,
        "server": None if served is None or after is None else after - served,
        **quantiles(waits),
    }


def quantiles(waits: Sequence[float]) -> dict[str, float]:
    """The median, what one in a hundred exceeds, and the longest."""
    ordered = sorted(waits)
    last = len(ordered) - 1
    parts = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: ordered[min(last, int(part * len(ordered)))] for name, part in parts.items()}


def main() -> None:
    gc.disable()  # nothing here makes a cycle, and a collection would be in somebody's wait
    for line in sys.stdin:
        print(json.dumps(load(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
