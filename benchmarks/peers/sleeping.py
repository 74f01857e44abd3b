"""A handler that only sleeps, and tells when it began and when it was ended.

Lines on standard output: ``began``, then ``ended`` with nanoseconds of `time.monotonic_ns()`, a
clock that all processes share.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic_ns

SECONDS = 60.0  # far more than anybody waits for the end


@contextmanager
def telling() -> Iterator[None]:
    """Tells of its block."""
    os.write(1, b"began\n")
    try:
        yield
    finally:
        ended = monotonic_ns()
        os.write(1, b"ended %d\n" % ended)
