"""Values: a context as a mapping from ContextVars, and their way in and out of a block."""

import contextvars
import threading
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from contextvars import ContextVar, copy_context
from types import MappingProxyType
from typing import Any

import pytest
import trio
import trio.testing

import trioctx
from trioctx import (
    Context,
    background,
    current,
    merge,
    todo,
    with_cancel,
    with_timeout,
    with_value,
    with_values,
    without_cancel,
)

USER: ContextVar[str] = ContextVar("user")
LANGUAGE: ContextVar[str] = ContextVar("language", default="en")
COUNT: ContextVar[int] = ContextVar("count")


@pytest.fixture
def ann() -> Context:
    """A context, not entered, with two values."""
    return with_values(background(), {USER: "ann", COUNT: 3})


async def elsewhere(make: Callable[[], Context], *, task_status: trio.TaskStatus[Context]) -> None:
    """A block in a task of its own, until it is cancelled; it has its own ContextVars."""
    with make() as ctx:
        task_status.started(ctx)
        await trio.sleep_forever()


# --- the mapping protocol -------------------------------------------------------------------------


def test_getitem(ann: Context) -> None:
    """`ctx[VAR]` is the value."""
    assert ann[USER] == "ann"
    assert ann[COUNT] == 3


@pytest.mark.parametrize("ctx", [background(), todo(), with_value(background(), COUNT, 1)])
def test_a_missing_value_is_a_key_error(ctx: Context) -> None:
    """Also for a variable with a default: as in `contextvars.Context`."""
    with pytest.raises(KeyError) as info:
        ctx[USER]
    assert info.value.args == (USER,)
    with pytest.raises(KeyError):
        ctx[LANGUAGE]
    assert USER not in ctx


def test_get(ann: Context) -> None:
    """`ctx.get` is the value, else the default given, else None; never the variable's default."""
    assert ann.get(USER) == "ann"
    assert ann.get(USER, "nobody") == "ann"
    assert background().get(USER, "nobody") == "nobody"
    assert background().get(USER) is None
    assert background().get(LANGUAGE) is None


def test_a_value_of_none_is_there() -> None:
    """None is a value like any other."""
    var: ContextVar[str | None] = ContextVar("var")
    ctx = with_value(background(), var, None)
    assert var in ctx
    assert ctx[var] is None
    assert ctx.get(var, "default") is None
    assert len(ctx) == 1
    assert ctx.lookup("var") is None


def test_len_iteration_and_views(ann: Context) -> None:
    """Length, iteration and the three views tell the same."""
    assert len(ann) == 2
    assert isinstance(iter(ann), Iterator)
    assert set(ann) == {USER, COUNT}
    assert set(ann.keys()) == {USER, COUNT}
    assert set(ann.values()) == {"ann", 3}
    assert set(ann.items()) == {(USER, "ann"), (COUNT, 3)}
    assert dict(ann) == {USER: "ann", COUNT: 3}
    assert list(zip(ann.keys(), ann.values(), strict=True)) == list(ann.items())


def test_the_views_are_views(ann: Context) -> None:
    """They have lengths and membership, as those of `contextvars.Context`."""
    assert isinstance(ann.keys(), KeysView)
    assert isinstance(ann.values(), ValuesView)
    assert isinstance(ann.items(), ItemsView)
    assert len(ann.keys()) == len(ann.values()) == len(ann.items()) == 2
    assert ann.keys() >= {USER}
    assert "ann" in ann.values()
    assert (USER, "ann") in ann.items()


@pytest.mark.parametrize("key", ["user", 1, None, object()])
@pytest.mark.parametrize(
    "access",
    [
        lambda ctx, key: ctx[key],
        lambda ctx, key: ctx.get(key),
        lambda ctx, key: ctx.get(key, 1),
        lambda ctx, key: key in ctx,
    ],
    ids=["getitem", "get", "get with default", "in"],
)
def test_a_key_that_is_no_variable_is_a_type_error(
    access: Callable[[Any, Any], object], key: object, ann: Context
) -> None:
    """As in `contextvars.Context`, and the message shows the key."""
    with pytest.raises(TypeError):
        access(copy_context(), key)
    with pytest.raises(TypeError, match="ContextVar") as info:
        access(ann, key)
    assert repr(key) in str(info.value)


