"""The walls of the house, read from the syntax trees of src: who may import what from whom.

The tool does not know the laboratory, nobody uses what another module keeps to itself, no two
modules need each other, and no function hides a module of its name.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"


def trees(folder: Path) -> dict[str, ast.Module]:
    """The syntax tree of each module, by its full name; of a package, that of its __init__."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """(module, name in it or "", what it is called here) of all imports, in functions as well.

    `import_module("a.b")` counts as `import a.b`.  A relative import is an error: there are none.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import"
            yield from ((node.module, a.name, a.asname or a.name) for a in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((a.value, "", "") for a in node.args[:1] if isinstance(a, ast.Constant))


def arrows(known: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports.

    Not itself: a module that runs as a program may ask for its own self under its full name.
    """
    found: dict[str, set[str]] = {}
    for module, tree in known.items():
        wanted = {f"{m}.{n}" if f"{m}.{n}" in known else m for m, n, _ in imports(tree)}
        found[module] = (wanted & known.keys()) - {module}
    return found


def into_the_laboratory(known: Mapping[str, ast.Module], lab: str) -> list[str]:
    """Each import of the laboratory by a module outside it."""
    return [
        f"{module} imports {other}"
        for module, others in arrows(known).items()
        for other in sorted(others)
        if f"{other}.".startswith(f"{lab}.") and not f"{module}.".startswith(f"{lab}.")
    ]


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def over_the_wall(known: Mapping[str, ast.Module]) -> list[str]:
    """Each use of a private name of another module of ours: imported, or as its attribute."""
    found = []
    for module, tree in known.items():
        here = {}
        for other, name, called in imports(tree):
            if other.partition(".")[0] not in {n.partition(".")[0] for n in known}:
                continue
            found += [f"{module} imports {part} of {other}" for part in [name] if private(part)]
            found += [f"{module} imports {other}" for p in other.split(".") if private(p)]
            if not name or f"{other}.{name}" in known:
                here[called] = f"{other}.{name}".rstrip(".")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and private(node.attr):
                owner = here.get(ast.unparse(node.value))
                found += [f"{module} uses {node.attr} of {owner}"] if owner else []
    return found


def circles(known: Mapping[str, ast.Module]) -> list[str]:
    """Each way from a module over its imports back to it, once, from its first module on."""
    graph, found = arrows(known), []

    def walk(way: list[str]) -> None:
        for other in sorted(graph[way[-1]]):
            if other == way[0]:
                found.append(" -> ".join([*way, other]))
            elif other > way[0] and other not in way:
                walk([*way, other])

    for module in sorted(graph):
        walk([module])
    return found


def hiding(known: Mapping[str, ast.Module]) -> list[str]:
    """Each public function, at the top of a module, with the name of a module of its package."""
    return [
        f"{module} defines {node.name}"
        for module, tree in known.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and f"{module.rpartition('.')[0]}.{node.name}" in known
        and not private(node.name)
    ]


def wrong(folder: Path, package: str) -> list[str]:
    """What breaks one of the four walls."""
    known = trees(folder)
    lab = into_the_laboratory(known, f"{package}.lab")
    return [*lab, *over_the_wall(known), *circles(known), *hiding(known)]


def test_the_walls_of_the_house_stand():
    assert len(trees(SRC)) > 30
    assert wrong(SRC, "zerocam") == []


SOUND = {
    "__init__": "from house.map import draw\n",
    "map": "import os\nfrom house import paint\n\ndef draw(): return paint.mix(os._exit)\n",
    "paint": "_secret = 1\n\ndef mix(x): return _secret\n",
    "lab/__init__": "",
    "lab/alone": "run = 1\n",
    "lab/trial": "from house import map, paint\nif __name__ == '__main__':\n"
    "    from house.lab import trial\n    trial.run()\n",
}
BROKEN = {
    "the tool knows the laboratory": (
        *("paint", "from house.lab.alone import run"),
        *("house.paint imports house.lab.alone",),
    ),
    "also in a function, and as a name of a package": (
        *("paint", "def f():\n    from house.lab import alone"),
        *("house.paint imports house.lab.alone",),
    ),
    "also by its name in a text": (
        *("paint", "import importlib\nx = importlib.import_module('house.lab.alone')"),
        *("house.paint imports house.lab.alone",),
    ),
    "a private name is imported": (
        *("lab/trial", "from house.paint import _secret"),
        *("house.lab.trial imports _secret of house.paint",),
    ),
    "a private name is used": (
        *("lab/trial", "from house import paint as p\nx = p._secret"),
        *("house.lab.trial uses _secret of house.paint",),
    ),
    "a private name is used by the module's full name": (
        *("lab/trial", "import house.paint\nx = house.paint._secret"),
        *("house.lab.trial uses _secret of house.paint",),
    ),
    "two modules need each other": (
        *("paint", "import house.map"),
        *("house.map -> house.paint -> house.map",),
    ),
    "three modules, and one import in a function": (
        *("paint", "def f():\n    from house import draw"),
        *("house -> house.map -> house.paint -> house",),
    ),
    "a function hides a module": (
        *("map", "def paint(): pass\ndef draw(): pass"),
        *("house.map defines paint",),
    ),
}


def built(folder: Path, files: Mapping[str, str]) -> list[str]:
    """What is wrong with a small house of these files."""
    for name, text in files.items():
        path = folder / "house" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return wrong(folder, "house")


def test_a_sound_house_is_left_alone(tmp_path):
    assert built(tmp_path, SOUND) == []


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_wall_is_seen(tmp_path, what):
    name, text, said = BROKEN[what]
    assert built(tmp_path, SOUND | {name: text}) == [said]


def test_a_private_module_is_nobody_elses(tmp_path):
    files = SOUND | {"_keep": "x = 1\n"}
    for text in ("from house import _keep\n", "from house._keep import x\n"):
        said = built(tmp_path, files | {"lab/trial": text})
        assert len(said) == 1, said
        assert "house.lab.trial imports" in said[0]


def test_every_circle_is_named_once():
    code = {"a": "import b, c", "b": "import a, c", "c": "import a", "d": "import a"}
    found = circles({name: ast.parse(text) for name, text in code.items()})
    assert found == ["a -> b -> a", "a -> b -> c -> a", "a -> c -> a"]
