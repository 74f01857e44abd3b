"""Keep the list of Go's tests in tests/README.md and the Go suite in step."""

import ast
import re
from collections import Counter
from pathlib import Path

import attrs
import pytest

TESTS = Path(__file__).parent
README = TESTS / "README.md"
COUNTERPART = re.compile(r"`tests/(test_go_\w+\.py)::(test_\w+)`")

# How many tests and examples each Go test file has: a row lost from the list is noticed here.
GO_FILES = {
    "golang/go, `src/context/context_test.go`": 4,
    "golang/go, `src/context/x_test.go`": 27,
    "golang/go, `src/context/afterfunc_test.go`": 6,
    "golang/go, `src/context/net_test.go`": 1,
    "golang/go, `src/context/example_test.go`": 7,
    "golang/sync, `errgroup/errgroup_test.go`": 7,
    "golang/sync, `errgroup/errgroup_example_md5all_test.go`": 1,
}


@attrs.frozen
class Row:
    """One line of the list: a test of Go, its counterparts here, and what differs."""

    go_file: str
    go_test: str
    counterpart: str
    remark: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        return COUNTERPART.findall(self.counterpart)


def table_rows() -> list[Row]:
    """Read the rows of all tables under a heading that names a Go test file."""
    rows = []
    heading = ""
    for line in README.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif heading in GO_FILES and line.startswith("|"):
            go_test, counterpart, remark = (cell.strip() for cell in line.strip("|").split("|"))
            if go_test != "Go test" and not set(go_test) <= set("- "):
                rows.append(Row(heading, go_test, counterpart, remark))
    return rows


def extra_tests() -> list[tuple[str, str]]:
    """Read the tests that are listed as going beyond Go's."""
    _, _, text = README.read_text(encoding="utf-8").partition("### Extra\n")
    return COUNTERPART.findall(text)


def docstrings() -> dict[tuple[str, str], str]:
    """Find the test functions in the files of the Go suite, each with its docstring."""
    return {
        (path.name, node.name): ast.get_docstring(node) or ""
        for path in TESTS.glob("test_go_*.py")
        if path.name != Path(__file__).name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_")
    }


ROWS = table_rows()
WRITTEN = docstrings()


def test_every_go_file_is_listed_in_full() -> None:
    """No test of a Go file has dropped out of the list."""
    assert Counter(row.go_file for row in ROWS) == Counter(GO_FILES)


def test_no_go_test_is_listed_twice() -> None:
    """Each test of Go has one row."""
    listed = Counter(row.go_test for row in ROWS)
    assert [name for name, count in listed.items() if count > 1] == []
    assert all(re.fullmatch(r"(Test|Example)\w+", name) for name in listed)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.go_test)
def test_a_listed_counterpart_exists(row: Row) -> None:
    """A row names tests that are there, or gives a reason why there is none."""
    if row.counterpart == "–":
        assert row.remark
        return
    assert row.tests
    assert "<br>".join(f"`tests/{file}::{name}`" for file, name in row.tests) == row.counterpart
    assert set(row.tests) <= set(WRITTEN)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.go_test)
def test_a_counterpart_names_its_go_test(row: Row) -> None:
    """The docstring of a counterpart begins with the name of the Go test."""
    for test in row.tests:
        assert WRITTEN[test].startswith(f"{row.go_test}: ")


def test_every_test_of_the_go_suite_is_listed_once() -> None:
    """A test in these files is the counterpart of one Go test, or listed as extra."""
    listed = Counter([test for row in ROWS for test in row.tests] + extra_tests())
    assert set(listed) == set(WRITTEN)
    assert [test for test, count in listed.items() if count > 1] == []
