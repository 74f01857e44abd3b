"""Servers beside each other: `races()` lists what is measured, `run_race` measures it.

Three kinds of race: under load (requests a second, processor time, and how long a request waits),
the time from a client's disconnect to its handler's end, and the memory of an idle connection.
The servers are in `benchmarks.peers`. To add one: a module there, and a line in `contestants`.
"""

from .contestants import Race as Race, races as races
from .outcomes import Outcome as Outcome
from .report import race_as_json as race_as_json
from .run import run_race as run_race, samples_of as samples_of

__all__ = ["Outcome", "Race", "race_as_json", "races", "run_race", "samples_of"]
