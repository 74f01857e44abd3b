"""The least that echoes on AnyIO, with Trio below."""

import anyio
import anyio.abc


async def echo(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        try:
            async for data in stream:
                await stream.send(data)
        except anyio.BrokenResourceError:
            pass  # the client has gone


async def main() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    print(listener.extra(anyio.abc.SocketAttribute.local_port), flush=True)
    await listener.serve(echo)


if __name__ == "__main__":
    anyio.run(main, backend="trio")