def test_it_is_a_mapping_and_immutable(ann: Context) -> None:
    """A Context counts as `collections.abc.Mapping`, and cannot be written to."""
    assert isinstance(ann, Mapping)
    for name in ("__setitem__", "__delitem__", "update", "pop", "setdefault", "clear"):
        assert not hasattr(ann, name)


def test_equality_and_hash_are_by_identity() -> None:
    """Two contexts with the same values are two keys."""
    one = with_value(background(), USER, "ann")
    two = with_value(background(), USER, "ann")
    assert one == one
    assert one != two
    as_dict: object = dict(one)
    assert one != as_dict
    assert len({one, two, one}) == 2
    assert {one: 1}[one] == 1


@pytest.mark.parametrize("ctx", [background(), todo(), with_cancel(background())])
def test_a_context_is_always_true(ctx: Context) -> None:
    """Also without values, where an empty mapping is false."""
    assert len(ctx) == 0
    assert bool(ctx) is True


def test_lookup(ann: Context) -> None:
    """`lookup` finds a variable by its name, and knows only variables that have a value."""
    assert ann.lookup("user") == "ann"
    assert ann.lookup("count") == 3
    with pytest.raises(KeyError) as info:
        ann.lookup("language")
    assert info.value.args == ("language",)


def test_lookup_of_two_variables_with_one_name() -> None:
    """One of the values is found."""
    other: ContextVar[str] = ContextVar("user")
    ctx = with_values(background(), {USER: "ann", other: "bob"})
    assert ctx.lookup("user") in {"ann", "bob"}
    assert ctx[USER] == "ann"
    assert ctx[other] == "bob"


@pytest.mark.parametrize("name", [1, None, USER, b"user"])
def test_lookup_of_something_else_than_a_name(name: Any, ann: Context) -> None:
    """A TypeError that names the parameter and shows the value."""
    with pytest.raises(TypeError, match="name") as info:
        ann.lookup(name)
    assert repr(name) in str(info.value)


# --- run ------------------------------------------------------------------------------------------


def test_run_calls_under_the_values(ann: Context) -> None:
    """`ctx.run` passes arguments on, returns the result, and leaves the caller's values alone."""

    def call(greeting: str, *, mark: str) -> str:
        return f"{greeting} {USER.get()}{mark}"

    assert ann.run(call, "hello", mark="!") == "hello ann!"
    assert USER.get(None) is None


def test_run_forgets_what_was_set(ann: Context) -> None:
    """What the function sets is seen neither by the context nor by the next call."""

    def change() -> str:
        was = USER.get()
        USER.set("bob")
        return was

    assert ann.run(change) == "ann"
    assert ann.run(change) == "ann"
    assert ann[USER] == "ann"


def test_run_may_be_nested(ann: Context) -> None:
    """Unlike that of `contextvars.Context`, which can be entered only once at a time."""
    assert ann.run(ann.run, USER.get) == "ann"


def test_run_passes_an_exception_on(ann: Context) -> None:
    """The function's error is the caller's."""
    error = OSError()

    def fail() -> None:
        raise error

    with pytest.raises(OSError) as info:
        ann.run(fail)
    assert info.value is error


