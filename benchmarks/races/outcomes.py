"""What a race found: each contestant's samples, and trioctx's beside them, round by round."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..figures import bootstrap, ratios
from .contestants import Contestant, Kind, Race

Sample = Mapping[str, float | None]
"""One contestant in one round: name of a figure to its value, in seconds where it is a time.

- load: ``rate`` (requests a second), ``processor`` (seconds of the server's threads for a request),
  ``p50``, ``p99``, ``max`` (a request's wait for its answer), ``server_busy`` and ``load_busy``
  (parts of the time that server and load were running).
- disconnect: ``fin``, ``fin_p99``, ``fin_max`` (the client closes), ``rst``, ``rst_p99``,
  ``rst_max`` (the client resets): the median of a round's disconnects, and what one in a hundred
  and none exceeds.
- idle: ``bytes`` of a connection.

None is what the system does not tell.
"""

HEADLINE: Mapping[Kind, str] = {"load": "rate", "disconnect": "fin", "idle": "bytes"}
"""The figure that is compared. Of rate more is better, of all others less."""

SATURATED = 0.95


@dataclass(frozen=True)
class Standing:
    """One contestant's samples, in the order of the rounds; none where it is absent."""

    contestant: Contestant
    samples: Sequence[Sample]
    absent: str | None = None

    def values(self, name: str) -> list[float]:
        """This figure in each round; empty where a round has none."""
        values = [value for s in self.samples if (value := s.get(name)) is not None]
        return values if len(values) == len(self.samples) else []

    def figure(self, name: str) -> float | None:
        """The median of the rounds; for a maximum, that of all rounds."""
        values = self.values(name)
        if not values:
            return None
        return max(values) if name.endswith("max") else statistics.median(values)

    @property
    def load_was_the_limit(self) -> bool:
        """In more than half of the rounds the load was busy all the time, and the server was not.

        Then the server can answer more.
        """
        return 2 * sum(map(load_was_the_limit, self.samples)) > len(self.samples)


def load_was_the_limit(sample: Sample) -> bool:
    load, server = sample.get("load_busy"), sample.get("server_busy")
    if load is None:
        return False
    return load > SATURATED and (server is None or server <= SATURATED)


@dataclass(frozen=True)
class Outcome:
    """``load`` is what loaded the servers: "own" or "wrk"; empty where nothing did."""

    race: Race
    load: str
    standings: Sequence[Standing]

    def ratios(self, standing: Standing, name: str | None = None) -> list[float]:
        """trioctx's figure over this one's, round by round."""
        name = name or HEADLINE[self.race.kind]
        ours, theirs = self.standings[0].values(name), standing.values(name)
        return ratios(ours, theirs) if ours and theirs and all(theirs) else []

    def ratio(self, standing: Standing) -> float | None:
        """The median of the ratios of what is compared in this race."""
        found = self.ratios(standing)
        return statistics.median(found) if found else None

    def interval(self, standing: Standing) -> tuple[float, float] | None:
        found = self.ratios(standing)
        return bootstrap(found) if found else None

    def processor_ratio(self, standing: Standing) -> float | None:
        """How many requests trioctx answers in the processor time of one of this one's."""
        found = self.ratios(standing, "processor")
        return 1 / statistics.median(found) if found and all(found) else None
