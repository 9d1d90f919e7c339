"""The order of the house: who may import whom, and names that say what they hold."""

import ast
import collections
import functools
import graphlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "t2sql").rglob("*.py"))
}
COMMANDS = {f"t2sql.{name}" for name in ("main", "train", "average", "inspect", "export")} | {
    module for module in FILES if module.endswith(".__main__")
}
MOST_LINES = 60
VAGUE_NAMES = {"found", "wanted", "each"}


@functools.cache
def nodes(module: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(FILES[module].read_text())))


def imports(module: str) -> set[str]:
    """The modules of t2sql that one imports, inside of its functions too."""
    names = set()
    for node in nodes(module):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names.update(name if name in FILES else node.module for name in full)
    return names & FILES.keys() - {"t2sql"}


def room(module: str) -> str:
    """Such as "runs" of t2sql.runs.job."""
    return module.split(".")[1] if "." in module else module


def rooms_imported() -> dict[str, set[str]]:
    """What the modules of each room import from other rooms."""
    graph = collections.defaultdict(set)
    for module in FILES:
        graph[room(module)] |= {room(name) for name in imports(module)} - {room(module)}
    return graph


def functions(module: str) -> list[ast.FunctionDef]:
    return [node for node in nodes(module) if isinstance(node, ast.FunctionDef)]


def test_data_moves_one_way():
    graph = rooms_imported()
    for lower in ("model", "data", "storage", "sampling"):
        assert "runs" not in graph[lower], lower
    assert "evaluation" not in graph["runs"]


def test_no_rooms_import_each_other_in_a_circle():
    tuple(graphlib.TopologicalSorter(rooms_imported()).static_order())


def test_no_files_import_each_other_in_a_circle():
    graph = {module: imports(module) for module in FILES}
    tuple(graphlib.TopologicalSorter(graph).static_order())


def test_nothing_imports_a_command():
    for module in FILES:
        assert not imports(module) & COMMANDS, module


@pytest.mark.parametrize("name", ["evaluation", "diagnosis", "report", "choose"])
def test_a_room_that_judges_needs_no_jax(name):
    modules = [module for module in FILES if room(module) == name and module not in COMMANDS]
    heavy = "{'jax', 'jaxlib', 'gemma', 'flax', 'grain', 'orbax'}"
    program = f"import sys, {', '.join(modules)}; print(*{heavy} & set(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
    assert not loaded.split()


def test_no_class_name_stands_twice():
    classes = collections.Counter(
        node.name for module in FILES for node in nodes(module) if isinstance(node, ast.ClassDef)
    )
    twice = sorted(name for name, count in classes.items() if count > 1)
    assert not twice, twice


def test_names_say_what_they_hold():
    vague = set()
    for module in FILES:
        for node in nodes(module):
            stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            name = node.id if stored else node.arg if isinstance(node, ast.arg) else None
            if name in VAGUE_NAMES:
                vague.add(f"{module}:{node.lineno} {name}")
    assert not sorted(vague), sorted(vague)


def test_functions_fit_a_screen():
    lines = {
        f"{module}.{node.name}": node.end_lineno - node.lineno + 1
        for module in FILES
        for node in functions(module)
    }
    long = {name: count for name, count in lines.items() if count > MOST_LINES}
    assert not long, long