def test_run_from_several_threads_at_once(ann: Context) -> None:
    """Each call gets a copy."""
    barrier = threading.Barrier(3, timeout=10)
    seen: list[str] = []

    def call() -> None:
        barrier.wait()
        seen.append(USER.get())

    threads = [threading.Thread(target=ann.run, args=(call,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["ann"] * 3


def test_run_under_a_root_has_no_values() -> None:
    """background() has none, so every variable reads as unset."""

    def call() -> str:
        USER.set("ann")
        return background().run(USER.get, "unset")

    assert copy_context().run(call) == "unset"


@pytest.mark.parametrize("fn", [None, "fn", 3])
def test_run_of_something_that_cannot_be_called(fn: Any, ann: Context) -> None:
    """A TypeError that names the parameter and shows the value."""
    with pytest.raises(TypeError, match="fn") as info:
        ann.run(fn)
    assert repr(fn) in str(info.value)


# --- before it is entered -------------------------------------------------------------------------


def test_background_has_none_even_where_variables_are_set() -> None:
    """What plain ContextVars hold is no value of a root, nor of what is derived from it."""

    def check() -> None:
        USER.set("ann")
        for ctx in (background(), todo(), with_cancel(background())):
            assert len(ctx) == 0
            assert list(ctx) == []
            assert USER not in ctx

    copy_context().run(check)


def test_before_entry_its_parents_and_its_own() -> None:
    """The nearest value wins; the parent's stay as they are."""
    one = with_value(background(), USER, "ann")
    two = with_values(one, {COUNT: 1, LANGUAGE: "de"})
    three = with_value(two, USER, "bob")
    assert dict(one) == {USER: "ann"}
    assert dict(two) == {USER: "ann", COUNT: 1, LANGUAGE: "de"}
    assert dict(three) == {USER: "bob", COUNT: 1, LANGUAGE: "de"}


@pytest.mark.parametrize("derive", [with_cancel, without_cancel, merge])
def test_every_derived_context_has_its_parents_values(
    derive: Callable[[Context], Context], ann: Context
) -> None:
    """Also those that carry none of their own."""
    ctx = derive(ann)
    assert dict(ctx) == dict(ann)
    assert ctx.run(USER.get) == "ann"


def test_a_merge_has_the_values_of_the_first(ann: Context) -> None:
    """And none of the others'."""
    other = with_values(background(), {USER: "bob", LANGUAGE: "de"})
    assert dict(merge(ann, other)) == {USER: "ann", COUNT: 3}
    assert dict(merge(other, ann)) == {USER: "bob", LANGUAGE: "de"}


def test_with_values_reads_the_mapping_at_the_call() -> None:
    """Later changes of the dict do not show."""
    given: dict[ContextVar[str], str] = {USER: "ann"}
    ctx = with_values(background(), given)
    given[USER] = "bob"
    given[LANGUAGE] = "de"
    assert dict(ctx) == {USER: "ann"}


@pytest.mark.parametrize("kind", ["context", "proxy", "empty"])
def test_with_values_takes_any_mapping(kind: str, ann: Context) -> None:
    """Another context, a read-only view of a dict, an empty one."""
    mappings: dict[str, Any] = {
        "context": ann,
        "proxy": MappingProxyType({USER: "ann", COUNT: 3}),
        "empty": {},
    }
    ctx = with_values(background(), mappings[kind])
    assert dict(ctx) == ({} if kind == "empty" else {USER: "ann", COUNT: 3})
    assert len(ctx) == len(dict(ctx))


async def test_derived_from_an_open_context(autojump_clock: trio.testing.MockClock) -> None:
    """Not entered, it has the values that stood when its parent was entered."""
    with with_value(background(), USER, "ann") as parent:
        USER.set("bob")
        child = with_cancel(parent)
        assert child[USER] == "ann"


async def test_derived_from_a_closed_context(autojump_clock: trio.testing.MockClock) -> None:
    """A closed context keeps its values and passes them on."""
    with with_value(background(), USER, "ann") as parent:
        pass
    assert parent[USER] == "ann"
    assert with_value(parent, COUNT, 1)[USER] == "ann"


@pytest.mark.parametrize("depth", [3_000])
async def test_values_at_great_depth(depth: int, autojump_clock: trio.testing.MockClock) -> None:
    """Neither deriving, nor reading, nor entering recurses."""
    ctx = with_value(background(), USER, "ann")
    for number in range(depth):
        ctx = with_value(ctx, COUNT, number)
    assert ctx[USER] == "ann"
    assert ctx[COUNT] == depth - 1
    assert len(ctx) == 2
    with with_cancel(ctx):
        assert USER.get() == "ann"
        assert COUNT.get() == depth - 1


# --- once entered ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["with", "async with"])
async def test_entered_its_values_are_in_the_variables(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    """`VAR.get()` agrees with `ctx[VAR]`, and what was there before comes back."""
    USER.set("before")
    ctx = with_values(background(), {USER: "ann", COUNT: 3})
    if how == "with":
        with ctx:
            assert (USER.get(), COUNT.get()) == ("ann", 3)
    else:
        async with ctx:
            assert (USER.get(), COUNT.get()) == ("ann", 3)
    assert USER.get() == "before"
    assert COUNT.get(None) is None


async def test_entered_it_has_what_stood_at_entry(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also what plain `VAR.set` did before; `background()` takes the ContextVars as they stand."""
    USER.set("ann")
    with with_value(background(), COUNT, 1) as ctx:
        assert ctx[USER] == "ann"
        assert ctx[COUNT] == 1
        COUNT.set(2)
        with with_cancel(background()) as inner:
            assert inner[USER] == "ann"
            assert inner[COUNT] == COUNT.get() == 2


async def test_a_later_set_does_not_change_a_context(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """`ctx[VAR]` is what stood at entry; the variable is the task's own."""
    with with_value(background(), USER, "ann") as ctx:
        USER.set("bob")
        COUNT.set(1)
        assert ctx[USER] == "ann"
        assert COUNT not in ctx
        assert ctx.run(USER.get) == "ann"
        assert USER.get() == "bob"
    assert ctx[USER] == "ann"
    assert COUNT not in ctx


async def test_an_enclosing_block_that_set_a_variable(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Under an enclosing parent what stood at entry counts, not what the parent has."""
    with with_value(background(), USER, "ann") as outer:
        with with_value(outer, USER, "bob"):
            with with_cancel(outer) as ctx:
                assert ctx[USER] == USER.get() == "bob"


async def test_contexts_between_this_one_and_the_block_around_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The values of parents that are not entered are set too, the nearest last."""
    with with_value(background(), USER, "ann") as outer:
        between = with_values(with_value(outer, USER, "bob"), {COUNT: 1, LANGUAGE: "de"})
        with with_timeout(with_value(with_cancel(between), COUNT, 2), 5) as ctx:
            assert dict(ctx).items() >= {USER: "bob", COUNT: 2, LANGUAGE: "de"}.items()
            assert (USER.get(), COUNT.get(), LANGUAGE.get()) == ("bob", 2, "de")
        assert (USER.get(), COUNT.get(None), LANGUAGE.get()) == ("ann", None, "en")


async def test_a_parent_entered_further_out(autojump_clock: trio.testing.MockClock) -> None:
    """Values of contexts that are entered already are not set again."""
    with with_value(background(), USER, "ann") as outer:
        between = with_value(outer, COUNT, 1)
        with between:
            COUNT.set(2)
            with with_value(between, LANGUAGE, "de") as ctx:
                assert (USER.get(), COUNT.get(), LANGUAGE.get()) == ("ann", 2, "de")
                assert ctx[COUNT] == 2
            assert COUNT.get() == 2


@pytest.mark.parametrize("end", ["error", "cancelled", "return", "base exception"])
@pytest.mark.parametrize("make", ["value", "scope", "nursery"])
async def test_leaving_restores_however_the_block_ends(
    make: str, end: str, autojump_clock: trio.testing.MockClock
) -> None:
    """What the block set is taken away, on every way out."""
    USER.set("before")

    class Stop(BaseException):
        pass

    async def finish(ctx: Context) -> None:
        assert USER.get() == "ann"
        if end == "error":
            raise OSError
        if end == "base exception":
            raise Stop
        if end == "cancelled":
            scope.cancel()
            await trio.sleep_forever()

    with trio.CancelScope() as scope:
        try:
            if make == "nursery":
                async with with_value(background(), USER, "ann") as ctx:
                    await finish(ctx)
            elif make == "scope":
                with with_cancel(with_value(background(), USER, "ann")) as ctx:
                    await finish(ctx)
            else:
                with with_value(background(), USER, "ann") as ctx:
                    await finish(ctx)
        except (OSError, Stop):
            pass
    assert USER.get() == "before"
    assert ctx.state == "closed"


async def test_leaving_restores_over_a_plain_set(autojump_clock: trio.testing.MockClock) -> None:
    """A `VAR.set` in the block is undone for the variable that the block set, as by `reset`."""
    USER.set("before")
    with with_value(background(), USER, "ann"):
        USER.set("bob")
        LANGUAGE.set("de")
    assert USER.get() == "before"
    assert LANGUAGE.get() == "de"


async def test_values_left_out_of_order(autojump_clock: trio.testing.MockClock) -> None:
    """Each block resets its variable to what was there when it was entered."""
    one, two = with_value(background(), USER, "one"), with_value(background(), USER, "two")
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert USER.get(None) is None
    two.__exit__(None, None, None)
    assert USER.get() == "one"


# --- under a linked parent ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["with", "async with"])
@pytest.mark.parametrize("parent_is", ["open elsewhere", "new", "new under open elsewhere"])
async def test_a_linked_parents_values_are_installed_and_taken_away(
    parent_is: str, how: str, autojump_clock: trio.testing.MockClock
) -> None:
    """In the block `VAR.get()` agrees with `ctx[VAR]`; afterwards all is as before."""

    def make() -> Context:
        return with_cancel(with_values(background(), {USER: "ann", COUNT: 3}))

    async with trio.open_nursery() as nursery:
        parent = make()
        if parent_is != "new":
            parent = open_one = await nursery.start(elsewhere, make)
            if parent_is != "open elsewhere":
                parent = with_cancel(open_one)
        USER.set("here")
        LANGUAGE.set("de")
        before = copy_context()
        ctx = with_cancel(parent)
        if how == "with":
            with ctx:
                assert_agrees(ctx)
        else:
            async with ctx:
                assert_agrees(ctx)
        assert_same(copy_context(), before)
        nursery.cancel_scope.cancel()


def assert_agrees(ctx: Context) -> None:
    """The variables read as the context says."""
    assert (ctx[USER], ctx[COUNT]) == ("ann", 3)
    for var in ctx:
        assert var.get() == ctx[var]
    # a variable that the linked parent lacks keeps what the enclosing block gave it
    assert LANGUAGE.get() == "de"
    assert ctx[LANGUAGE] == "de"


def assert_same(one: contextvars.Context, two: contextvars.Context) -> None:
    """The test's own variables read the same in both."""
    for var in (USER, COUNT, LANGUAGE):
        assert one.get(var) == two.get(var)


async def test_a_linked_parent_takes_no_part_of_an_earlier_caller(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Own values stand above the linked parent's, which stand above those of the block around."""
    async with trio.open_nursery() as nursery:
        linked = await nursery.start(
            elsewhere, lambda: with_cancel(with_values(background(), {USER: "ann", COUNT: 3}))
        )
        with with_values(background(), {USER: "bob", LANGUAGE: "de"}) as outer:
            with with_value(linked, COUNT, 4) as ctx:
                assert (USER.get(), COUNT.get(), LANGUAGE.get()) == ("ann", 4, "de")
                assert (ctx[USER], ctx[COUNT], ctx[LANGUAGE]) == ("ann", 4, "de")
            assert (USER.get(), COUNT.get(None), LANGUAGE.get()) == ("bob", None, "de")
            assert outer[USER] == "bob"
        nursery.cancel_scope.cancel()


async def test_a_linked_parents_plain_sets_do_not_travel(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A context's values are those that stood at its entry, whatever its task set since."""

    async def set_later(*, task_status: trio.TaskStatus[Context]) -> None:
        with with_cancel(with_value(background(), USER, "ann")) as ctx:
            USER.set("bob")
            task_status.started(ctx)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        linked = await nursery.start(set_later)
        with with_cancel(linked) as ctx:
            assert USER.get() == ctx[USER] == "ann"
        nursery.cancel_scope.cancel()


async def test_a_merge_installs_the_values_of_the_first_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Linked or enclosing, the others give none."""
    other = with_cancel(with_values(background(), {USER: "bob", COUNT: 9}))
    with with_value(background(), USER, "ann") as outer:
        with merge(outer, other) as ctx:
            assert (USER.get(), COUNT.get(None)) == ("ann", None)
            assert ctx[USER] == "ann"
            assert COUNT not in ctx
        with merge(other, outer) as ctx:
            assert (USER.get(), COUNT.get()) == ("bob", 9)
            assert ctx[USER] == "bob"
        assert (USER.get(), COUNT.get(None)) == ("ann", None)


async def test_without_cancel_passes_values(autojump_clock: trio.testing.MockClock) -> None:
    """In the block of the cancelled context they come from, and in another task."""
    seen: list[str] = []

    async def in_another_task(ctx: Context) -> None:
        with without_cancel(ctx):
            seen.append(USER.get())

    async with with_value(background(), USER, "ann") as ctx:
        async with trio.open_nursery() as nursery:
            ctx.cancel()
            with with_timeout(without_cancel(ctx), 5):
                await trio.sleep(1)
                seen.append(USER.get())
            nursery.start_soon(in_another_task, ctx)
    assert seen == ["ann", "ann"]


async def test_todo_takes_the_variables_as_they_stand(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As background() does."""
    USER.set("ann")
    with with_cancel(todo()) as ctx:
        assert USER.get() == ctx[USER] == "ann"


# --- in tasks -------------------------------------------------------------------------------------


async def started_by(ctx: Context, method: str) -> tuple[str | None, int | None, Context]:
    """What a task that `ctx` starts sees: the variables, and where it is."""
    seen: list[tuple[str | None, int | None, Context]] = []
    done = trio.Event()

    async def task(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        seen.append((USER.get(None), COUNT.get(None), current()))
        done.set()

    if method == "start":
        await ctx.start(task)
    elif method == "start_soon":
        ctx.start_soon(task)
    else:
        ctx.start_service(task)
    await done.wait()
    return seen[0]


METHODS = pytest.mark.parametrize("method", ["start_soon", "start", "start_service"])


@METHODS
async def test_a_task_has_the_values_of_its_context(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Started from the context's own block, plain sets included, as in Trio."""
    async with with_value(background(), USER, "ann") as ctx:
        assert await started_by(ctx, method) == ("ann", None, ctx)
        COUNT.set(1)
        assert await started_by(ctx, method) == ("ann", 1, ctx)
        USER.set("bob")
        assert await started_by(ctx, method) == ("bob", 1, ctx)


@METHODS
async def test_started_from_an_inner_block(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Not what the inner contexts installed, but what plain `VAR.set` did there.

    `start` cannot unset what ctx lacks: Trio copies the caller's ContextVars for it.
    """
    async with with_value(background(), USER, "ann") as ctx:
        with with_value(ctx, USER, "bob") as inner:
            assert await started_by(ctx, method) == ("ann", None, ctx)
            with with_value(inner, COUNT, 1):
                lacking = 1 if method == "start" else None
                assert await started_by(ctx, method) == ("ann", lacking, ctx)
            COUNT.set(2)
            assert await started_by(ctx, method) == ("ann", 2, ctx)


@METHODS
async def test_started_from_a_task_inside(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A child of an inner block inherits what that installed; a task it starts outside does not."""
    async with with_value(background(), USER, "ann") as ctx:
        async with with_value(ctx, USER, "bob") as inner:

            async def task() -> None:
                COUNT.set(5)
                assert USER.get() == "bob"
                assert await started_by(ctx, method) == ("ann", 5, ctx)

            inner.start_soon(task)


@METHODS
async def test_started_from_a_foreign_task(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Only the context's own values; with `start` the caller's show where ctx has none."""
    lacking = 7 if method == "start" else None
    async with trio.open_nursery() as nursery:
        async with with_value(background(), USER, "ann") as ctx:
            done = trio.Event()

            async def foreign() -> None:
                USER.set("stranger")
                COUNT.set(7)
                assert await started_by(ctx, method) == ("ann", lacking, ctx)
                with with_value(background(), USER, "other"):
                    assert await started_by(ctx, method) == ("ann", lacking, ctx)
                done.set()

            nursery.start_soon(foreign)
            await done.wait()


@METHODS
@pytest.mark.parametrize("spawner", ["an inner block", "elsewhere"])
async def test_started_from_a_task_in_the_block_with_foreign_variables(
    method: str, spawner: str, autojump_clock: trio.testing.MockClock
) -> None:
    """A plain start in `ctx.nursery` brings the spawner's in; children of ctx have ctx's."""
    async with trio.open_nursery() as nursery:
        async with with_value(background(), USER, "ann") as ctx:
            done = trio.Event()

            async def inside() -> None:
                assert current() is ctx
                assert await started_by(ctx, method) == ("ann", None, ctx)
                done.set()

            if spawner == "elsewhere":

                async def start_it() -> None:
                    with with_value(background(), USER, "stranger"):
                        ctx.nursery.start_soon(inside)

                nursery.start_soon(start_it)
            else:
                with with_value(ctx, USER, "bob"):
                    ctx.nursery.start_soon(inside)
            await done.wait()


@METHODS
async def test_a_task_changes_nothing_for_others(
    method: str, autojump_clock: trio.testing.MockClock
) -> None:
    """What a child sets stays in the child."""
    done = trio.Event()

    async def change(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        USER.set("bob")
        task_status.started()
        done.set()

    async with with_value(background(), USER, "ann") as ctx:
        with with_value(ctx, COUNT, 1):
            await getattr_start(ctx, method, change)
        await done.wait()
        assert USER.get() == ctx[USER] == "ann"
        assert await started_by(ctx, method) == ("ann", None, ctx)


async def getattr_start(ctx: Context, method: str, fn: Callable[..., Any]) -> None:
    if method == "start":
        await ctx.start(fn)
    else:
        getattr(ctx, method)(fn)


async def test_run_in_a_block_sees_the_values_of_the_context(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """`ctx.run` is by the context, also from deep inside another."""
    with with_value(background(), USER, "ann") as ctx:
        with with_value(ctx, USER, "bob"):
            assert ctx.run(USER.get) == "ann"
            assert USER.get() == "bob"


# --- what trioctx keeps for itself ----------------------------------------------------------------


@pytest.mark.parametrize("how", ["with", "async with"])
async def test_the_librarys_own_variables_are_hidden(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Whatever trioctx stores in ContextVars is not among a context's values."""
    before = set(copy_context())
    outer = with_cancel(background())
    ctx = with_value(with_cancel(outer), USER, "ann")
    if how == "with":
        with outer, ctx:
            private = set(copy_context()) - before - {USER}
    else:
        async with outer, ctx:
            private = set(copy_context()) - before - {USER}
    assert private
    every = [ctx, outer, with_cancel(ctx), with_value(outer, COUNT, 1)]
    every.append(with_values(outer, dict(ctx.run(copy_context).items())))
    for node in every:
        assert private.isdisjoint(node)
        assert private.isdisjoint(node.keys())
        assert private.isdisjoint(dict(node.items()))
        assert len(node) == len(list(node)) == len(node.values())
        for var in private:
            assert var not in node
            assert node.get(var) is None
            with pytest.raises(KeyError):
                node[var]
            with pytest.raises(KeyError):
                node.lookup(var.name)


async def test_leaving_a_block_leaves_no_variable_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nothing that trioctx set for a block stays set to a context."""
    with with_cancel(with_value(background(), USER, "ann")):
        pass
    async with with_cancel(background()):
        pass
    values = list(copy_context().values())
    assert not any(isinstance(value, Context) for value in values)
    assert trioctx.current() is background()


# --- a value context and Trio ---------------------------------------------------------------------


async def test_a_value_block_under_an_enclosing_parent_has_no_scope(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It sets variables and nothing else, so it cannot be cancelled on its own."""
    with with_cancel(background()) as outer, with_value(outer, USER, "ann") as ctx:
        with pytest.raises(RuntimeError, match="with_cancel"):
            ctx.cancel()
        with pytest.raises(RuntimeError, match="with_cancel"):
            ctx.stop(grace=None)
        with pytest.raises(RuntimeError, match="with_cancel"):
            ctx.cancel_scope.cancel()


def test_a_value_context_that_is_not_entered_cannot_be_cancelled() -> None:
    """It stands for its parent; the error says what to make it from."""
    ctx = with_value(background(), USER, "ann")
    with pytest.raises(RuntimeError, match="with_cancel"):
        ctx.cancel()
    with pytest.raises(RuntimeError, match="with_cancel"):
        ctx.stop(grace=1)


@pytest.mark.parametrize("how", ["linked", "async with"])
async def test_a_value_block_with_a_scope_can_be_cancelled(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Under a linked parent, or with `async with`, it has a scope like any other."""
    if how == "linked":
        with with_value(with_cancel(background()), USER, "ann") as ctx:
            ctx.cancel("enough")
            await trio.sleep_forever()
    else:
        async with with_value(background(), USER, "ann") as ctx:
            ctx.cancel("enough")
            await trio.sleep_forever()
    assert ctx.cancel_scope.cancelled_caught
    assert str(ctx.cause) == "enough"


async def test_a_value_block_closed_ignores_cancel(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """`cancel()` and `stop()` on a closed context have no effect, also on one that had no scope."""
    with with_value(background(), USER, "ann") as ctx:
        pass
    ctx.cancel()
    ctx.stop(grace=1)
    assert ctx.err is None


async def test_a_value_context_not_entered_passes_everything_through(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Deadline, end and cause of its parent are its own, and of what is derived from it."""
    parent = with_timeout(background(), 5)
    ctx = with_value(parent, USER, "ann")
    child = with_cancel(ctx)
    assert ctx.deadline == child.deadline == parent.deadline
    error = OSError()
    parent.cancel(error)
    for node in (ctx, child):
        assert node.cause is error
        assert node.err is not None
        assert node.err.context is parent


async def test_a_value_block_whose_body_fails_has_err(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A block without a scope knows how it ended, like any context."""
    error = OSError()
    with pytest.raises(OSError):
        with with_value(background(), USER, "ann") as ctx:
            raise error
    assert ctx.cause is error
    assert isinstance(ctx.err, trioctx.ContextCancelled)
