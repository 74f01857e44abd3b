"""The documentation is true: its examples run and print what it says, its links lead somewhere."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from trio.testing import MockClock

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

# A Python block, and the text block that may follow it: what it prints.
EXAMPLE = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\]\((?!https?:|mailto:)(?P<target>[^)#]*)(?:#[^)]*)?\)")


class Example(NamedTuple):
    page: Path
    line: int
    code: str
    output: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def examples(page: Path) -> list[Example]:
    text = page.read_text(encoding="utf-8")
    return [
        Example(
            page, text.count("\n", 0, match.start("code")), match["code"], match["output"] or ""
        )
        for match in EXAMPLE.finditer(text)
    ]


@pytest.fixture
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ``trio.run`` of the test has a clock of its own that jumps over the waiting."""
    real_run = trio.run

    def run(async_fn: Any, *args: Any, **options: Any) -> Any:
        return real_run(async_fn, *args, **{"clock": MockClock(autojump_threshold=0), **options})

    monkeypatch.setattr(trio, "run", run)


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("example", [e for page in PAGES for e in examples(page)], ids=str)
def test_an_example_runs_and_prints_what_the_page_says(
    example: Example, capsys: pytest.CaptureFixture[str]
) -> None:
    """The blank lines in front make a traceback name the line of the page."""
    code = compile("\n" * example.line + example.code, str(example.page), "exec")
    exec(code, {"__name__": "__main__"})
    assert capsys.readouterr().out == example.output


def test_an_example_is_found_with_its_output(tmp_path: Path) -> None:
    """A page's blocks are told apart: with output, without, and in other languages."""
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n"
        "```sh\nls\n```\n\n```python\nx = 2\n```\n\nwords\n\n```text\nnot of the block\n```\n",
        encoding="utf-8",
    )
    assert [(e.line, e.code, e.output) for e in examples(page)] == [
        (3, "print(1)\n", "1\n"),
        (15, "x = 2\n", ""),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_leads_to_a_file(page: Path) -> None:
    """Links inside the tree; what is on the network is not asked for."""
    targets = {match["target"] for match in LINK.finditer(page.read_text(encoding="utf-8"))}
    assert [t for t in sorted(targets) if t and not (page.parent / t).exists()] == []


def test_the_index_names_each_page() -> None:
    """No page of docs/ is an orphan."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in PAGES if page.parent.name == "docs"} - {"index.md"}
    assert {name for name in pages if f"({name})" not in index} == set()
