"""How long before its deadline a sample has to begin, so that all of its tasks sleep by then."""

LEAST = 0.003
MARGIN = 2.0


class Leads:
    """Learns from each sample how long the next one will take to get there."""

    def __init__(self) -> None:
        self._least = LEAST
        self._each = 50e-6

    def lead(self, tasks: int) -> float:
        return self._least + MARGIN * self._each * tasks

    def arrived(self, tasks: int, took: float) -> None:
        self._least = LEAST
        self._each = took / tasks

    def missed(self) -> None:
        """The deadline came first."""
        self._least *= 2
        self._each *= 2
