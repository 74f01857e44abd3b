"""The end of a turn: what the tasks that run now leave to be done together, after all of them."""

from collections.abc import Callable

import trio

__all__ = ["EndOfTurn"]


class EndOfTurn:
    """Calls functions when all tasks that run in this turn of Trio's loop have had their go.

    For system calls that are cheaper one right after the other, as sending to many clients is.
    Waiting for the end of a turn takes one turn more: `worth_it` says whether to do it at all.
    """

    def __init__(self) -> None:
        self.worth_it = False
        self._functions: list[Callable[[], object]] = []
        self._task: trio.lowlevel.Task | None = None  # that of run(), unless it is ending

    def call(self, fn: Callable[[], object]) -> bool:
        """Call `fn` at the end of this turn. Returns whether that will be done."""
        if self._task is None or not self.worth_it:
            return False
        if not self._functions:
            # Trio goes through a list of the tasks that run in a turn. Who is woken meanwhile is in
            # the next: so comes after all of these, and is woken once for all that they leave.
            trio.lowlevel.reschedule(self._task)
        self._functions.append(fn)
        return True

    async def run(self) -> None:
        """Call them, turn after turn; ends with what one of them raises."""
        try:
            while True:
                self._task = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)
                functions, self._functions = self._functions, []
                for fn in functions:
                    fn()
        finally:
            self._task = None

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
