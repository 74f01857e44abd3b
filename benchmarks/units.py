"""Figures as people read them: with the unit that suits the size."""

from collections.abc import Sequence

SECONDS = ((1e9, "ns"), (1e6, "µs"), (1e3, "ms"), (1.0, "s"))
BYTES = ((1.0, "B"), (1 / 1024, "KiB"), (1 / 1024**2, "MiB"))

SMALLEST = 0.1  # a figure below this is told in a smaller unit, though its neighbours are large

Units = Sequence[tuple[float, str]]


def units(group: str) -> Units:
    """What the figures of a group of cases are told in."""
    return BYTES if group == "memory" else SECONDS


def suited(value: float, units: Units) -> tuple[float, str]:
    """The factor and name of the unit in which ``value`` has few digits before its point."""
    for factor, unit in units:
        if abs(value) * factor < 1000:
            return factor, unit
    return units[-1]


def digits(value: float) -> str:
    """Three that matter, or all before the point."""
    size = abs(value)
    return f"{value:.{0 if size >= 100 or not size else 1 if size >= 10 else 2}f}"


def ratio(value: float) -> str:
    """Two digits behind the point, or two that matter where that would be nothing."""
    return f"{value:.2f}" if abs(value) >= 0.1 or not value else f"{value:.2g}"


def amount(value: float, units: Units = SECONDS) -> str:
    factor, unit = suited(value, units)
    return f"{digits(value * factor)} {unit}"


def duration(seconds: float) -> str:
    return amount(seconds, SECONDS)


def spread(values: Sequence[float], units: Units = SECONDS) -> str:
    """Several in one unit, as in "1.20 / 1.31 / 2.05 ms"."""
    factor, unit = suited(max(values), units)
    if min(values) * factor < SMALLEST:
        factor, unit = suited(min(values), units)
    return f"{' / '.join(digits(value * factor) for value in values)} {unit}"


def minutes(seconds: float) -> str:
    """A time to wait for, as in "2:05"."""
    whole = round(max(0.0, seconds))
    return f"{whole // 60}:{whole % 60:02d}"
