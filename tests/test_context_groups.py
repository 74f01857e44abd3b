"""Errors of a block: bare, or in an exception group."""

from __future__ import annotations

import pytest
import trio
from blocks import Block, Body, Oops, both_forms, in_async_with, nothing

import trioctx


async def fail(error: Exception) -> None:
    raise error


async def start_a_task(ctx: trioctx.Context) -> None:
    ctx.start_soon(trio.lowlevel.checkpoint)


async def start_and_wait(ctx: trioctx.Context) -> None:
    async def child(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()

    await ctx.start(child)


async def start_a_service(ctx: trioctx.Context) -> None:
    ctx.start_service(trio.sleep_forever)


async def read_the_nursery(ctx: trioctx.Context) -> None:
    assert ctx.nursery is not None


async def read_the_scope(ctx: trioctx.Context) -> None:
    assert ctx.cancel_scope is not None


async def derive_from_it(ctx: trioctx.Context) -> None:
    async with trioctx.with_cancel(ctx) as inner:
        inner.start_soon(trio.lowlevel.checkpoint)


GROUPING: list[Body] = [start_a_task, start_and_wait, start_a_service, read_the_nursery]
BARE: list[Body] = [nothing, read_the_scope, derive_from_it]
strictness = pytest.mark.parametrize(
    "strict",
    [
        True,
        pytest.param(
            False, marks=pytest.mark.filterwarnings("ignore::trio.TrioDeprecationWarning")
        ),
    ],
)


@strictness
@pytest.mark.parametrize("before", GROUPING)
def test_with_tasks_the_error_of_the_body_is_in_a_group(before: Body, strict: bool) -> None:
    """Always, as in Trio, once a task was started or the nursery read; in non-strict runs too."""
    error = Oops("in a group")

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with trioctx.with_cancel(trioctx.background()) as ctx:
                await before(ctx)
                raise error
        assert caught.value.exceptions == (error,)
        assert caught.value.__context__ is None
        assert ctx.cause is error

    trio.run(main, strict_exception_groups=strict)


@strictness
@pytest.mark.parametrize("before", BARE)
def test_without_tasks_the_error_of_the_body_is_bare(before: Body, strict: bool) -> None:
    """No task was started in this very context and its nursery was not read."""
    error = Oops("bare")

    async def main() -> None:
        with pytest.raises(Oops) as caught:
            async with trioctx.with_cancel(trioctx.background()) as ctx:
                await before(ctx)
                raise error
        assert caught.value is error
        assert error.__context__ is None
        assert ctx.cause is error

    trio.run(main, strict_exception_groups=strict)


@pytest.mark.parametrize("before", BARE)
async def test_a_with_block_raises_bare_errors(before: Body) -> None:
    """A scope groups nothing."""
    error = Oops("bare")
    with pytest.raises(Oops) as caught:
        with trioctx.with_cancel(trioctx.background()) as ctx:
            await before(ctx)
            raise error
    assert caught.value is error


@strictness
def test_the_error_of_a_child_is_in_a_group(strict: bool) -> None:
    """One child, one error, one group."""
    error = Oops("in a group")

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with trioctx.with_cancel(trioctx.background()) as ctx:
                ctx.start_soon(fail, error)
        assert caught.value.exceptions == (error,)
        assert caught.value.__context__ is None

    trio.run(main, strict_exception_groups=strict)


async def test_the_error_of_a_plain_child_is_in_a_group_and_is_the_cause() -> None:
    """A task started by ctx.nursery.start_soon is a child all the same."""
    error = Oops("in a group")
    with pytest.raises(ExceptionGroup) as caught:
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            ctx.nursery.start_soon(fail, error)
            await trio.sleep_forever()
    assert caught.value.exceptions == (error,)
    assert ctx.cause is error


def shape(exc: BaseException) -> object:
    """The group with its leaves; Trio copies the groups around them."""
    if isinstance(exc, BaseExceptionGroup):
        return type(exc), exc.message, [shape(one) for one in exc.exceptions]
    return exc


@pytest.mark.parametrize("before", [*GROUPING, *BARE])
@both_forms
async def test_a_group_of_the_body_is_not_wrapped_again(block: Block, before: Body) -> None:
    """The body's own group comes out as it is; the first leaf is the cause."""
    error = Oops("in a group")
    group = ExceptionGroup("mine", [ExceptionGroup("deeper", [error]), ValueError()])

    async def body(ctx: trioctx.Context) -> None:
        if block is in_async_with:
            await before(ctx)
        raise group

    ctx = trioctx.with_cancel(trioctx.background())
    with pytest.raises(ExceptionGroup) as caught:
        await block(ctx, body)
    assert shape(caught.value) == shape(group)
    assert caught.value.__context__ is None
    assert ctx.cause is error


@both_forms
async def test_without_tasks_a_group_of_the_body_is_the_very_object(block: Block) -> None:
    """The bare error, also where that is a group of a class of its own."""

    class Mine(ExceptionGroup[Exception]):
        pass

    group = Mine("mine", [Oops()])

    async def body(ctx: trioctx.Context) -> None:
        raise group

    with pytest.raises(ExceptionGroup) as caught:
        await block(trioctx.with_cancel(trioctx.background()), body)
    assert caught.value is group


async def test_the_group_of_the_body_stands_beside_the_error_of_a_child() -> None:
    """With an error of a child, Trio's group holds both."""
    group = ExceptionGroup("mine", [Oops("body")])
    error = Oops("child")

    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    with pytest.raises(ExceptionGroup) as caught:
        async with trioctx.with_cancel(trioctx.background()) as ctx:
            ctx.start_soon(child)
            await trio.lowlevel.checkpoint()
            raise group
    assert [shape(one) for one in caught.value.exceptions] == [shape(group), error]
    assert ctx.cause is group.exceptions[0]


async def test_a_cancelled_group_of_the_body_is_quiet() -> None:
    """A nursery in the body that was cut off by the context's own end leaves nothing."""
    async with trioctx.with_cancel(trioctx.background()) as ctx:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
            ctx.cancel()
            await trio.sleep_forever()
    assert ctx.cancelled
