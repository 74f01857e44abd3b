"""The load: keep-alive connections, on each of which one request always waits for its answer.

`python -m benchmarks.peers.load PORT hello|echo CONNECTIONS SECONDS` prints, as JSON, how many were
answered, in how many seconds, and how many of these the load itself was working. One thread and
no framework, so that it can ask for more than a server can answer.
"""

import json
import select
import socket
import sys
from time import perf_counter, process_time

REQUESTS = {
    "hello": b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "echo": b"sixteen bytes...\n",
}
ENDINGS = {"hello": b"\r\n\r\nhello\n", "echo": b"sixteen bytes...\n"}
PATIENCE = 10.0  # seconds without any answer


def load(port: int, kind: str, connections: int, seconds: float) -> dict[str, float]:
    """Ask for `seconds`; what is then still unanswered is waited for, and not counted."""
    request, ending = REQUESTS[kind], ENDINGS[kind]
    clients = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(connections)]
    epoll = select.epoll()
    for client in clients:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        epoll.register(client, select.EPOLLIN)
    calls = {client.fileno(): (client.recv, client.send) for client in clients}
    tails = dict.fromkeys(calls, b"")
    answered, asking, unanswered = 0, True, connections
    began, worked = perf_counter(), process_time()
    ends = began + seconds
    for client in clients:
        client.sendall(request)
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
                answered += 1
                send(request)
            else:
                unanswered -= 1
        if asking and perf_counter() >= ends:
            asking = False
            took, worked = perf_counter() - began, process_time() - worked
    for client in clients:
        client.close()
    return {"requests": answered, "seconds": took, "load": worked}


if __name__ == "__main__":
    print(json.dumps(load(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
