"""The machine that the figures come from, in one line: figures without it mean little."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import golang

PACKAGES = ("trio", "anyio", "httptools", "uvicorn", "uvloop", "hypercorn", "aiohttp")


def processor() -> str:
    """The processor's own name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def own_release() -> str:
    """trioctx's, which a checkout tells though it may not be installed."""
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    if pyproject.exists():
        found = re.search(r'^version = "(.*)"', pyproject.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1]
    return release("trioctx")


def go_release() -> str:
    try:
        return golang.version().removeprefix("go")
    except golang.NoGo as exc:
        return f"absent: {exc}"


def machine() -> dict[str, str]:
    return {
        "cpu": processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "trioctx": own_release(),
        **{package: release(package) for package in PACKAGES},
        "go": go_release(),
    }
