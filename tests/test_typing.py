"""What a type checker says: yes to `typing_examples.py`, no to what would fail when run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import trioctx

PACKAGE = Path(trioctx.__file__).parent
EXAMPLES = Path(__file__).with_name("typing_examples.py")

needs_mypy = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="mypy is not installed"
)

PREAMBLE = """
from contextvars import ContextVar
import trio
import trioctx
from trioctx import Context

NUMBER: ContextVar[int] = ContextVar("NUMBER")

async def fetch(number: int, text: str) -> float:
    return 0.0

def both(number: int, text: str) -> float:
    return 0.0

async def use(ctx: Context) -> None:
"""

# What must pass, beside what is in typing_examples.py.
RIGHT = [
    "trioctx.with_values(ctx, ctx)",
    "trioctx.with_values(ctx, {NUMBER: 1, **dict(ctx)})",
]

# What must not pass.
WRONG = [
    "ctx.start_soon(fetch, 1)",
    "ctx.start_soon(fetch, 'x', 1)",
    "ctx.start_soon(fetch, 1, 'x', 2)",
    "ctx.start_soon(fetch(1, 'x'))",
    "ctx.start_soon(both, 1, 'x')",
    "ctx.start_service(fetch, 1)",
    "ctx.start_service(both, 1, 'x')",
    "await ctx.start(both)",
    "await ctx.run_in_thread(both, 1)",
    "await ctx.run_in_thread(both, 'x', 1)",
    "ctx.run(both, 1)",
    "ctx.run(both, 'x', 1)",
    "trioctx.after_func(ctx, both, 1)",
    "text: str = ctx[NUMBER]",
    "number: int = ctx.get(NUMBER)",
    "text: str = ctx.get(NUMBER, 0)",
    "ctx['NUMBER']",
    "trioctx.with_value(ctx, NUMBER, 'x')",
    "trioctx.with_value(ctx, 'NUMBER', 1)",
    "trioctx.with_values(ctx, {'NUMBER': 1})",
    "trioctx.with_timeout(ctx, '1')",
    "trioctx.with_timeout(1, ctx)",
    "trioctx.with_cancel(None)",
    "trioctx.with_cancel(ctx, 'name')",
    "ctx.stop('x')",
    "ctx.stop('x', 5)",
    "ctx.cancel(5)",
    "ctx.cancel(OSError)",
    "ctx.name = 'x'",
    "ctx.deadline = 1",
    "ctx.wait_done()",
    "trioctx.merge()",
]


def mypy(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy strictly, with nothing but what is given."""
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_package_is_marked_as_typed() -> None:
    """Type checkers read the annotations of packages with this file only (PEP 561)."""
    assert (PACKAGE / "py.typed").is_file()


@needs_mypy
def test_the_examples_are_what_a_type_checker_infers() -> None:
    """Every `assert_type` in `typing_examples.py` holds."""
    done = mypy("--config-file=", str(EXAMPLES), cwd=PACKAGE.parent)
    assert (done.stdout, done.returncode) == ("", 0)


def errors_in(lines: list[str], tmp_path: Path) -> list[str]:
    """What mypy says of each line, in one run; "" where it has nothing to say."""
    snippet = tmp_path / "snippet.py"
    # each in a function of its own, so that names may be used again
    body = "".join(
        f"    async def case_{n}() -> None:\n        {lines[n]}\n" for n in range(len(lines))
    )
    snippet.write_text(PREAMBLE + body, encoding="utf-8")
    first = PREAMBLE.count("\n") + 2
    done = mypy(
        "--config-file=", "--enable-error-code=unused-coroutine", str(snippet), cwd=PACKAGE.parent
    )
    said = [""] * len(lines)
    for message in done.stdout.splitlines():
        place, error, text = message.partition(": error: ")
        if error:
            index, odd = divmod(int(place.rpartition(":")[2]) - first, 2)
            assert not odd, message
            said[index] += text
    return said


@needs_mypy
def test_what_is_right_passes(tmp_path: Path) -> None:
    """What the documentation of a function allows."""
    said = errors_in(RIGHT, tmp_path)
    assert [(line, text) for line, text in zip(RIGHT, said, strict=True) if text] == []


@needs_mypy
def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    """Wrong arguments are found before anything runs, and for no other reason."""
    said = errors_in(WRONG, tmp_path)
    assert [line for line, text in zip(WRONG, said, strict=True) if not text] == []
    for text in said:
        assert not any(code in text for code in ("[syntax]", "[name-defined]", "[attr-defined]"))
