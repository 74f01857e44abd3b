"""Go's context for Trio: deadlines, cancellation with a cause, and request-scoped values."""

from ._after import AfterFunc as AfterFunc, after_func as after_func
from ._context import Context as Context
from ._derive import (
    background as background,
    current as current,
    merge as merge,
    todo as todo,
    with_cancel as with_cancel,
    with_deadline as with_deadline,
    with_timeout as with_timeout,
    with_value as with_value,
    with_values as with_values,
    without_cancel as without_cancel,
)
from ._errors import (
    ContextCancelled as ContextCancelled,
    ContextClosed as ContextClosed,
    ContextError as ContextError,
    DeadlineExceeded as DeadlineExceeded,
)
from ._signals import run as run, with_signals as with_signals

__all__ = [
    "AfterFunc",
    "Context",
    "ContextCancelled",
    "ContextClosed",
    "ContextError",
    "DeadlineExceeded",
    "after_func",
    "background",
    "current",
    "merge",
    "run",
    "todo",
    "with_cancel",
    "with_deadline",
    "with_signals",
    "with_timeout",
    "with_value",
    "with_values",
    "without_cancel",
]

for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
