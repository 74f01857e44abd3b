"""How long before its deadline a sample has to begin, so that all of its tasks sleep by then."""

from collections.abc import Hashable

EACH = 50e-6
LEAST = 0.003
MARGIN = 1.5


class Leads:
    """Learns from each sample how long the next one of its kind will take to get there."""

    def __init__(self) -> None:
        self._took: dict[Hashable, float] = {}

    def lead(self, kind: Hashable, tasks: int) -> float:
        return LEAST + MARGIN * self._took.get(kind, tasks * EACH)

    def arrived(self, kind: Hashable, took: float) -> None:
        self._took[kind] = took

    def missed(self, kind: Hashable, lead: float) -> None:
        """The deadline came first: twice that the next time."""
        self._took[kind] = 2 * lead
