"""The end of a turn of Trio's loop."""

from functools import partial

import pytest
import trio

from trioctx.servers._turn import EndOfTurn


async def test_it_comes_after_all_who_run_in_a_turn() -> None:
    """In whatever order Trio lets them run, and once for each turn."""
    turn = EndOfTurn()
    done: list[str] = []

    async def work() -> None:
        for name in ("first", "second"):
            done.append(name)
            assert turn.call(partial(done.append, f"{name} ended"))
            await trio.testing.wait_all_tasks_blocked()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(turn.run)
        await trio.testing.wait_all_tasks_blocked()
        turn.worth_it = True
        async with trio.open_nursery() as workers:
            for _ in range(9):
                workers.start_soon(work)
        nursery.cancel_scope.cancel()
    assert done == [
        name for which in ("first", "second") for name in (*[which] * 9, *[f"{which} ended"] * 9)
    ]


async def test_it_says_when_it_calls_nothing() -> None:
    """Where that is not worth it, before `run()`, and when that is being cancelled."""
    turn = EndOfTurn()
    turn.worth_it = True
    assert not turn.call(print)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turn.run)
        await trio.testing.wait_all_tasks_blocked()
        turn.worth_it = False
        assert not turn.call(print)
        turn.worth_it = True
        nursery.cancel_scope.cancel()
        assert not turn.call(print)


async def test_what_it_has_taken_on_is_done_though_it_is_cancelled() -> None:
    """In the same turn; nothing is taken on after that."""
    turn = EndOfTurn()
    done: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turn.run)
        await trio.testing.wait_all_tasks_blocked()
        turn.worth_it = True
        assert turn.call(partial(done.append, 1))
        nursery.cancel_scope.cancel()
        assert turn.call(partial(done.append, 2))
    assert done == [1, 2]
    assert not turn.call(print)


async def test_it_calls_nothing_more_when_one_has_failed() -> None:
    """And the error is that of `run()`."""
    turn = EndOfTurn()

    async def run() -> None:
        with pytest.raises(KeyError):
            await turn.run()
        assert not turn.call(print)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        turn.worth_it = True
        assert turn.call({}.popitem)
