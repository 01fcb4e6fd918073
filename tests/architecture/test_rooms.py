"""Imports run one way, every exported name exists, and every file exports something."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import hookean

ROOT = Path(hookean.__file__).parent
#: Floor of each room; imports go to a lower floor only. Rooms on one floor do not see each other.
FLOORS = {
    "cli": 7,
    "tasks": 5,
    "estimator": 6,
    "algorithms": 4,
    "classical": 4,
    "learning": 3,
    "inference": 2,
    "core": 1,
    "report": 1,
    "data": 0,
    "record": 0,
    "registry": -1,
}
#: Pairs that the floors would allow and the house does not.
APART = {
    *(("tasks", "report"), ("report", "data"), ("estimator", "report"), ("estimator", "record")),
    *((room, ground) for room in ("core", "inference", "learning", "algorithms") for ground in ("data", "record")),
}
FILES = sorted(p for p in ROOT.rglob("*.py") if "__pycache__" not in p.parts)


def room_of(path):
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


def module_of(path):
    parts = ["hookean", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """Return the absolute names of all modules of the package that a file imports, at any depth of its code."""
    package = ["hookean", *path.relative_to(ROOT).parent.parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [] if node.level == 0 else package[: len(package) - node.level + 1]
            head = ".".join([*base, *([node.module] if node.module else [])])
            found += [f"{head}.{alias.name}" for alias in node.names]
    return [name for name in found if name == "hookean" or name.startswith("hookean.")]


def problem(room, name):
    """Say what is wrong with an import, or return None."""
    parts = name.split(".")
    if len(parts) < 2 or (parts[1] not in FLOORS):
        return "the package root is imported"
    other = parts[1]
    if other == room:
        return None
    if (room, other) in APART:
        return f"{room} must not see {other}"
    return None if FLOORS[other] < FLOORS[room] else f"{room} must not look up or sideways at {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downwards(path):
    room = room_of(path)
    if room in ("__init__", "__main__"):  # the root stands above all rooms; nothing may import it
        return
    assert room in FLOORS, f"say on which floor the room '{room}' is"
    wrong = [f"{name}: {why}" for name in imports(path) if (why := problem(room, name))]
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("room", "name", "allowed"),
    [
        ("core", "hookean.inference.relax.relax", False),
        ("core", "hookean.registry.nearest", True),
        ("inference", "hookean.learning.batch", False),
        ("learning", "hookean.inference.relax.Relaxation", True),
        ("algorithms", "hookean.classical.hopfield", False),
        ("report", "hookean.tasks.train", False),
        ("report", "hookean.record", True),
        ("tasks", "hookean.report.page", False),
        ("tasks", "hookean.record.Record", True),
        ("data", "hookean.core.network", False),
        ("record", "hookean.data.split", False),
        ("registry", "hookean.data.split", False),
        ("core", "hookean", False),
        ("core", "hookean.Network", False),
    ],
)
def test_the_rule_itself_tells_wrong_from_right(room, name, allowed):
    assert (problem(room, name) is None) == allowed


def test_relative_imports_are_resolved():
    found = imports(ROOT / "core" / "network.py")
    assert "hookean.registry.nearest" in found
    assert "hookean.core.term.AbstractTerm" in found


def test_core_is_walked():
    assert len([p for p in FILES if room_of(p) == "core"]) > 10


def test_no_room_for_leftovers():
    forbidden = {"utils", "util", "helpers", "misc", "common"}
    assert not [p for p in FILES if p.stem in forbidden or p.parent.name in forbidden]


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_exported_name_exists(path):
    module = importlib.import_module(module_of(path))
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert hasattr(module, alias.asname or alias.name)
    for name in getattr(module, "__all__", ()):
        assert hasattr(module, name)


@pytest.mark.parametrize(
    "path", [p for p in FILES if not p.name.startswith("__")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_every_file_offers_something_and_says_what(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "a module says in one line what it is for"
    defined = [n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    defined += [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]
    assert [name for name in defined if not name.startswith("_")]


@pytest.mark.parametrize("room", ["algorithms", "inference", "core.builders"])
def test_every_final_class_of_an_open_room_is_exported(room):
    """One new file and one export line: a class that was written but not exported would stay unknown."""
    package = importlib.import_module(f"hookean.{room}")
    bases = {
        "algorithms": ("hookean.algorithms.contract", "AbstractAlgorithm"),
        "inference": ("hookean.inference.solver", "AbstractSolver"),
    }
    missing = []
    for path in (ROOT / room.replace(".", "/")).glob("*.py"):
        module = importlib.import_module(module_of(path))
        for name, member in vars(module).items():
            if getattr(member, "__module__", "") != module.__name__ or name.startswith("_"):
                continue
            if room in bases:
                base = getattr(importlib.import_module(bases[room][0]), bases[room][1])
                wanted = inspect.isclass(member) and issubclass(member, base) and not inspect.isabstract(member)
                wanted = wanted and member is not base
            else:
                wanted = inspect.isfunction(member)
            if wanted and not hasattr(package, name):
                missing.append(name)
    assert not missing
