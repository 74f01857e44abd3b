"""What is measured: every side does each work, with the outcome it should have, or says why not.

Nothing here looks at how long anything took: that is what a run of the benchmarks is for.
"""

import asyncio
import json
import math
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

import trioctx
from benchmarks import worker
from benchmarks.cases import METRICS, WORKS, Argument, Case, cases
from benchmarks.sides import Absent, Figures, Work, WrongOutcome, expect
from benchmarks.sides.shared import loops
from benchmarks.sides.shared.latency import Watch, latency
from benchmarks.sides.shared.lateness import Watch as Deadlines, lateness
from benchmarks.sides.shared.leads import Leads

TINY: Mapping[str, Argument] = {
    "size": 3,
    "depth": 3,
    "tasks": 4,
    "children": 4,
    "number": 5,
    "deadlines": 6,
    "spread": 0.01,
    "repeat": 2,
}
"""Arguments with which a sample takes no time."""


def tiny(case: Case) -> dict[str, Any]:
    args = {name: TINY.get(name, value) for name, value in case.args.items()}
    if "load" in args:
        args["load"] = min(args["load"], 3)
    return args


def run(loop: str, fn: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await fn()

    if loop == "trio":
        trio.run(main)
    else:
        asyncio.run(main())


SIDES = {loop: worker.Sides(loop) for loop in worker.LOOPS}
ALL = [(loop, side) for loop, sides in worker.LOOPS.items() for side in sides]


@pytest.fixture(params=ALL, ids=[side for _, side in ALL])
def side(request: pytest.FixtureRequest) -> tuple[str, str]:
    loop, name = request.param
    if "absent" in SIDES[loop].told[name]:
        pytest.skip(SIDES[loop].told[name]["absent"])
    return loop, name


# --- the table ----------------------------------------------------------------------------------


def test_every_case_measures_a_known_work_and_every_work_is_measured() -> None:
    assert {case.work for case in cases().values()} == set(WORKS)


def test_the_metric_of_a_case_is_one_of_its_group() -> None:
    for case in cases().values():
        wanted = {"left"} if case.work == "cancel_all" else set(METRICS[case.group])
        assert case.metric in wanted, case.name


def test_the_names_of_the_cases_differ() -> None:
    from benchmarks import cases as module

    groups = (
        module.costs,
        module.costs_among_deadlines,
        module.latencies,
        module.latenesses,
        module.memories,
    )
    assert len(cases()) == sum(len(list(group())) for group in groups)


def test_a_goal_compares_with_a_side_that_has_the_work() -> None:
    for case in cases().values():
        if case.goal is not None:
            side, work = case.against or ("trio", case.work)
            assert work in SIDES["trio"].works[side], case.name
            assert case.rival == "trio" or case.rival == f"{side} {work}"


def test_a_side_has_each_work_or_says_why_it_lacks_it(side: tuple[str, str]) -> None:
    loop, name = side
    told = SIDES[loop].told[name]
    works, lacks = set(told["works"]), set(told["lacks"])
    assert works | lacks <= set(WORKS)
    assert not works & lacks
    assert all(told["lacks"].values())
    if name != "floor":  # which is no peer, and has only what stands beside a goal
        assert works | lacks == set(WORKS)


def test_trioctx_lacks_nothing() -> None:
    assert SIDES["trio"].told["trioctx"]["lacks"] == {}


# --- the sides ----------------------------------------------------------------------------------


def distinct() -> list[Case]:
    """A case for each work and what it does differently (a trigger, a load), whatever its size."""
    found: dict[str, Case] = {}
    for case in cases().values():
        found.setdefault(json.dumps([case.work, tiny(case)]), case)
    return list(found.values())


@pytest.mark.parametrize("case", distinct(), ids=lambda case: case.name)
def test_a_side_does_the_work_and_finds_what_it_should(side: tuple[str, str], case: Case) -> None:
    """Each check passes, and each sample gives its metrics: finite and positive."""
    loop, name = side
    work = SIDES[loop].works[name].get(case.work)
    if work is None:
        return  # and says why: tested above

    async def both() -> None:
        await work.check(**tiny(case))
        figures = await worker.sampled(work, tiny(case))
        wanted = {"left"} if case.work == "cancel_all" else set(METRICS[case.group])
        assert set(figures) == wanted
        for metric, values in figures.items():
            assert len(values) == {"latency": 2, "lateness": 6}.get(case.group, 1), metric
            assert all(math.isfinite(value) and value > 0 for value in values), (metric, values)

    run(loop, both)
    assert work.label


def test_the_first_task_unwinds_before_the_last_and_both_before_the_block_is_left() -> None:
    async def once() -> None:
        work = SIDES["trio"].works["trioctx"]["fanout"]
        figures = await work.sample(trigger="cancel", load=0, repeat=1, tasks=10)
        assert figures["first"] < figures["last"] < figures["left"]

    trio.run(once)


@pytest.mark.parametrize("name", ["trio", "anyio-trio"])
def test_a_depth_that_a_side_cannot_reach_is_said(name: str) -> None:
    """Trio's own question for the deadline is recursive; trioctx's answer is not."""
    works = SIDES["trio"].works
    if name not in works:
        pytest.skip(f"no {name} here")

    async def ask() -> None:
        await works["trioctx"]["deadline"].check(size=1, depth=2000)
        with pytest.raises(Absent, match="recursive"):
            await works[name]["deadline"].check(size=1, depth=2000)

    trio.run(ask)


def test_anyio_on_asyncio_says_that_it_cannot_cancel_so_deep_and_goes_on() -> None:
    works = SIDES["asyncio"].works.get("anyio-asyncio")
    if works is None:
        pytest.skip("no AnyIO here")
    args: dict[str, Any] = {"trigger": "cancel", "load": 0, "repeat": 1}

    async def ask() -> None:
        with pytest.raises(Absent, match="recursive"):
            await works["depth"].check(depth=1000, **args)
        await works["depth"].check(depth=10, **args)

    asyncio.run(ask())


# --- what all of them share ---------------------------------------------------------------------


def sample(work: Work, **args: Any) -> Figures:
    async def main() -> Figures:
        return await work.sample(**args)

    return trio.run(main)


ENDING: dict[str, Any] = {"trigger": "cancel", "load": 0, "repeat": 1, "tasks": 2}


def test_a_scenario_whose_tasks_are_not_cancelled_in_their_sleep_is_refused() -> None:
    async def leaves_one_alone(watch: Watch) -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.sleep)
            with trio.CancelScope() as scope:
                nursery.start_soon(finish, watch, scope)
                await watch.fire(nursery.cancel_scope.cancel)
        watch.leave()
        return "cancelled"

    async def finish(watch: Watch, scope: trio.CancelScope) -> None:
        watch._asleep += 1  # says that it sleeps, and does not

    with pytest.raises(WrongOutcome, match="cancelled in their sleep: 1 instead of 2"):
        sample(latency("", loops.on_trio, leaves_one_alone, many=True), **ENDING)


