"""What a run shows: progress, and tables as they come.

With `rich`, on a terminal, there is a bar at the bottom; otherwise plain lines, with the same
content.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from .remaining import Remaining
from .tables import MISSED, Table
from .units import minutes

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

REDRAWN = 2  # times a second: the other core has work to do


class Screen(Protocol):
    def say(self, line: str) -> None: ...

    def show(self, table: Table) -> None: ...

    def progress(self, remaining: Remaining) -> AbstractContextManager[Callable[[str], None]]:
        """While the returned block lasts, it can be told what is measured."""
        ...


class Plain:
    """Lines, for files and pipes."""

    def say(self, line: str) -> None:
        print(line, flush=True)

    def show(self, table: Table) -> None:
        cells = [list(table.head), *map(list, table.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        print(f"\n{table.title}")
        for row in cells:
            words = [
                f"{cell:<{width}}" if index < table.left else f"{cell:>{width}}"
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            print(f"  {'  '.join(words)}".rstrip())
        for note in table.notes:
            print(f"  {note}")
        print(flush=True)

    @contextmanager
    def progress(self, remaining: Remaining) -> Iterator[Callable[[str], None]]:
        def measuring(name: str) -> None:
            place, number = remaining.place
            left = minutes(remaining.seconds())
            self.say(f"[{place}/{number}] {name} ({minutes(remaining.elapsed)}, {left} left)")

        yield measuring


class Rich:
    """`rich` draws the tables, and a bar that stays below them."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def show(self, table: Table) -> None:
        from rich import box
        from rich.table import Table as Drawn

        drawn = Drawn(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for index, head in enumerate(table.head):
            left = index < table.left
            drawn.add_column(
                self._text(head),
                justify="left" if left else "right",
                no_wrap=index == 0,
                overflow="fold",
            )
        for row in table.rows:
            drawn.add_row(*(self._text(cell) for cell in row))
        self._console.print(self._text(table.title, "bold"))  # a narrow table would fold it
        self._console.print(drawn)
        for note in table.notes:
            self._console.print(self._text(f"  {note}", "red" if "FAILED" in note else "dim"))
        self._console.print()

    @staticmethod
    def _text(words: str, style: str = "") -> "Text":
        """Not markup: a name may have brackets."""
        from rich.text import Text

        missed = MISSED in words or words == "SLOWER"
        return Text(words, style="bold red" if missed else style)

    @contextmanager
    def progress(self, remaining: Remaining) -> Iterator[Callable[[str], None]]:
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[times]}"),
            BarColumn(bar_width=None),
            console=self._console,
        )
        task = bar.add_task("starting", total=None, times="")

        def drawn() -> "RenderableType":
            """The bar is one of time, not of cases, which take from milliseconds to a minute."""
            elapsed, left = remaining.elapsed, remaining.seconds()
            times = f"{minutes(elapsed)}, {minutes(left)} left"
            bar.update(task, completed=elapsed, total=elapsed + left, times=times)
            return bar.get_renderable()

        def measuring(name: str) -> None:
            place, number = remaining.place
            bar.update(task, description=f"[{place}/{number}] {name}")

        with Live(
            get_renderable=drawn,
            console=self._console,
            refresh_per_second=REDRAWN,
            transient=True,
        ):
            yield measuring


def screen() -> Screen:
    """What suits where the output goes."""
    if find_spec("rich") is not None and sys.stdout.isatty():
        return Rich()
    return Plain()
