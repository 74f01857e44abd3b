"""All comparisons, in the order in which they are measured."""

from . import cost, fanout
from .measure import Comparison


def comparisons() -> dict[str, Comparison]:
    listed = [
        cost.with_timeout(),
        cost.one_child(),
        cost.with_value(),
        cost.linked_to_new(),
        cost.linked_to_open(),
        fanout.cancel_many(),
        cost.start_soon(),
        cost.current(),
    ]
    return {comparison.name: comparison for comparison in listed}