def test_a_scenario_that_ends_in_another_way_is_refused() -> None:
    async def times_out(watch: Watch) -> str:
        async with trio.open_nursery() as nursery:
            for _ in range(watch.size):
                nursery.start_soon(watch.sleep)
            await watch.fire(nursery.cancel_scope.cancel)
        return "deadline"

    work = latency("", loops.on_trio, times_out, many=True)
    with pytest.raises(WrongOutcome, match="how the block ended: 'deadline'"):
        sample(work, **ENDING)
    with pytest.raises(ExceptionGroup) as caught:
        sample(work, **{**ENDING, "trigger": "prayer"})
    error = worker.sole(caught.value)
    assert (type(error), str(error)) == (ValueError, "no such trigger: 'prayer'")


def test_an_ending_that_comes_before_all_tasks_sleep_is_measured_anew_with_more_time() -> None:
    leads: list[float] = []

    async def slow_to_start(watch: Watch) -> str:
        leads.append(watch.began - watch.opened)
        try:
            with trio.fail_at(watch.deadline):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(watch.sleep)
                    await trio.sleep(0.02)
                    await watch.fire(nursery.cancel_scope.cancel)
        except trio.TooSlowError:
            pass
        watch.leave()
        return "deadline"

    work = latency("", loops.on_trio, slow_to_start, many=True)
    sample(work, trigger="deadline", load=0, repeat=1, tasks=1)
    assert leads[0] < 0.02 < leads[-1]
    assert all(later > 1.9 * earlier for earlier, later in pairwise(leads))


def test_deadlines_that_nobody_is_told_of_are_refused() -> None:
    async def ends_too_soon(watch: Deadlines) -> None:
        async with trio.open_nursery() as nursery:
            for deadline in watch.deadlines:
                nursery.start_soon(watch.sleep, deadline)
            await watch.settle()
            nursery.cancel_scope.cancel()

    with pytest.raises(WrongOutcome, match="blocks that timed out: 0 instead of 3"):
        sample(lateness("", loops.on_trio, ends_too_soon), deadlines=3, spread=0.01)


def test_deadlines_are_spread_evenly_and_armed_in_no_order() -> None:
    async def ask() -> None:
        watch = Deadlines(loops.on_trio(), 100, 1.0, lead=5.0)
        ordered = sorted(watch.deadlines)
        assert watch.deadlines != ordered
        assert watch.first == ordered[0]
        assert ordered[-1] - watch.opened == pytest.approx(6.0)
        gaps = [later - earlier for earlier, later in pairwise(ordered)]
        assert gaps == pytest.approx([0.01] * 99)

    trio.run(ask)


