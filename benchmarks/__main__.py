"""``python -m benchmarks``: measure, print the ratios, and the goals beside them."""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from . import against, stored
from .cases import Case, cases
from .machine import machine
from .races import Race, races
from .run import GC, Session, Settings
from .screen import Screen, screen

ROUNDS, WARMUP = 20, 2
QUICK_ROUNDS, QUICK_WARMUP, QUICK_SCALE = 5, 1, 0.6
SERVERS = "servers"  # the group of all races

SLOWER_OR_FAILED = 1
INTERRUPTED = 130
TERMINATED = 143


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What trioctx costs beside what one would use instead: medians of the ratios "
        "of each round, with the interval of a bootstrap.",
    )
    add = parser.add_argument
    add("--list", action="store_true", help="tell what can be measured, and measure nothing")
    add("--quick", action="store_true", help="less of everything, in under a minute")
    add(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="only this case, race or group, or those that a pattern such as 'fanout_*' matches; "
        "can be repeated",
    )
    add(
        "--rounds",
        type=at_least(1),
        metavar="N",
        help=f"default: {ROUNDS}, with --quick {QUICK_ROUNDS}; what takes long has fewer",
    )
    add(
        "--warmup",
        type=at_least(0),
        metavar="N",
        help=f"rounds before that, default: {WARMUP}, with --quick {QUICK_WARMUP}",
    )
    add(
        "--load",
        choices=["own", "wrk"],
        default="own",
        help="what loads the hello servers, default: own",
    )
    add("--json", type=Path, metavar="FILE", help="store the figures there")
    add(
        "--against",
        type=Path,
        metavar="FILE",
        help="tell what got slower or faster since the run stored there; "
        "exit status 1 if anything got slower",
    )
    add("--plots", type=Path, metavar="FOLDER", help="draw the figures there, as SVG and PNG")
    return parser


class at_least:  # a type as argparse has them, whose name stands in its messages
    def __init__(self, least: int) -> None:
        self._least = least

    def __call__(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = self._least - 1
        if number < self._least:
            raise argparse.ArgumentTypeError(f"a whole number, {self._least} or more, not {text!r}")
        return number


def chosen(patterns: Sequence[str], *, quick: bool) -> tuple[list[Case], list[Race]]:
    """What these names and patterns mean, in the order in which it is measured.

    Raises:
        LookupError: one of them means nothing.
    """

    def wanted(pattern: str, name: str, group: str) -> bool:
        return group == pattern or fnmatchcase(name, pattern)

    if not patterns:
        return (
            [case for case in cases().values() if case.quick or not quick],
            [race for race in races().values() if race.quick or not quick],
        )
    known = [(c.name, c.group) for c in cases().values()] + [(name, SERVERS) for name in races()]
    for pattern in patterns:
        if not any(wanted(pattern, name, group) for name, group in known):
            raise LookupError(f"nothing is called {pattern!r}; --list tells what there is")
    return (
        [c for c in cases().values() if any(wanted(p, c.name, c.group) for p in patterns)],
        [r for r in races().values() if any(wanted(p, r.name, SERVERS) for p in patterns)],
    )


def listed() -> Iterator[str]:
    for case in cases().values():
        marks = f" (goal ≤ {case.goal:g})" if case.goal is not None else ""
        marks += ", quick" if case.quick else ""
        yield f"{case.group:9} {case.name:32} {case.what}{marks}"
    for race in races().values():
        yield f"{SERVERS:9} {race.name:32} {race.what}{', quick' if race.quick else ''}"


def settings(options: argparse.Namespace) -> Settings:
    quick = options.quick
    rounds = options.rounds or (QUICK_ROUNDS if quick else ROUNDS)
    warmup = options.warmup
    if warmup is None:
        warmup = QUICK_WARMUP if quick else WARMUP
    return Settings(rounds, warmup, quick, options.load, QUICK_SCALE if quick else 1.0)


def told(
    found: Session, options: argparse.Namespace, before: stored.Run | None, out: Screen
) -> int:
    """Store, draw and compare what was found. Returns the exit status."""
    if options.json is not None:
        stored.write(found.run, options.json)
        out.say(f"stored in {options.json}")
    if options.plots is not None:
        from .plots import draw

        for file in draw(stored.rounded(found.run), options.plots):
            out.say(f"drawn: {file}")
    slower = []
    if before is not None:
        comparison = against.compare(found.run, before)
        out.show(against.table(comparison, str(options.against)))
        slower = [change.name for change in comparison.slower]
        out.say(f"slower: {', '.join(slower) or 'nothing'}")
    for failure in found.failures:
        out.say(f"FAILED: {failure}")
    return SLOWER_OR_FAILED if slower or found.failures else 0


@contextmanager
def stopping_at_sigterm() -> Iterator[None]:
    """What was started is stopped on the way out, as it is for Ctrl-C."""

    def terminated(signum: int, frame: FrameType | None) -> None:
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> int:
    usage = parser()
    options = usage.parse_args(arguments)
    if options.list:
        print("\n".join(listed()))
        return 0
    before = None
    try:
        chosen_cases, chosen_races = chosen(options.only, quick=options.quick)
        if options.against is not None:
            before = stored.read(options.against)
    except (LookupError, stored.NotARun) as exc:
        usage.error(str(exc))
    if options.json is not None and not options.json.absolute().parent.is_dir():
        usage.error(f"--json {options.json}: there is no such folder")
    if options.plots is not None and find_spec("matplotlib") is None:
        usage.error("--plots needs matplotlib: pip install 'trioctx[bench]'")
    about, out = machine(), screen()
    how = settings(options)
    out.say(", ".join(f"{name} {value}" for name, value in about.items()))
    out.say(f"rounds {how.rounds} after {how.warmup}, A B C, A B C ...; gc: {GC}")
    session = Session(how, out, about)
    try:
        with stopping_at_sigterm():
            session.measure(chosen_cases, chosen_races)
    except KeyboardInterrupt:
        out.say("interrupted: nothing is stored")
        return INTERRUPTED
    return told(session, options, before, out)


if __name__ == "__main__":
    sys.exit(main())
