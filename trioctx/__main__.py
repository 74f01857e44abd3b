"""The command line: `python -m trioctx echo` and `python -m trioctx hello`."""

import argparse
import functools
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence

import trioctx
from trioctx.servers import echo


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the servers until SIGINT or SIGTERM. Returns the exit status."""
    args = _parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        trioctx.run(_server(args), grace=args.grace)
    except ModuleNotFoundError as exc:
        if exc.name != "httptools":
            raise
        return _fail("hello needs httptools: pip install 'trioctx[http]'")
    except OSError as exc:
        return _fail(f"cannot listen on {args.host} port {args.port}: {exc.strerror or exc}")
    return 0


def _server(args: argparse.Namespace) -> Callable[..., Awaitable[None]]:
    if args.server == "echo":
        return functools.partial(
            echo.serve,
            host=args.host,
            port=args.port,
            max_connections=args.max_connections,
            idle_timeout=args.idle_timeout,
            write_timeout=args.write_timeout,
        )
    from trioctx.servers import hello

    return functools.partial(
        hello.serve,
        host=args.host,
        port=args.port,
        max_connections=args.max_connections,
        work=args.work,
        timeout=args.timeout,
    )


def _fail(text: str) -> int:
    print(f"trioctx: {text}", file=sys.stderr)
    return 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trioctx", description="Servers that show trioctx.")
    servers = parser.add_subparsers(dest="server", required=True, metavar="SERVER")
    hello = servers.add_parser("hello", help="HTTP: GET /hello says hello")
    hello.set_defaults(port=8090)
    echo = servers.add_parser("echo", help="TCP: echoes each line, until a blank one")
    echo.set_defaults(port=8081)
    for server in (hello, echo):
        server.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
        server.add_argument(
            "--port", type=port, help="0 lets the system choose; default: %(default)s"
        )
        server.add_argument(
            "--grace",
            type=seconds,
            default=10.0,
            metavar="SECONDS",
            help="how long busy clients have when the server is stopped; default: %(default)s",
        )
        server.add_argument(
            "--max-connections",
            type=count,
            metavar="NUMBER",
            help="how many clients are served at a time, the others wait; default: no limit",
        )
    hello.add_argument(
        "--work",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="how long the handler works; default: %(default)s",
    )
    hello.add_argument(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long a request may take, inf for no limit; default: %(default)s",
    )
    echo.add_argument(
        "--idle-timeout",
        type=seconds,
        default=300.0,
        metavar="SECONDS",
        help="how long a client may take for a line; default: %(default)s",
    )
    echo.add_argument(
        "--write-timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long a client may take to receive an echo; default: %(default)s",
    )
    return parser.parse_args(argv)


def port(text: str) -> int:
    """A port number, for argparse, which shows this function's name in its error."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give 0 to 65535")
    return number


def count(text: str) -> int:
    """A number of things, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count: give 1 or more")
    return number


def seconds(text: str) -> float:
    """A number of seconds, for argparse. `inf` is one."""
    number = float(text)
    if not number >= 0:  # NaN too
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: give seconds, 0 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
