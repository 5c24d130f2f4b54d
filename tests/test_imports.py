"""Who imports whom in the repository, read from the syntax trees of its files."""

import ast
import re
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = subprocess.run(
    ["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split("\0")[:-1]
# pytest puts the folders of the tests on the path: their files have these names.
TESTS = {Path(name).stem for name in FILES if name.startswith("tests/")} | {"tests", "conftest"}
TOOLS = {"benchmarks", "book", "hub", "tools"}
# The command line finds a user's own model in the folder in which it is started.
USERS_OWN = "sys.path.insert(0, '')"


def imported(tree: ast.AST) -> Iterator[str]:
    """The first part of the name of each module that is imported by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def path_changes(tree: ast.AST) -> Iterator[str]:
    """Each call of a method of sys.path, and each assignment to it or to a part of it."""
    for node in ast.walk(tree):
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            targets = [node.func.value]
        for target in targets:
            whole = target.value if isinstance(target, ast.Subscript) else target
            if whole is not None and ast.unparse(whole) == "sys.path":
                yield ast.unparse(node)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("sys.path.insert(0, 'a')", 1),
        ("sys.path[:0] = ['a']", 1),
        ("sys.path += ['a']", 1),
        ("sys.path = ['a']", 1),
        ("sys.path: list = ['a']", 1),
        ("print(sys.path, sys.path[0])", 0),
        ("path.insert(0, 'a')", 0),
    ],
)
def test_a_change_of_the_path_is_seen(code, found):
    assert len(list(path_changes(ast.parse(code)))) == found


def test_imports_are_seen():
    code = "import a.b, c as d\nfrom e.f import g\nfrom . import h\ndef i():\n    import j"
    assert list(imported(ast.parse(code))) == ["a", "c", "e", "j"]


@pytest.mark.parametrize("name", [n for n in FILES if (ROOT / n).exists()])
def test_no_file_changes_the_path_or_imports_against_the_direction(name):
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    assert [line for line in path_changes(tree) if line != USERS_OWN] == []
    if not name.startswith("tests/") and name != "conftest.py":  # which is what tests share
        assert TESTS & set(imported(tree)) == set(), "imports a test"
    if name.startswith("src/"):
        assert TOOLS & set(imported(tree)) == set(), "the package imports what is built on it"


# The rooms of the package ------------------------------------------------------------------------

ROOMS = {
    name.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", "."): name
    for name in FILES
    if name.startswith("src/") and (ROOT / name).exists()
}


def arrows(tree: ast.AST, rooms: set[str]) -> set[str]:
    """The rooms from which a file imports anything, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            deeper = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= deeper & rooms or {node.module or ""}
    return found & rooms


GRAPH = {
    room: arrows(ast.parse((ROOT / name).read_text(encoding="utf-8")), set(ROOMS)) - {room}
    for room, name in ROOMS.items()
}


def test_arrows_are_seen():
    code = "from a import b, f\nimport a.c\ndef late():\n    from a.d import g\nimport os"
    assert arrows(ast.parse(code), {"a", "a.b", "a.c", "a.d"}) == {"a.b", "a.c", "a.d"}
    assert arrows(ast.parse("from a import f"), {"a", "a.b"}) == {"a"}
    assert len(GRAPH) > 40
    assert "zerocam.hooks" in GRAPH["zerocam.cam"]


def test_no_arrow_leads_from_the_tool_to_the_laboratory():
    up = {room: there for room, there in GRAPH.items() if not room.startswith("zerocam.lab")}
    assert {r: [t for t in there if t.startswith("zerocam.lab")] for r, there in up.items()} == {
        room: [] for room in up
    }


def test_no_arrows_run_in_a_circle():
    TopologicalSorter(GRAPH).prepare()  # CycleError names the rooms of a circle


@pytest.mark.parametrize(
    ("map_of", "path"),
    [
        ("zerocam", "src/zerocam"),
        ("zerocam.lab", "src/zerocam/lab"),
        ("zerocam.lab.studies", "src/zerocam/lab/studies"),
        ("zerocam.lab.exercises", "src/zerocam/lab/exercises"),
        ("tools", "tools"),
        ("tools.course", "tools/course"),
    ],
)
def test_a_map_names_every_room_and_no_other(map_of, path):
    """Lines such as "cli, page    the command line, and a form": names, a gap, what is there."""
    words = ast.get_docstring(ast.parse((ROOT / path / "__init__.py").read_text(encoding="utf-8")))
    names = re.findall(r"^ *(?:\d+ +)?(\w+(?:, \w+)*)(?:  +)\S", words, re.M)
    said = {name for line in names for name in line.split(", ")} - {"chapter"}
    there = {p.stem for p in (ROOT / path).glob("*.py")} | {
        p.parent.name for p in (ROOT / path).glob("*/__init__.py")
    }
    assert said == there - {"__init__", "__main__"}