def test_a_lead_follows_what_the_last_one_took() -> None:
    leads = Leads()
    first = leads.lead(1000)
    leads.missed()
    assert leads.lead(1000) > 1.5 * first
    leads.arrived(500, took=0.02)
    assert 0.04 < leads.lead(1000) < 0.1
    assert leads.lead(10) < 0.01


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_load_keeps_running_until_its_block_is_left(loop: str) -> None:
    async def watched() -> None:
        on = loops.on_trio() if loop == "trio" else loops.on_asyncio()
        began = on.clock()
        async with on.busy(2):
            for _ in range(10):
                await on.turn()
        assert on.clock() - began >= 10 * loops.PIECE  # they had their turns
        if loop == "trio":
            assert not trio.lowlevel.current_task().child_nurseries
        else:
            assert asyncio.all_tasks() == {asyncio.current_task()}

    run(loop, watched)


def test_expect_names_what_differs() -> None:
    expect("the answer", 42, 42)
    with pytest.raises(WrongOutcome, match="the answer: 41 instead of 42"):
        expect("the answer", 41, 42)


# --- the worker ---------------------------------------------------------------------------------


@contextmanager
def process(loop: str) -> Iterator[Callable[[object], dict[str, Any]]]:
    """A worker; called with a request (or with a line as it stands) it gives the answer."""
    root = Path(worker.__file__).parents[1]
    command = [sys.executable, "-m", "benchmarks.worker", loop]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root) as started:
        assert started.stdin is not None and started.stdout is not None
        lines, answers = started.stdin, started.stdout

        def ask(request: object) -> dict[str, Any]:
            line = request if isinstance(request, str) else json.dumps(request)
            print(line, file=lines, flush=True)
            answer: dict[str, Any] = json.loads(answers.readline())
            return answer

        yield ask
        lines.close()
        assert started.wait(10) == 0


@pytest.mark.parametrize(("loop", "side"), [("trio", "trioctx"), ("asyncio", "asyncio")])
def test_a_worker_answers_line_by_line_and_survives_every_error(loop: str, side: str) -> None:
    args = {"size": 5}
    with process(loop) as ask:
        told = ask({"do": "sides"})
        assert set(told) == set(worker.LOOPS[loop])
        assert "with_timeout" in told[side]["works"]
        for number in 50, 0, 1000:
            assert ask({"do": "deadlines", "number": number}) == {}
            request = {"side": side, "work": "with_timeout", "args": args}
            assert set(ask({"do": "check", **request})) == {"label"}
            (each,) = ask({"do": "sample", **request})["figures"]["each"]
            assert 0 < each < 1
        assert ask("not JSON")["error"].startswith("JSONDecodeError")
        assert ask({"do": "nothing"})["error"] == "ValueError: no such request: 'nothing'"
        assert "KeyError" in ask({"do": "check", **request, "work": "none"})["error"]
        assert "KeyError" in ask({"do": "check", **request, "side": "none"})["error"]
        assert "TypeError" in ask({"do": "sample", **request, "args": {"colour": 1}})["error"]
        assert "figures" in ask({"do": "sample", **request})


def test_a_worker_tells_what_cannot_be_done_with_these_arguments() -> None:
    with process("trio") as ask:
        request = {"do": "check", "work": "deadline", "args": {"size": 1, "depth": 2000}}
        assert set(ask({**request, "side": "trio"})) == {"absent"}
        assert set(ask({**request, "side": "trioctx"})) == {"label"}


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_a_side_whose_package_is_missing_is_absent_and_the_others_are_there(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith("benchmarks.sides.on_anyio"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "anyio", None)  # the import then fails
    told = worker.Sides(loop).told
    assert told.pop(f"anyio-{loop}") == {"absent": "anyio is not installed"}
    assert told
    assert all("works" in has for has in told.values())


def test_armed_deadlines_are_there_until_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Trio, as many scopes wait for a deadline that is far away."""
    seen: list[tuple[bool, int]] = []

    async def serve(sides: worker.Sides, arm: worker.Ambient) -> None:
        for number in 0, 900, 5, 0:
            await arm(number)
            statistics = trio.lowlevel.current_statistics()
            armed = math.isfinite(statistics.seconds_to_next_deadline)
            seen.append((armed, statistics.tasks_living))

    monkeypatch.setattr(worker.Sides, "serve", serve)
    trio.run(worker.on_trio)
    alone = seen[0][1]
    assert seen == [(False, alone), (True, alone + 3), (True, alone + 1), (False, alone)]


def test_an_outcome_that_is_wrong_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """If trioctx stopped passing a deadline on, nothing would be timed."""
    check = SIDES["trio"].works["trioctx"]["with_timeout"].check

    def forgetful(parent: trioctx.Context, seconds: float) -> trioctx.Context:
        return trioctx.with_cancel(parent)

    monkeypatch.setattr(trioctx, "with_timeout", forgetful)
    with pytest.raises(WrongOutcome, match="seconds left"):
        trio.run(lambda: check(size=1))
