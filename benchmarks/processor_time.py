"""How long a process has run, as Linux tells it."""

from pathlib import Path


def scheduled(pid: int) -> tuple[float, float] | None:
    """Seconds that the threads of a process have run, and waited for a core, on Linux."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    figures = [file.read_text(encoding="utf-8").split() for file in files]
    if not figures:
        return None
    return sum(int(ran) for ran, *_ in figures) / 1e9, sum(int(f[1]) for f in figures) / 1e9


def processor_time(pid: int) -> float | None:
    """Seconds that all threads of a process have run, on Linux."""
    figures = scheduled(pid)
    return None if figures is None else figures[0]
