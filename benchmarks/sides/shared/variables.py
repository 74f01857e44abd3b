"""Values as every peer in Python passes them on: by contextvars, which no block undoes."""

from contextvars import ContextVar, Token
from time import perf_counter
from typing import Any

from benchmarks.sides import Figures, Work, expect

from .cost import each
from .memory import NOTHING, memory

VAR: ContextVar[str] = ContextVar("VAR", default="unset")
OTHER: ContextVar[str] = ContextVar("OTHER", default="unset")
THIRD: ContextVar[str] = ContextVar("THIRD", default="unset")


async def with_value(size: int) -> Figures:
    began = perf_counter()
    for _ in range(size):
        token = VAR.set("set")
        try:
            pass
        finally:
            VAR.reset(token)
    return each(began, size)


async def with_values(size: int) -> Figures:
    began = perf_counter()
    for _ in range(size):
        first, second, third = VAR.set("set"), OTHER.set("set"), THIRD.set("set")
        try:
            pass
        finally:
            THIRD.reset(third)
            OTHER.reset(second)
            VAR.reset(first)
    return each(began, size)


async def current(size: int) -> Figures:
    get = VAR.get
    began = perf_counter()
    for _ in range(size):
        get()
    return each(began, size)


async def value(size: int, depth: int) -> Figures:
    tokens = [VAR.set("set"), *(OTHER.set("other") for _ in range(depth - 1))]
    get = VAR.get
    began = perf_counter()
    for _ in range(size):
        get()
    figures = each(began, size)
    for token in reversed(tokens):
        token.var.reset(token)
    return figures


async def check(**args: object) -> None:
    token = VAR.set("set")
    try:
        expect("the variable in the block", VAR.get(), "set")
    finally:
        VAR.reset(token)
    expect("the variable after it", VAR.get(), "unset")


def memory_with_value() -> Work:
    tokens: list[Token[str]] = []

    def block(around: Any) -> Any:
        tokens.append(VAR.set("set"))
        return NOTHING

    def undo() -> None:
        while tokens:
            VAR.reset(tokens.pop())

    return memory("a token of ContextVar.set", lambda: NOTHING, block, check, undo=undo)


def works() -> dict[str, Work]:
    return {
        "with_value": Work("ContextVar.set, reset", with_value, check),
        "with_values": Work("ContextVar.set, reset, three", with_values, check),
        "current": Work("ContextVar.get()", current, check),
        "value": Work("ContextVar.get()", value, check),
    }
