"""The modules import in one direction only, from public Trio, and stay small."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trioctx

PACKAGE = Path(trioctx.__file__).parent

# From the bottom to the top: each may import what stands before it.
ORDER = [
    "_errors",
    "_checks",
    "_clock",
    "_node",
    "_values",
    "_nesting",
    "_links",
    "_ends",
    "_lineage",
    "_stop",
    "_tasks",
    "_threads",
    "_place",
    "_outcome",
    "_context",
    "_derive",
    "_after",
    "_signals",
    "__init__",
]
# Written against the public API, as users would; `__main__` on top of them.
OUTSIDE = [
    "testing",
    "servers/__init__",
    "servers/_http",
    "servers/_messages",
    "servers/_nowait",
    "servers/_turn",
    "servers/_peers",
    "servers/_tcp",
    "servers/_unix",
    "servers/echo",
    "servers/hello",
    "servers/http",
]
ALL = [*ORDER, *OUTSIDE, "__main__"]

MOST_LINES = 400

every_module = pytest.mark.parametrize("module", ALL)


def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def for_types_only(node: ast.AST) -> bool:
    """Whether `node` is an `if TYPE_CHECKING:`."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run, also those in functions."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and for_types_only(child):
            for other in child.orelse:
                yield from walk(other)
        else:
            yield from walk(child)


def imports(module: str) -> Iterator[str]:
    """What `module` imports, with its full name: `trioctx._links.Watch`, `trio.lowlevel`."""
    package = ["trioctx", *module.split("/")[:-1]]
    for node in walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def module_of(name: str) -> str | None:
    """The module of the package that an imported name stands for or comes from."""
    parts = name.split(".")
    if parts[0] != "trioctx":
        return None
    for length in range(len(parts) - 1, 0, -1):
        path = "/".join(parts[1 : length + 1])
        if path in ALL:
            return path
        if f"{path}/__init__" in ALL:
            return f"{path}/__init__"
    return "__init__"


def test_every_module_has_its_place() -> None:
    """A new file has to be put into the order above."""
    found = {str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.rglob("*.py")}
    assert {name.replace("\\", "/") for name in found} == set(ALL)


@pytest.mark.parametrize("module", ORDER)
def test_the_core_imports_downward(module: str) -> None:
    """From modules further down only, wherever in the file the import stands."""
    used = {name for name in map(module_of, imports(module)) if name is not None}
    assert used <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("module", [*OUTSIDE, "__main__"])
def test_servers_and_command_line_use_what_users_have(module: str) -> None:
    """Public names of `trioctx`; within the servers their own modules, and nothing above them."""
    for name in imports(module):
        used = module_of(name)
        if used == "__init__":
            assert name == "trioctx" or name.removeprefix("trioctx.") in trioctx.__all__
        elif used is not None:
            assert used in OUTSIDE
            assert module == "__main__" or used not in {"servers/__init__", module}


def test_servers_import_in_one_direction() -> None:
    """No circle among the modules of the servers."""
    uses = {
        module: {name for name in map(module_of, imports(module)) if name in OUTSIDE}
        for module in OUTSIDE
    }
    while uses:
        free = [module for module, used in uses.items() if not used & uses.keys()]
        assert free, uses
        for module in free:
            del uses[module]


@pytest.mark.parametrize("module", [*OUTSIDE, "__main__"])
def test_no_private_attribute_of_the_core_is_read(module: str) -> None:
    """What begins with an underscore belongs to `self`, or is not looked at."""
    for node in walk(tree(module)):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            assert isinstance(node.value, ast.Name)
            assert node.value.id == "self"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@every_module
def test_only_public_trio_is_used(module: str) -> None:
    """Nothing from `trio._core`, no private name of Trio, no attribute of one."""
    for name in imports(module):
        if name.split(".")[0] == "trio":
            assert not any(map(is_private, name.split(".")))
    for node in walk(tree(module)):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            assert root_of(node.value) != "trio"


def root_of(node: ast.expr) -> str | None:
    """`trio` of `trio.lowlevel.current_task().x`."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else None


@every_module
def test_private_attributes_are_the_library_s_own(module: str) -> None:
    """Any `x._name` is declared somewhere in the package, so that it is no part of Trio."""
    read = {
        node.attr
        for node in walk(tree(module))
        if isinstance(node, ast.Attribute) and is_private(node.attr)
    }
    assert read <= own_names()


def own_names() -> set[str]:
    """Every name that the package defines: functions, fields, slots, variables."""
    names: set[str] = set()
    for module in ALL:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id == "self":
                    names.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names


@pytest.mark.parametrize("module", ORDER)
def test_the_core_needs_only_trio_and_attrs(module: str) -> None:
    """And the standard library."""
    roots = {name.split(".")[0] for name in imports(module)}
    assert roots <= {"trioctx", "trio", "attrs", *sys.stdlib_module_names}


@every_module
def test_a_file_can_be_held_in_the_head(module: str) -> None:
    """What wants to be longer wants to be two."""
    text = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES


def test_what_is_public_is_listed() -> None:
    """`__all__` is what `__init__.py` re-exports, sorted, each under its own name."""
    exported = []
    for node in tree("__init__").body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.name == alias.asname
                exported.append(alias.name)
    assert sorted(exported) == trioctx.__all__
    assert not any(name.startswith("_") for name in exported)
    modules = {name.split("/")[0] for name in ALL if not name.startswith("_")}
    visible = {name for name in vars(trioctx) if not name.startswith("_")}
    assert visible - modules == set(trioctx.__all__)


@pytest.mark.parametrize("name", trioctx.__all__)
def test_what_is_public_lives_in_trioctx(name: str) -> None:
    """So that `repr`, pickles and help show the name that users import."""
    assert getattr(trioctx, name).__module__ == "trioctx"
