"""A server that notes where its processor time goes.

`python -m benchmarks.peers.sampled MODULE FILE`: every `INTERVAL` of MODULE's life a signal writes
down the stack; at SIGUSR1 all is put into FILE and forgotten. Unlike a tracing profiler this leaves
calls as fast as they are. A C function, or a system call, counts for the line it is in. By the
clock, as the timer of the processor's time ticks too seldom: so it is for a server that is busy.
"""

import json
import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL = 0.002
DEPTH = 40

Stack = tuple[tuple[str, str, int], ...]
"""File, function and line, the innermost first."""


def main(module: str, file: Path) -> None:
    stacks: Counter[Stack] = Counter()

    def note(number: int, frame: FrameType | None) -> None:
        stack: list[tuple[str, str, int]] = []
        while frame is not None and len(stack) < DEPTH:
            code = frame.f_code
            stack.append((code.co_filename, code.co_qualname, frame.f_lineno or 0))
            frame = frame.f_back
        stacks[tuple(stack)] += 1

    def tell(number: int, frame: FrameType | None) -> None:
        noted = list(stacks.items())  # in one piece: the next signal may come at any line
        stacks.clear()
        told = [{"stack": stack, "samples": samples} for stack, samples in noted]
        whole = file.with_suffix(".part")
        whole.write_text(json.dumps(told), encoding="utf-8")
        os.replace(whole, file)

    signal.signal(signal.SIGALRM, note)
    signal.signal(signal.SIGUSR1, tell)
    signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
